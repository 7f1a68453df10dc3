"""Stage: how far a study's review is, for its first page: sums over the classes, its revisions, what waits for whom."""

from __future__ import annotations

from dataclasses import dataclass

from retest.stages._review_counts import ClassCounts, all_counts, counts_are_current, refresh_counts
from retest.stages._review_memo import Memo, generations_key
from retest.store import RevisionSummary, Tables
from retest.study import Study

__all__ = ["Progress", "RevisionProgress", "refresh_counts", "study_progress"]


@dataclass(frozen=True, slots=True)
class RevisionProgress:
    """A revision, and how far its class-by-class review is."""

    summary: RevisionSummary
    classes: int
    reviewed: int
    problematic: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Sums over all classes (``classes_done`` miss no image of any bin) and the revisions; ``current`` is False while counts lag."""

    current: bool
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
    """Count what a study holds; costs a few short queries as long as nothing has changed."""
    with study.database.read() as tables:
        counts = all_counts(tables, memo)
        current = counts_are_current(study, tables)
        slow = memo.get("progress", generations_key(tables.generations.of(*_INPUTS)), lambda: _slow(tables))
        decisions = tables.decisions.newest()
        number = memo.get("number of classes", generations_key(tables.generations.of("classes")), tables.classes.count)
    listed = list(counts.values())

    def total(name: str) -> int:
        return sum(getattr(one, name) for one in listed)

    return Progress(
        current=current,
        classes=number,
        classes_done=sum(_is_done(one) for one in listed),
        **{name: total(name) for name in _SUMS},
        missing=total("missing"),
        hits=slow[0],
        hits_submitted=slow[1],
        reviewed_neighbors=slow[2],
        pairs=slow[3],
        revisions=slow[4],
        decisions=decisions,
    )


_SUMS = ("candidates", "stored", "labelled", "excluded", "problematic", "near_duplicates", "usable")
_INPUTS = ("hits", "reviewed_neighbors", "near_duplicate_pairs", "revisions", "class_reviews")


def _is_done(counts: ClassCounts) -> bool:
    return sum(counts.target_bins) > 0 and counts.missing == 0


def _slow(tables: Tables) -> tuple[int, int, int, int, tuple[RevisionProgress, ...]]:
    totals = tables.hits.totals()
    revisions = tuple(_revision(tables, summary) for summary in tables.revisions.summaries())
    return totals.hits, totals.submitted, tables.reviews.count(), tables.pairs.count(), revisions


def _revision(tables: Tables, summary: RevisionSummary) -> RevisionProgress:
    reviews = tables.revisions.reviews(summary.name).values()
    reviewed, problematic = sum(r.reviewed for r in reviews), sum(r.problematic for r in reviews)
    return RevisionProgress(summary, len(reviews), reviewed, problematic)
