"""Stage: how far a study's review is, for its first page: sums over the classes, its revisions, what waits for whom."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass
from typing import TypeVar

from retest.stages._review_counts import ClassCounts, all_counts, counts_are_current, refresh_counts
from retest.stages._review_memo import Memo, generations_key
from retest.store import RevisionSummary, Tables
from retest.study import Study

__all__ = ["Progress", "RevisionProgress", "candidates_counted", "refresh_counts", "study_progress"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RevisionProgress:
    """A revision, and how far the review of its ``classes`` is; without reviewed and problematic ones none is begun."""

    summary: RevisionSummary
    classes: int
    reviewed: int
    problematic: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Sums over all classes (``classes_done`` miss no image of any bin) and the revisions.

    ``current`` is False while counts lag behind a stage. In a large study the numbers of HITs and of reviewed neighbours are counted
    beside the requests; ``recounting`` says that this is under way, so that they are some seconds old.
    """

    current: bool
    recounting: bool
    classes: int
    classes_done: int
    candidates: int
    stored: int
    labelled: int
    excluded: int
    problematic: int
    near_duplicates: int
    usable: int
    missing: int
    hits: int
    hits_submitted: int
    reviewed_neighbors: int
    pairs: int
    revisions: tuple[RevisionProgress, ...]
    decisions: int


def study_progress(study: Study, memo: Memo) -> Progress:
    """Count what a study holds; costs a few short queries whatever its size, also while people decide."""
    with study.database.read() as tables:
        current = counts_are_current(study, tables)
        sums = memo.get("class sums", _key(tables, "class_counts"), lambda: _sums(all_counts(tables, memo).values()))
        number = memo.get("number of classes", _key(tables, "classes"), tables.classes.count)
        pairs = memo.get("number of pairs", _key(tables, "near_duplicate_pairs"), tables.pairs.count)
        revisions = memo.get("revisions", _key(tables, "revisions"), tables.revisions.summaries)
        of_classes = memo.get("classes of revisions", _key(tables, "revisions"), tables.revisions.class_counts)
        reviewed = memo.get("class reviews", _key(tables, "class_reviews"), tables.revisions.review_counts)
        decisions = tables.decisions.newest()
        hits_key, neighbors_key = _key(tables, "hits"), _key(tables, "reviewed_neighbors")
    hits = memo.recent("number of HITs", hits_key, lambda: _counted(study, "hits", lambda now: now.hits.numbers()))
    neighbors = memo.recent(
        "number of reviewed neighbors", neighbors_key, lambda: _counted(study, "reviewed_neighbors", lambda now: now.reviews.count())
    )
    return Progress(
        current=current,
        recounting=not (hits.current and neighbors.current),
        classes=number,
        **sums,
        hits=hits.value[0],
        hits_submitted=hits.value[1],
        reviewed_neighbors=neighbors.value,
        pairs=pairs,
        revisions=tuple(RevisionProgress(one, of_classes.get(one.name, 0), *reviewed.get(one.name, (0, 0))) for one in revisions),
        decisions=decisions,
    )


def candidates_counted(study: Study) -> int:
    """How many candidates the classes had when they were counted last; a short query whatever the size of the study."""
    with study.database.read() as tables:
        return sum(one["candidates"] for one in tables.class_counts.all().values())


_SUMS = ("candidates", "stored", "labelled", "excluded", "problematic", "near_duplicates", "usable", "missing")


def _sums(counts: Collection[ClassCounts]) -> dict[str, int]:
    sums = {name: sum(getattr(one, name) for one in counts) for name in _SUMS}
    return {**sums, "classes_done": sum(_is_done(one) for one in counts)}


def _is_done(counts: ClassCounts) -> bool:
    return sum(counts.target_bins) > 0 and counts.missing == 0


def _key(tables: Tables, table: str) -> Hashable:
    return generations_key(tables.generations.of(table))


def _counted(study: Study, table: str, count: Callable[[Tables], T]) -> tuple[Hashable, T]:
    with study.database.read() as tables:
        return _key(tables, table), count(tables)
