"""Rows of HITs and answers of studies of any size: see :mod:`retest.testing.scale`."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retest.store import schema
from retest.testing._scale_rows import ROWS, TIME, Layout, Row, Writer

if TYPE_CHECKING:
    from retest.testing.scale import ScaleParameters

_HITS_AT_ONCE = 500
_TO_LABEL, _CONTROLS = 42, 3
_EVERY_EXCLUDED_HIT = 500
_COUNTS = (
    "hits",
    "hits_excluded",
    "images_to_label",
    "positive_controls",
    "negative_controls",
    "assignments",
    "assignments_rejected",
    "selected_images",
)
_ROLES = ("label", "positive", "negative")
_HIT_COLUMNS = (
    "no",
    "uuid",
    "wnid",
    "images_to_label",
    "images_pos_control",
    "images_neg_control",
    "images_all",
    "assignments",
    "user",
    "time",
    "submitted",
    "crowd",
    "hit_id",
    "hit_type_id",
    "excluded",
)
_ANSWER_COLUMNS = ("id", "hit_uuid", "worker", "status", "selected", "accept_time", "submit_time")


def insert_labelling(writer: Writer, layout: Layout, p: ScaleParameters) -> dict[str, int]:
    """HITs, which images they show, and the answers; counts of what was written."""
    places: list[NDArray[np.int64]] = []
    counts: Counter[str] = Counter()
    rank = np.empty(len(layout.ids), dtype=np.int64)
    order = np.argsort(layout.ids)
    rank[order] = np.arange(len(order))
    bounds = np.arange(p.classes + 1) * p.hits // p.classes
    for number in range(p.classes):
        rng = layout.rng(1, number)
        members = np.arange(layout.first[number], layout.first[number + 1])
        pool = rng.permutation(members[layout.labelled[members]])
        if not len(pool):
            continue
        numbers = np.arange(bounds[number], bounds[number + 1])
        width = min(_TO_LABEL, len(pool))
        label = pool[(np.arange(len(numbers) * width) % len(pool)).reshape(len(numbers), width)]
        turn = np.arange(len(numbers))[:, None] * _CONTROLS + np.arange(_CONTROLS)
        shown = np.concatenate([label, *(layout.validation(c)[turn % p.val_per_class] for c in (number, number + 1))], axis=1)
        for start in range(0, len(numbers), _HITS_AT_ONCE):
            part = slice(start, start + _HITS_AT_ONCE)
            counts += _add_hits(writer, layout, _draw(layout, p, number, numbers[part], shown[part], width))
        roles = np.repeat([0, 1, 2], [width, _CONTROLS, _CONTROLS])
        places.append(((rank[shown] << 32) | ((numbers[:, None] + 1) << 2) | roles).ravel())
    packed = np.concatenate(places)
    del places
    packed.sort()  # in the order of the table's key, so that the database appends
    writer.insert(schema.hit_images, ("image_id", "hit_no", "role"), _hit_images(layout, packed, order))
    columns = ("worker", "worker_id")
    writer.insert(schema.workers, columns, ((worker_name(n), f"A{n:013}") for n in range(p.annotators)))
    return {name: counts[name] for name in _COUNTS}


def _hit_images(layout: Layout, packed: NDArray[np.int64], order: NDArray[np.int64]) -> Iterator[Row]:
    for start in range(0, len(packed), ROWS):
        part = packed[start : start + ROWS]
        hits, roles = ((part >> 2) & (2**30 - 1)).tolist(), (part & 3).tolist()
        for image, hit, role in zip(layout.names(order[part >> 32]), hits, roles, strict=True):
            yield image, hit, _ROLES[role]


@dataclass(frozen=True, slots=True)
class _Block:
    """HITs of one class that are written together, and what chance decided about the answers to them.

    ``numbers`` is int64 (n,), ``shown`` int64 (n, images): ``width`` candidates, then positive and negative controls; ``pages`` are ids of
    the same in the order shown. ``chosen`` is bool (n, answers, images) along ``pages``; ``rejected``, ``workers`` and ``seconds`` are
    (n, answers).
    """

    wnid: str
    numbers: NDArray[np.int64]
    shown: NDArray[np.int64]
    width: int
    pages: list[list[str]]
    chosen: NDArray[np.bool_]
    rejected: NDArray[np.bool_]
    workers: NDArray[np.int64]
    seconds: NDArray[np.int64]


def _draw(layout: Layout, p: ScaleParameters, number: int, numbers: NDArray[np.int64], shown: NDArray[np.int64], width: int) -> _Block:
    rng = layout.rng(2, int(numbers[0]))
    on_page = np.take_along_axis(shown, np.argsort(rng.random(shown.shape), axis=1), axis=1)
    negative = np.isin(on_page, shown[:, width + _CONTROLS :]) if len(layout.wnids) > 1 else np.zeros_like(on_page, dtype=bool)
    appeal = np.where(negative, np.float32(0.03), layout.appeal[on_page])
    answers = p.assignments_per_hit
    return _Block(
        wnid=layout.wnids[number],
        numbers=numbers,
        shown=shown,
        width=width,
        pages=[layout.names(row) for row in on_page],
        chosen=rng.random((len(numbers), answers, shown.shape[1]), dtype=np.float32) < appeal[:, None, :],
        rejected=rng.random((len(numbers), answers)) < p.rejected,
        workers=(rng.integers(0, p.annotators, len(numbers))[:, None] + np.arange(answers)) % p.annotators,
        seconds=rng.lognormal(4.6, 0.6, (len(numbers), answers)).astype(int) + 5,
    )


def _add_hits(writer: Writer, layout: Layout, block: _Block) -> Counter[str]:
    number = len(block.numbers)
    return Counter(
        hits=writer.insert(schema.hits, _HIT_COLUMNS, _hits(layout, block)),
        assignments=writer.insert(schema.assignments, _ANSWER_COLUMNS, _answers(block)),
        hits_excluded=int(_left_out(block.numbers).sum()),
        images_to_label=number * block.width,
        positive_controls=number * _CONTROLS,
        negative_controls=number * _CONTROLS,
        assignments_rejected=int(block.rejected.sum()),
        selected_images=int(block.chosen.sum()),
    )


def _left_out(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    left_out: NDArray[np.bool_] = numbers % _EVERY_EXCLUDED_HIT == _EVERY_EXCLUDED_HIT - 1
    return left_out


def _hits(layout: Layout, block: _Block) -> Iterator[Row]:
    width, answers = block.width, block.rejected.shape[1]
    left_out = _left_out(block.numbers).tolist()
    for no, row, page, out in zip(block.numbers.tolist(), block.shown, block.pages, left_out, strict=True):
        ids, name = layout.names(row), hit_name(no)
        parts = (ids[:width], ids[width : width + _CONTROLS], ids[width + _CONTROLS :], page)
        lists, why = (json.dumps(part) for part in parts), "made up" if out else None
        yield no + 1, name, block.wnid, *lists, answers, "scale", TIME, True, "simulated", f"H{name[:29]}", "made up", why


def _answers(block: _Block) -> Iterator[Row]:
    worker_names = {int(one): worker_name(int(one)) for one in np.unique(block.workers)}
    for at, (no, page) in enumerate(zip(block.numbers.tolist(), block.pages, strict=True)):
        name = hit_name(no)
        for j, worker in enumerate(block.workers[at].tolist()):
            selected = list(compress(page, block.chosen[at, j].tolist()))
            status = "Rejected" if block.rejected[at, j] else "Approved" if j % 5 else "Submitted"
            yield f"{name}-{j}", name, worker_names[worker], status, json.dumps(selected), *_times(no * 7 + j, int(block.seconds[at, j]))


def _times(hour: int, seconds: int) -> tuple[str, str]:
    """When an answer was begun, so many hours after the first, and when it was sent."""
    day, begun = divmod(hour, 24)
    minute, second = divmod(seconds % 3600, 60)
    date = f"2026-02-{1 + day % 27:02}T{begun:02}"
    return f"{date}:00:00+00:00", f"{date}:{minute:02}:{second:02}+00:00"


def hit_name(number: int) -> str:
    """uuid of the HIT of this number, which counts from 0."""
    return hashlib.blake2b(f"HIT {number}".encode(), digest_size=16).hexdigest()


def worker_name(number: int) -> str:
    """An annotator's keyed hash, as far as anybody can see."""
    return hashlib.blake2b(f"annotator {number}".encode(), digest_size=16).hexdigest()
