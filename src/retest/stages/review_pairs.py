"""Stage: near-duplicate review for the web (method, section 6): the queue by metric and threshold, candidates beside their neighbours,
and how much is left.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from retest.errors import NotFoundError, UsageError
from retest.records import Neighbor
from retest.stages._ledger import REVIEW, review_item, review_state
from retest.stages._review_checks import check_limit
from retest.stages._review_core import State
from retest.stages._review_images import ImageView, view_images
from retest.stages._review_memo import Memo, generations_key
from retest.stages._review_names import class_name, known_classes
from retest.stages._review_pairs import (
    MAX_FACTOR,
    queue_is_current,
    refresh_queue,
    waiting_neighbors,
)
from retest.store import Tables
from retest.study import Study

__all__ = [
    "MAX_FACTOR",
    "REVIEW",
    "CandidatePairs",
    "ImageView",
    "Known",
    "NeighborView",
    "PairQueue",
    "QueueProgress",
    "candidate_pairs",
    "next_candidates",
    "queue_progress",
    "refresh_queue",
    "review_item",
    "review_metrics",
]

MOST = 100
_STEPS = (0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0)
_MOST_PASSES = 20


@dataclass(frozen=True, slots=True)
class Known:
    """What was said of the same two images before: in another metric, or with the other one as the candidate."""

    metric: str
    near_duplicate: bool
    reviewer: str
    time: str


@dataclass(frozen=True, slots=True)
class NeighborView:
    """A neighbour of a candidate. ``waits``: a reviewer must see it; ``marked``: decided for this metric, None while it is not;
    ``paired``: the two are a near-duplicate pair by any decision.
    """

    image: ImageView
    distance: float
    waits: bool
    marked: bool | None
    paired: bool
    known: tuple[Known, ...]


@dataclass(frozen=True, slots=True)
class CandidatePairs:
    """A candidate beside its neighbours in a metric; ``state`` and ``version`` are those of the decision about them."""

    candidate: ImageView
    metric: str
    neighbors: tuple[NeighborView, ...]
    state: State
    version: int
    name: str
    """The class in words."""


@dataclass(frozen=True, slots=True)
class PairQueue:
    """A page of the queue; ``next`` goes on behind it (None: the end)."""

    items: tuple[CandidatePairs, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class QueueProgress:
    """How much is left in a metric: candidates within ``threshold``, neighbours within the target, and candidates at other thresholds.

    ``current`` is False while the queue is being derived; numbers grow until it is. ``recounting`` says that what was decided in the
    last seconds is not subtracted yet: in a large study it is counted beside the requests.
    """

    metric: str
    target: float
    threshold: float
    candidates: int
    left: int
    waiting: int
    steps: tuple[tuple[float, int], ...]
    current: bool
    recounting: bool
    computed: bool
    """Whether any neighbours are stored in this metric."""


def review_metrics(study: Study) -> dict[str, float]:
    """metric -> review target."""
    return dict(study.config.review.targets)


def next_candidates(
    study: Study,
    memo: Memo,
    metric: str,
    *,
    threshold: float | None = None,
    wnid: str | None = None,
    after: str | None = None,
    limit: int = 10,
) -> PairQueue:
    """Candidates that wait in a metric, the one with the nearest neighbour first; those that are decided are skipped.

    Raises:
        UsageError: an unknown metric, a threshold out of range, a limit that is not 1 to 100, or ``after`` is no place in the queue.
    """
    chosen = _chosen_threshold(study, metric, threshold)
    check_limit(limit, MOST)
    place = None if after is None else _read_place(after)
    items: list[CandidatePairs] = []
    with study.database.read() as tables:
        for _ in range(_MOST_PASSES):
            wanted = limit - len(items)
            rows = tables.pair_queue.page(metric, threshold=chosen, after=place, wnid=wnid, limit=wanted + 1)
            more, rows = len(rows) > wanted, rows[:wanted]
            items += _views(study, tables, memo, metric, [row.candidate_id for row in rows], chosen)
            if rows:
                place = rows[-1].nearest, rows[-1].candidate_id
            # A row whose neighbours were excluded meanwhile has nothing to show; the next ones take its place.
            if not more or len(items) >= limit:
                break
    return PairQueue(tuple(items), _written_place(*place) if more and place else None)


def candidate_pairs(study: Study, memo: Memo, candidate_id: str, metric: str, *, threshold: float | None = None) -> CandidatePairs:
    """One candidate with its neighbours up to the threshold, those included that are decided.

    Raises:
        UsageError: an unknown metric, or a threshold out of range.
        NotFoundError: it has no neighbours in this metric.
    """
    chosen = _chosen_threshold(study, metric, threshold)
    with study.database.read() as tables:
        found = _views(study, tables, memo, metric, [candidate_id], chosen, everything=True)
    if not found:
        raise NotFoundError(f"has no neighbours in {metric}", item=candidate_id, remedy="Neighbours come from: retest neighbors")
    return found[0]


def queue_progress(study: Study, memo: Memo, metric: str, *, threshold: float | None = None) -> QueueProgress:
    """How much is left, and how another threshold would change it.

    Args:
        study: an open study.
        memo: where counts are kept.
        metric: one of the metrics with a review target.
        threshold: the chosen one; the target by default.

    Raises:
        UsageError: an unknown metric, or a threshold out of range.
    """
    chosen = _chosen_threshold(study, metric, threshold)
    target = study.config.review.targets[metric]
    steps = sorted({*(factor * target for factor in _STEPS), chosen})
    with study.database.read() as tables:
        lists = memo.get("neighbor lists", generations_key(tables.generations.of("neighbors")), tables.neighbors.counts)
        key = generations_key(tables.generations.of(*_COUNTED))
        current = queue_is_current(study, tables)
    left = memo.recent(("pairs left", metric, chosen), key, lambda: _left(study, metric, steps))
    counts, waiting = left.value
    return QueueProgress(
        metric=metric,
        target=target,
        threshold=chosen,
        candidates=lists.get(metric, 0),
        left=counts[steps.index(chosen)],
        waiting=waiting,
        steps=tuple(zip(steps, counts, strict=True)),
        current=current,
        recounting=not left.current,
        computed=metric in lists,
    )


_COUNTED = ("pair_queue", "exclusions")


def _left(study: Study, metric: str, steps: Sequence[float]) -> tuple[Hashable, tuple[list[int], int]]:
    with study.database.read() as tables:
        key = generations_key(tables.generations.of(*_COUNTED))
        return key, (tables.pair_queue.counts(metric, steps), tables.pair_queue.waiting(metric))


def _chosen_threshold(study: Study, metric: str, threshold: float | None) -> float:
    """The threshold, or the review target where none is given."""
    targets = study.config.review.targets
    if metric not in targets:
        raise UsageError(f"{metric!r} has no review target", item="metric", remedy=f"Metrics: {', '.join(targets) or 'none'}")
    if threshold is None:
        return targets[metric]
    if not (math.isfinite(threshold) and 0 <= threshold <= targets[metric] * MAX_FACTOR):
        raise UsageError(
            f"must be from 0 to {targets[metric] * MAX_FACTOR:g}, is {threshold:g}",
            item="threshold",
            remedy=f"Choose at most {MAX_FACTOR:g} times the review target",
        )
    return threshold


def _written_place(nearest: float, candidate: str) -> str:
    """A place in the queue as the text that goes on behind it; the distance comes back exactly."""
    return f"{nearest!r}~{candidate}"


def _read_place(after: str) -> tuple[float, str]:
    distance, tilde, candidate = after.partition("~")
    try:
        place = float(distance), candidate
    except ValueError:
        place = math.nan, candidate
    if not tilde or not math.isfinite(place[0]):
        raise UsageError("is no place in the queue", item="after", remedy="Start again at the first page")
    return place


def _views(
    study: Study, tables: Tables, memo: Memo, metric: str, candidates: Sequence[str], threshold: float, *, everything: bool = False
) -> list[CandidatePairs]:
    """Candidates beside the neighbours that wait or, with ``everything``, beside all up to the threshold; without any it is left out."""
    lists = tables.neighbors.get(candidates, metric)
    waiting = waiting_neighbors(study, tables, metric, lists, threshold)
    if everything:
        first = {candidate: lists[candidate][: study.config.review.num_neighbors] for candidate in candidates if candidate in lists}
        shown = {one: [n for n in found if n.distance <= threshold and n.reference != one] for one, found in first.items()}
    else:
        shown = {candidate: list(waiting[candidate]) for candidate in candidates if waiting.get(candidate)}
    ids = {*shown, *(n.reference for found in shown.values() for n in found)}
    views, said = view_images(study, tables, sorted(ids)), _Said.of(tables, metric, shown)
    latest = tables.decisions.latest(REVIEW, [review_item(candidate, metric) for candidate in shown])
    classes = known_classes(tables, memo)
    found = []
    for candidate, near in shown.items():
        waits, item = {n.reference for n in waiting.get(candidate, ())}, review_item(candidate, metric)
        found.append(
            CandidatePairs(
                candidate=views[candidate],
                metric=metric,
                neighbors=tuple(said.view(candidate, n, views[n.reference], waits=n.reference in waits) for n in near),
                state=review_state(said.reviewed.get(candidate, {})),
                version=latest[item].no if item in latest else 0,
                name=class_name(classes, views[candidate].wnid or ""),
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class _Said:
    """What was said of candidates and the neighbours shown beside them: in this metric, as pairs, and elsewhere."""

    metric: str
    reviewed: Mapping[str, Mapping[str, bool]]
    paired: set[frozenset[str]]
    known: Mapping[frozenset[str], Sequence[tuple[tuple[str, str], Known]]]

    @classmethod
    def of(cls, tables: Tables, metric: str, shown: dict[str, list[Neighbor]]) -> _Said:
        candidates = sorted(shown)
        paired = {frozenset(pair) for pair in tables.pairs.touching(candidates)}
        return cls(metric, tables.pair_queue.reviewed(metric, candidates), paired, _known(tables, shown))

    def view(self, candidate: str, near: Neighbor, image: ImageView, *, waits: bool) -> NeighborView:
        pair = frozenset((candidate, near.reference))
        return NeighborView(
            image=image,
            distance=near.distance,
            waits=waits,
            marked=self.reviewed.get(candidate, {}).get(near.reference),
            paired=pair in self.paired,
            known=tuple(said for where, said in self.known.get(pair, ()) if where != (candidate, self.metric)),
        )


def _known(tables: Tables, shown: dict[str, list[Neighbor]]) -> dict[frozenset[str], list[tuple[tuple[str, str], Known]]]:
    """Pair of images -> what was said of it, with the candidate and the metric of each."""
    references = {n.reference for found in shown.values() for n in found}
    found: dict[frozenset[str], list[tuple[tuple[str, str], Known]]] = {}
    for candidate, metric, reference, near, reviewer, time in tables.pair_queue.decided_elsewhere(shown, references):
        found.setdefault(frozenset((candidate, reference)), []).append(((candidate, metric), Known(metric, near, reviewer, time)))
    return found
