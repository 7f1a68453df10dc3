"""Synthetic studies of any size: random facts, and a study whose raw records give exactly these facts.

Nothing derived is written: selection frequencies come from HITs and answers, near-duplicates from pairs with an original image,
review thresholds from lists of neighbours that nobody has reviewed, so that a stage meets what a real study gives it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from retest.records import Assignment, AssignmentStatus, Candidate, ClassInfo, Exclusion, Hit, Neighbor, OriginalImage, Split
from retest.sampling import PUBLISHED_REVIEW_TARGETS, CandidateFacts, OriginalFacts
from retest.settings import check_count, check_number, plain_numbers
from retest.store import Tables
from retest.study import Study

_HIT_SIZE = 48
_INFINITE = 1e100
_TIME = "2026-01-01T00:00:00+00:00"
DUPLICATED = "ILSVRC2012_test_00000001.JPEG"
"""The original image that every near-duplicate of a synthetic study shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
@plain_numbers
class SyntheticParameters:
    """Size and make-up of a random study.

    Raises:
        ConfigError: a number is too small, or a share is none.
    """

    candidates: int = field(default=1000, metadata={"help": "number of candidates"})
    classes: int = field(default=10, metadata={"help": "number of classes"})
    originals_per_class: int = field(default=50, metadata={"help": "labelled original validation images per class"})
    assignments: int = field(default=10, metadata={"help": "valid assignments per image"})
    excluded: float = field(default=0.1, metadata={"help": "share of candidates that are excluded"})
    near_duplicates: float = field(default=0.05, metadata={"help": "share of candidates that are near-duplicates of an original image"})
    unreviewed: float = field(default=0.1, metadata={"help": "share of candidates that are not sufficiently reviewed"})

    def __post_init__(self) -> None:
        for name, least in (("candidates", 0), ("classes", 1), ("originals_per_class", 0), ("assignments", 1)):
            check_count(name, getattr(self, name), low=least)
        for name in ("excluded", "near_duplicates", "unreviewed"):
            check_number(name, getattr(self, name), high=1)


@dataclass(frozen=True, slots=True)
class SyntheticFacts:
    """What sampling is to see."""

    wnids: tuple[str, ...]
    candidates: tuple[CandidateFacts, ...]
    originals: tuple[OriginalFacts, ...]


def random_facts(*, seed: int, parameters: SyntheticParameters | None = None) -> SyntheticFacts:
    """Random facts: frequencies lean to the upper end, ids are 40 hexadecimal digits."""
    parameters = parameters or SyntheticParameters()
    rng = random.Random(seed)
    wnids = tuple(f"n{number:08}" for number in range(parameters.classes))
    low = {metric: target / 2 for metric, target in PUBLISHED_REVIEW_TARGETS.items()}
    high = dict.fromkeys(PUBLISHED_REVIEW_TARGETS, _INFINITE)

    def frequency() -> float:
        return round(rng.betavariate(2, 1) * parameters.assignments) / parameters.assignments

    candidates = tuple(
        CandidateFacts(
            f"{rng.getrandbits(160):040x}",
            wnids[number % len(wnids)],
            frequency(),
            parameters.assignments,
            rng.random() < parameters.excluded,
            rng.random() < parameters.near_duplicates,
            low if rng.random() < parameters.unreviewed else high,
        )
        for number in range(parameters.candidates)
    )
    originals = tuple(
        OriginalFacts(f"ILSVRC2012_val_{number:08}.JPEG", wnids[number % len(wnids)], frequency(), parameters.assignments)
        for number in range(parameters.originals_per_class * len(wnids))
    )
    return SyntheticFacts(wnids, candidates, originals)


def fill_study(study: Study, facts: SyntheticFacts) -> None:
    """Write the raw records that give these facts into an empty study; photo ids count up in the order of the candidates."""
    with study.database.write() as tables:
        tables.classes.put(ClassInfo(wnid, number, synset=(f"class {number}",)) for number, wnid in enumerate(facts.wnids))
        tables.originals.add(OriginalImage(image.id, Split.VAL, image.wnid) for image in facts.originals)
        tables.originals.add([OriginalImage(DUPLICATED, Split.TEST, None)])
        tables.candidates.add(
            Candidate(c.id, c.wnid, "synthetic", str(number), f"https://example.org/{number}.jpg", search_key=f"term {number % 7}")
            for number, c in enumerate(facts.candidates)
        )
        tables.exclusions.add(Exclusion(c.id, "synthetic", time=_TIME) for c in facts.candidates if c.excluded)
        tables.pairs.add(((c.id, DUPLICATED) for c in facts.candidates if c.near_duplicate), user="synthetic", time=_TIME)
        for metric in sorted({metric for c in facts.candidates for metric in c.review_thresholds}):
            tables.neighbors.put(metric, {c.id: _unreviewed(c, metric) for c in facts.candidates if metric in c.review_thresholds})
        _label(tables, (*facts.candidates, *facts.originals))


def _unreviewed(candidate: CandidateFacts, metric: str) -> tuple[Neighbor, ...]:
    distance = candidate.review_thresholds[metric]
    return () if math.isinf(distance) or distance >= _INFINITE else (Neighbor("n99999999_1.JPEG", distance),)


def _label(tables: Tables, images: Sequence[CandidateFacts | OriginalFacts]) -> None:
    """Images of equal class and number of assignments share HITs; answer j selects those that more than j annotators select."""
    groups: dict[tuple[str, int], list[CandidateFacts | OriginalFacts]] = {}
    for image in images:
        if image.num_assignments:
            groups.setdefault((image.wnid, image.num_assignments), []).append(image)
    hits: list[Hit] = []
    answers: list[Assignment] = []
    for (wnid, number), members in sorted(groups.items(), key=lambda group: group[0]):
        for start in range(0, len(members), _HIT_SIZE):
            shown = members[start : start + _HIT_SIZE]
            uuid = f"hit-{len(hits)}"
            ids = tuple(image.id for image in shown)
            hits.append(Hit(uuid, wnid, ids, (), (), ids, "synthetic", _TIME, submitted=True, hit_id=uuid))
            answers += _answers(uuid, shown, number)
    tables.hits.add(hits, assignments=10)
    tables.assignments.add(answers)


def _answers(uuid: str, shown: Iterable[CandidateFacts | OriginalFacts], number: int) -> Iterator[Assignment]:
    selections = [(image.id, round(image.frequency * number)) for image in shown]
    for index in range(number):
        selected = tuple(image for image, count in selections if count > index)
        yield Assignment(f"{uuid}-{index}", uuid, f"worker-{index}", AssignmentStatus.APPROVED, selected)
