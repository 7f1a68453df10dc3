"""Counts per class for the review pages: stored per class, and brought along by every decision."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from retest.records import Split
from retest.sampling import CandidateFacts, ineligibility
from retest.sampling.apportion import largest_remainder
from retest.stages._common import completion_key, display_variant
from retest.stages._review_memo import Memo, generations_key
from retest.store import Tables
from retest.study import Study

STAGE, ITEM = "review", "class_counts"
_ATTEMPTS = 3  # a stage that writes meanwhile makes the counts stale again
_COUNTING = "class_counts_under_way"
INPUTS = (
    "candidates",
    "exclusions",
    "image_flags",
    "near_duplicate_pairs",
    "originals",
    "resolutions",
    "review_thresholds",
    "selection_frequencies",
    "variants",
)


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """How far a class has come.

    ``candidates`` were found, ``stored`` of them have an image, ``labelled`` have the answers that sampling asks for, ``excluded``
    and ``problematic`` are left out by decision, ``near_duplicates`` by resolution, ``usable`` remain. The bins are those of matched
    sampling: ``found_bins`` counts labelled candidates, ``usable_bins`` those that can be drawn, ``original_bins`` the labelled
    original images, ``target_bins`` the places of the test set.
    """

    candidates: int = 0
    stored: int = 0
    labelled: int = 0
    excluded: int = 0
    problematic: int = 0
    near_duplicates: int = 0
    usable: int = 0
    originals: int = 0
    originals_labelled: int = 0
    found_bins: tuple[int, ...] = field(default=())
    usable_bins: tuple[int, ...] = field(default=())
    original_bins: tuple[int, ...] = field(default=())
    target_bins: tuple[int, ...] = field(default=())

    @property
    def missing_bins(self) -> tuple[int, ...]:
        """Places of each bin that no usable candidate can fill."""
        return tuple(max(0, target - usable) for target, usable in zip(self.target_bins, self.usable_bins, strict=True))

    @property
    def missing(self) -> int:
        """Places that no usable candidate of their bin can fill."""
        return sum(self.missing_bins)


def from_stored(values: Mapping[str, Any]) -> ClassCounts:
    """The counts of a row of the table."""
    plain: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return ClassCounts(**plain)


def counts_key(study: Study, tables: Tables) -> str:
    """What the counts of all classes depend on."""
    return completion_key("class-counts-1", study.config.sampling, display_variant(study.config.images), tables.generations.of(*INPUTS))


def counts_are_current(study: Study, tables: Tables) -> bool:
    """Whether nothing has changed since the counts were derived."""
    return tables.completions.key(STAGE, ITEM) == counts_key(study, tables)


def note_counted(study: Study, tables: Tables) -> None:
    """Note that the counts of all classes are as the tables are now."""
    tables.completions.put(STAGE, ITEM, counts_key(study, tables))


def follow(study: Study, tables: Tables) -> Callable[[], None]:
    """Look which counts are current before a decision; what is returned notes, once it has adjusted the counts, that they still are."""
    key, known = counts_key(study, tables), tables.completions.keys(STAGE)
    items = [item for item in (ITEM, _COUNTING) if known.get(item) == key]

    def note() -> None:
        tables.completions.put_all(STAGE, dict.fromkeys(items, counts_key(study, tables)) if items else {})

    return note


def recount(study: Study, tables: Tables, wnids: Iterable[str]) -> None:
    """Derive the counts of these classes."""
    tables.class_counts.put({wnid: asdict(count_class(study, tables, wnid)) for wnid in wnids})


def count_class(study: Study, tables: Tables, wnid: str) -> ClassCounts:
    """Count one class."""
    parameters = study.config.sampling
    variant = display_variant(study.config.images)
    ids = tables.candidates.ids(wnid=wnid)
    marks = tables.review_candidates.marks_of_class(wnid)
    facts = list(tables.facts.candidates(tuple(parameters.near_duplicate_review_targets), ids=ids))
    labelled = [f for f in facts if f.num_assignments >= parameters.min_num_annotations]
    usable = [f for f in labelled if _usable(f, study)]
    originals = tables.review_candidates.originals_of_class(wnid, variant, split=Split.VAL)
    known = [o.frequency for o in originals if o.num_assignments >= parameters.min_num_annotations_val and o.frequency is not None]
    edges = parameters.histogram_edges
    original_bins = histogram(known, edges)
    return ClassCounts(
        candidates=len(ids),
        stored=tables.review_candidates.stored_in_class(wnid, variant),
        labelled=len(labelled),
        excluded=len(marks.exclusions),
        problematic=len(marks.flags),
        near_duplicates=len(marks.near_duplicates),
        usable=len(usable),
        originals=len(originals),
        originals_labelled=len(known),
        found_bins=histogram((f.frequency for f in labelled), edges),
        usable_bins=histogram((f.frequency for f in usable), edges),
        original_bins=original_bins,
        target_bins=tuple(largest_remainder(original_bins, parameters.per_class)) if known else (0,) * (len(edges) + 1),
    )


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one candidate adds to the counts of its class, as far as decisions can change it. ``usable_bin`` is None for unusable ones;
    ``resolved``: it was resolved as part of a component.
    """

    wnid: str
    excluded: int
    problematic: int
    near_duplicates: int
    usable_bin: int | None
    resolved: bool


def contributions(study: Study, tables: Tables, ids: Collection[str]) -> dict[str, Contribution]:
    """What each of these images adds to the counts of its class; images that are no candidates add nothing."""
    parameters = study.config.sampling
    found = {}
    for facts, standing in tables.review_candidates.standing(ids, tuple(parameters.near_duplicate_review_targets)):
        labelled = facts.num_assignments >= parameters.min_num_annotations
        usable = bisect_right(parameters.histogram_edges, facts.frequency) if labelled and _usable(facts, study) else None
        marks = int(standing.excluded), int(standing.problematic), int(facts.near_duplicate)
        found[facts.id] = Contribution(facts.wnid, *marks, usable, standing.resolved)
    return found


def adjust_counts(tables: Tables, before: Mapping[str, Contribution], after: Mapping[str, Contribution]) -> None:
    """Move the counts of the classes concerned from what images added before to what they add now."""
    changed: dict[str, dict[str, Any]] = {}
    for sign, side, other in ((-1, before, after), (1, after, before)):
        for image, one in side.items():
            if one == other.get(image):
                continue
            counts = changed.get(one.wnid) or tables.class_counts.get(one.wnid)
            if counts is None or (one.usable_bin or 0) >= len(counts["usable_bins"]):
                continue  # never counted, or by bins of earlier settings: the next count of all classes includes it
            changed[one.wnid] = counts
            for name in ("excluded", "problematic", "near_duplicates"):
                counts[name] += sign * getattr(one, name)
            if one.usable_bin is not None:
                counts["usable"] += sign
                counts["usable_bins"][one.usable_bin] += sign
    tables.class_counts.put(changed)


def _usable(facts: CandidateFacts, study: Study) -> bool:
    parameters = study.config.sampling
    reason = ineligibility(
        facts,
        min_num_annotations=parameters.min_num_annotations,
        threshold=None,
        review_targets=parameters.near_duplicate_review_targets,
    )
    return reason is None


def histogram(frequencies: Iterable[float], edges: tuple[float, ...]) -> tuple[int, ...]:
    """How many frequencies fall into each bin; a bin holds its lower edge."""
    counts = Counter(bisect_right(edges, frequency) for frequency in frequencies)
    return tuple(counts[index] for index in range(len(edges) + 1))


def all_counts(tables: Tables, memo: Memo) -> dict[str, ClassCounts]:
    """wnid -> its counts as last derived, for every class that was ever counted.

    Every decision changes the counts of a class or two; only those are read again.
    """
    key = generations_key(tables.generations.of("class_counts"))
    read = memo.get("class counts read", None, _ReadCounts)
    return memo.get("class counts", key, lambda: read.update(tables.class_counts.texts()))


class _ReadCounts:
    """Counts beside the text that they were read from."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, ClassCounts]] = {}

    def update(self, texts: Mapping[str, str]) -> dict[str, ClassCounts]:
        known, new = self._known, {}
        for wnid, text in texts.items():
            one = known.get(wnid)
            new[wnid] = one if one is not None and one[0] == text else (text, from_stored(json.loads(text)))
        self._known = new
        return {wnid: counts for wnid, (_, counts) in new.items()}


def refresh_counts(study: Study, *, stop: Callable[[], bool] = lambda: False) -> bool:
    """Derive the counts of all classes, one class per transaction, unless they are current; whether they are at the end.

    Args:
        study: an open study.
        stop: asked between classes; True ends the work, which the next call does again.
    """
    for _ in range(_ATTEMPTS):
        with study.database.write() as tables:
            if counts_are_current(study, tables):
                return True
            # Decisions that come meanwhile adjust what is counted already, and move this key along; a stage's changes do not.
            tables.completions.put(STAGE, _COUNTING, counts_key(study, tables))
            wnids = [info.wnid for info in tables.classes.all()]
        for wnid in wnids:
            if stop():
                return False
            with study.database.write() as tables:
                recount(study, tables, [wnid])
        with study.database.write() as tables:
            if tables.completions.key(STAGE, _COUNTING) == counts_key(study, tables):
                note_counted(study, tables)
                return True
    return False
