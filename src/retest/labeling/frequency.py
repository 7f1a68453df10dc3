"""Selection frequencies from answers (method, section 5).

For image i and class w, over Submitted or Approved assignments of HITs whose class is w and which show i: their number, and
how many of them selected i. Controls count like any other image, a rejected assignment never counts, an image counts once
per assignment, and the same annotator may count again through another HIT.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retest.errors import InputError
from retest.records import VALID_STATUSES, Assignment, Hit, SelectionFrequency

_MAX_EXAMPLES = 100


@dataclass(frozen=True, slots=True)
class AnswerRemark:
    """Something in an answer that was not counted. ``kind``: ``unknown_hit``, ``not_in_hit`` or ``repeated_assignment``."""

    kind: str
    assignment_id: str
    hit_uuid: str
    image_id: str | None = None


@dataclass(frozen=True, slots=True)
class CountingReport:
    """What a :class:`FrequencyCounter` counted and what it left out.

    ``counts`` keys: ``counted``, ``rejected``, ``excluded_hit`` (assignments), and one per kind of :class:`AnswerRemark`.
    ``examples`` are the first hundred remarks.
    """

    counts: Mapping[str, int]
    examples: tuple[AnswerRemark, ...]


class FrequencyCounter:
    """Counts answers as they stream by; memory is a few bytes per image of each HIT beside the result itself.

    Add all HITs first, then the assignments in any order; assignments that come HIT by HIT are counted fastest.

    Args:
        excluded_hits: uuids of HITs that count nowhere.
    """

    def __init__(self, *, excluded_hits: Collection[str] = ()) -> None:
        self._excluded = frozenset(excluded_hits)
        self._hit_numbers: dict[str, int] = {}
        self._keys: dict[tuple[str, str], int] = {}
        self._key_list: list[tuple[str, str]] = []
        self._offsets = array("q", [0])
        self._key_of_place = array("q")
        self._selected = array("q")
        self._answers = array("q")
        self._seen: set[str] = set()
        self._counts = dict.fromkeys(("counted", "rejected", "excluded_hit", "unknown_hit", "not_in_hit", "repeated_assignment"), 0)
        self._examples: list[AnswerRemark] = []
        self._open: tuple[int, dict[str, int]] = (-1, {})

    def add_hit(self, hit: Hit) -> None:
        """Make a HIT known; excluded ones are ignored.

        Raises:
            InputError: the uuid is known already.
        """
        if hit.uuid in self._excluded:
            return
        if hit.uuid in self._hit_numbers:
            raise InputError("appears twice", item=f"HIT {hit.uuid}", remedy="Give each HIT once.")
        self._hit_numbers[hit.uuid] = len(self._hit_numbers)
        images = dict.fromkeys(hit.images_all)  # an image counts once per assignment, however often the page shows it
        for image in images:
            key = (image, hit.wnid)
            number = self._keys.setdefault(key, len(self._keys))
            if number == len(self._key_list):
                self._key_list.append(key)
            self._key_of_place.append(number)
        self._selected.extend([0] * len(images))
        self._answers.append(0)
        self._offsets.append(len(self._key_of_place))

    def add_assignment(self, assignment: Assignment) -> None:
        """Count one answer, or note why it does not count."""
        if assignment.hit_uuid in self._excluded:
            self._counts["excluded_hit"] += 1
            return
        if assignment.status not in VALID_STATUSES:
            self._counts["rejected"] += 1
            return
        number = self._hit_numbers.get(assignment.hit_uuid)
        if number is None:
            self._remark("unknown_hit", assignment)
            return
        if assignment.id in self._seen:
            self._remark("repeated_assignment", assignment)
            return
        self._seen.add(assignment.id)
        self._counts["counted"] += 1
        self._answers[number] += 1
        places = self._places(number)
        for image in set(assignment.selected):
            place = places.get(image)
            if place is None:
                self._remark("not_in_hit", assignment, image)
            else:
                self._selected[place] += 1

    def _places(self, number: int) -> dict[str, int]:
        if self._open[0] != number:
            span = range(self._offsets[number], self._offsets[number + 1])
            self._open = (number, {self._key_list[self._key_of_place[place]][0]: place for place in span})
        return self._open[1]

    def _remark(self, kind: str, assignment: Assignment, image: str | None = None) -> None:
        self._counts[kind] += 1
        if len(self._examples) < _MAX_EXAMPLES:
            self._examples.append(AnswerRemark(kind, assignment.id, assignment.hit_uuid, image))

    @property
    def report(self) -> CountingReport:
        """What was counted and what was not, so far."""
        return CountingReport(dict(self._counts), tuple(self._examples))

    def frequencies(self) -> Iterator[SelectionFrequency]:
        """One record per (image, class) that some counted HIT shows, in the order in which the HITs brought them."""
        answers, selected = self._totals()
        for number, (image, wnid) in enumerate(self._key_list):
            yield SelectionFrequency(image, wnid, int(answers[number]), int(selected[number]))

    def _totals(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        keys = np.asarray(self._key_of_place)
        shown = np.repeat(np.asarray(self._answers), np.diff(np.asarray(self._offsets)))
        answers, selected = np.zeros(len(self._keys), dtype=np.int64), np.zeros(len(self._keys), dtype=np.int64)
        np.add.at(answers, keys, shown)
        np.add.at(selected, keys, np.asarray(self._selected))
        return answers, selected

    def hit_frequencies(self, uuid: str) -> tuple[SelectionFrequency, ...]:
        """The frequencies within one HIT, in the order of its ``images_all``.

        Raises:
            InputError: the HIT is unknown or excluded.
        """
        number = self._hit_numbers.get(uuid)
        if number is None:
            raise InputError("is unknown or excluded", item=f"HIT {uuid}", remedy="Name a HIT that counts.")
        span = range(self._offsets[number], self._offsets[number + 1])
        answers = self._answers[number]
        return tuple(SelectionFrequency(*self._key_list[self._key_of_place[place]], answers, self._selected[place]) for place in span)

    @property
    def hit_uuids(self) -> Iterable[str]:
        """The HITs that count, in the order in which they came."""
        return self._hit_numbers.keys()

    def num_assignments_of_hit(self, uuid: str) -> int:
        """Valid assignments of one HIT; 0 for an unknown or excluded one."""
        number = self._hit_numbers.get(uuid)
        return 0 if number is None else self._answers[number]


def count_answers(hits: Iterable[Hit], assignments: Iterable[Assignment], *, excluded_hits: Collection[str] = ()) -> FrequencyCounter:
    """Count all assignments of all HITs; both iterables are consumed once and never held whole.

    Raises:
        InputError: a HIT appears twice.
    """
    counter = FrequencyCounter(excluded_hits=excluded_hits)
    for hit in hits:
        counter.add_hit(hit)
    for assignment in assignments:
        counter.add_assignment(assignment)
    return counter


def selection_frequencies(
    hits: Iterable[Hit], assignments: Iterable[Assignment], excluded_hits: Collection[str] = ()
) -> dict[tuple[str, str], SelectionFrequency]:
    """Selection frequency per (image id, wnid), controls included (method, section 5).

    A selected image that is not part of the HIT is ignored, like answers to unknown HITs and a second delivery of the same
    assignment; use :func:`count_answers` to see these remarks and the frequencies within each HIT.

    Raises:
        InputError: a HIT appears twice.
    """
    counter = count_answers(hits, assignments, excluded_hits=excluded_hits)
    return {(item.image_id, item.wnid): item for item in counter.frequencies()}


def answers_per_hit(counter: FrequencyCounter, *, up_to: int = 10) -> dict[int, int]:
    """How many HITs have 0, 1, ... valid assignments (method, section 4, progress); keys 0..``up_to`` always exist."""
    histogram = dict.fromkeys(range(up_to + 1), 0)
    for uuid in counter.hit_uuids:
        number = counter.num_assignments_of_hit(uuid)
        histogram[number] = histogram.get(number, 0) + 1
    return histogram
