"""All valid answers of a study as arrays, which the label models in ``aggregation`` are fitted to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from retest.errors import InputError
from retest.records import VALID_STATUSES, Assignment, Hit


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """All valid answers as arrays of equal length: ``item`` and ``worker`` int32 indices into the names, ``selected`` bool."""

    items: Sequence[tuple[str, str]]
    """(image id, wnid), in the order in which the HITs brought them."""
    workers: tuple[str, ...]
    item: NDArray[np.int32]
    worker: NDArray[np.int32]
    selected: NDArray[np.bool_]

    def __post_init__(self) -> None:
        shapes = {self.item.shape, self.worker.shape, self.selected.shape}
        if len(shapes) != 1 or self.item.ndim != 1:
            raise InputError("item, worker and selected must be vectors of equal length", item="answers", remedy="Use collect_answers.")
        for name, index, names in (("item", self.item, self.items), ("worker", self.worker, self.workers)):
            if index.size and (int(index.min()) < 0 or int(index.max()) >= len(names)):
                raise InputError(f"{name} holds an index outside its names", item="answers", remedy="Use collect_answers.")


def collect_answers(hits: Iterable[Hit], assignments: Iterable[Assignment], *, excluded_hits: Collection[str] = ()) -> Answers:
    """Turn HITs and valid assignments into arrays; the same rules as for selection frequencies decide what counts.

    Memory is about nine bytes per (assignment, image) beside the HITs.
    """
    excluded = frozenset(excluded_hits)
    items: dict[tuple[str, str], int] = {}
    workers: dict[str, int] = {}
    pages: dict[str, _Page] = {}
    for hit in hits:
        if hit.uuid not in excluded:
            images = tuple(dict.fromkeys(hit.images_all))
            pages[hit.uuid] = (images, np.array([items.setdefault((image, hit.wnid), len(items)) for image in images], dtype=np.int32))
    item_parts: list[NDArray[np.int32]] = []
    selected_parts: list[NDArray[np.bool_]] = []
    worker_of_part: list[int] = []
    for assignment, items_shown, selected in _answers_that_count(assignments, pages):
        item_parts.append(items_shown)
        selected_parts.append(selected)
        worker_of_part.append(workers.setdefault(assignment.worker, len(workers)))
    lengths = [len(part) for part in item_parts]
    return Answers(
        items=tuple(items),
        workers=tuple(workers),
        item=np.concatenate(item_parts) if item_parts else np.zeros(0, np.int32),
        worker=np.repeat(np.array(worker_of_part, dtype=np.int32), lengths),
        selected=np.concatenate(selected_parts) if selected_parts else np.zeros(0, np.bool_),
    )


class AnswersByClass:
    """Collects :class:`Answers` class by class, with a few bytes per image of each page and answer, and nothing else but names.

    The result is that of :func:`collect_answers` given all HITs by their numbers and all assignments by HIT uuid and id.
    """

    def __init__(self) -> None:
        self._names: list[NDArray[np.bytes_]] = []  # of items, class by class
        self._wnids: list[str] = []
        self._firsts: list[NDArray[np.int64]] = []  # where each item was met first: number of the HIT, place on the page
        self._workers: dict[str, int] = {}
        self._uuids: list[bytes] = []
        self._parts: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_]]] = []  # per HIT: items, annotators, selections
        self._items = 0

    def add(self, wnid: str, hits: Iterable[tuple[int, Hit]], assignments: Iterable[Assignment]) -> None:
        """Add a class: its HITs that count with their numbers, and the assignments to them in the order in which they are to count."""
        items: dict[str, int] = {}
        firsts: list[tuple[int, int]] = []
        pages: dict[str, _Page] = {}
        for number, hit in hits:
            images = tuple(dict.fromkeys(hit.images_all))
            for place, image in enumerate(images):
                if items.setdefault(image, len(items)) == len(firsts):
                    firsts.append((number, place))
            pages[hit.uuid] = (images, np.array([items[image] for image in images], dtype=np.int32) + np.int32(self._items))
        given: dict[str, list[tuple[int, NDArray[np.bool_]]]] = {}
        for assignment, _, selected in _answers_that_count(assignments, pages):
            worker = self._workers.setdefault(assignment.worker, len(self._workers))
            given.setdefault(assignment.hit_uuid, []).append((worker, selected))
        for uuid, answers in given.items():
            self._uuids.append(uuid.encode())
            workers = np.array([worker for worker, _ in answers], np.int32)
            self._parts.append((pages[uuid][1], workers, np.concatenate([selected for _, selected in answers])))
        self._names.append(np.array([image.encode() for image in items], dtype=np.bytes_))
        self._firsts.append(np.array(firsts, np.int64).reshape(-1, 2))
        self._wnids.append(wnid)
        self._items += len(items)

    def answers(self) -> Answers:
        """All answers. What was collected is used up."""
        order, items = self._ordered_items()
        place = np.empty(len(order), np.int32)
        place[order] = np.arange(len(order), dtype=np.int32)
        sizes = [len(selected) for *_, selected in self._parts]
        item, worker = np.empty(sum(sizes), np.int32), np.empty(sum(sizes), np.int32)
        chosen = np.empty(sum(sizes), np.bool_)
        at = 0
        numbers = np.full(len(self._workers), -1, np.int32)  # in the order in which annotators are met
        met = 0
        for part in sorted(range(len(self._parts)), key=self._uuids.__getitem__):
            shown, workers, selected = self._parts[part]
            for one in workers:
                if numbers[one] < 0:
                    numbers[one], met = met, met + 1
            end = at + len(selected)
            item[at:end] = np.tile(place[shown], len(workers))
            worker[at:end] = np.repeat(numbers[workers], len(shown))
            chosen[at:end] = selected
            at = end
            self._parts[part] = (shown, workers, selected[:0])
        named = sorted(self._workers.items(), key=lambda entry: numbers[entry[1]])
        return Answers(items, tuple(name for name, _ in named), item, worker, chosen)

    def _ordered_items(self) -> tuple[NDArray[np.int64], Sequence[tuple[str, str]]]:
        firsts = np.concatenate(self._firsts) if self._firsts else np.zeros((0, 2), np.int64)
        order = np.lexsort((firsts[:, 1], firsts[:, 0]))
        of_class = np.repeat(np.arange(len(self._names), dtype=np.int32), [len(names) for names in self._names])
        names = np.concatenate(self._names) if self._names else np.zeros(0, np.bytes_)
        return order, _Items(names[order], of_class[order], tuple(self._wnids))


@dataclass(frozen=True, slots=True, eq=False)
class _Items(Sequence[tuple[str, str]]):
    """(image id, wnid), made when asked for."""

    names: NDArray[np.bytes_]
    of_class: NDArray[np.int32]
    wnids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> tuple[str, str]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[tuple[str, str]]: ...
    def __getitem__(self, index: int | slice) -> tuple[str, str] | Sequence[tuple[str, str]]:
        if isinstance(index, slice):
            return _Items(self.names[index], self.of_class[index], self.wnids)
        return bytes(self.names[index]).decode(), self.wnids[self.of_class[index]]


_Page = tuple[tuple[str, ...], NDArray[np.int32]]
"""The images of a HIT, each once, and the items that they are."""


def _answers_that_count(
    assignments: Iterable[Assignment], pages: Mapping[str, _Page]
) -> Iterator[tuple[Assignment, NDArray[np.int32], NDArray[np.bool_]]]:
    """Valid assignments to known HITs, each once, with the items shown and which of them were selected."""
    seen: set[str] = set()
    for assignment in assignments:
        page = pages.get(assignment.hit_uuid)
        if page is None or assignment.status not in VALID_STATUSES or assignment.id in seen:
            continue
        seen.add(assignment.id)
        images, items = page
        chosen = frozenset(assignment.selected)
        yield assignment, items, np.fromiter((image in chosen for image in images), dtype=np.bool_, count=len(images))
