"""Stage: the near-duplicate review queue, the reviewers' decisions, and the resolution that follows (method, section 6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from retest.duplicates import (
    DuplicateStats,
    ReviewItem,
    duplicate_stats,
    review_queue,
)
from retest.errors import NotFoundError, UsageError
from retest.records import Neighbor, NeighborReview, Resolution
from retest.stages._common import Stamp
from retest.stages._duplicates import (
    duplicate_candidates,
    duplicate_components,
    lists_with_reviews,
    paired_originals,
    refresh_resolution,
    shared_photos,
)
from retest.stages._ledger import OVERRIDE, REOPENED, REVIEW, review_item, review_state
from retest.store import Tables
from retest.study import Study


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits for a reviewer, and how many candidates have nothing left to review.

    ``missing_metrics`` are metrics with a review target for which no neighbours are stored: until they are, no candidate counts as
    sufficiently reviewed, however short the queue is.
    """

    items: tuple[ReviewItem, ...]
    candidates: int
    reviewed_candidates: int
    missing_metrics: tuple[str, ...] = ()


def queue(study: Study, *, thresholds: Mapping[str, float] | None = None) -> Queue:
    """The review queue by the rules; ``thresholds`` replaces the targets for a look at other choices."""
    items: list[ReviewItem] = []
    shown = waiting = 0
    for found in _each_waiting(study, thresholds):
        items += found
        shown, waiting = shown + 1, waiting + bool(found)
    return Queue(tuple(items), shown, shown - waiting, _missing_metrics(study))


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """A :class:`Queue` without its items: ``by_metric`` says how many candidates wait in each metric."""

    by_metric: Mapping[str, int]
    candidates: int
    reviewed_candidates: int
    missing_metrics: tuple[str, ...] = ()


def count_queue(study: Study) -> QueueCounts:
    """How much waits for a reviewer, without holding it."""
    by_metric: Counter[str] = Counter()
    shown = waiting = 0
    for found in _each_waiting(study, None):
        by_metric.update(item.metric for item in found)
        shown, waiting = shown + 1, waiting + bool(found)
    return QueueCounts(by_metric, shown, shown - waiting, _missing_metrics(study))


def _each_waiting(study: Study, thresholds: Mapping[str, float] | None) -> Iterator[list[ReviewItem]]:
    """What waits of each candidate that is not excluded, by candidate id."""
    parameters = study.config.review
    with study.database.read() as tables:
        excluded, photos = tables.exclusions.ids(), shared_photos(tables)
        ask = partial(review_queue, parameters=parameters, excluded=excluded, photos=photos, thresholds=thresholds)
        for image, lists, seen in lists_with_reviews(tables, list(parameters.targets)):
            if image not in excluded:
                yield list(ask({image: lists}, reviewed={image: seen}))


def _missing_metrics(study: Study) -> tuple[str, ...]:
    with study.database.read() as tables:
        known = set(tables.neighbors.metrics())
    return tuple(metric for metric in study.config.review.targets if metric not in known)


def record_reviews(study: Study, reviews: Iterable[NeighborReview], *, stamp: Stamp) -> int:
    """Store decisions: all references shown become reviewed, those marked become pairs; append-only history in the ledger.

    The newest decision in each metric counts, and a pair stays as long as it is marked in some metric: whether reviews come one by
    one or together makes no difference. The ledger holds what is said of the candidate in the metric before and after, as the review
    pages write it, so that they can take it back.
    """
    count = 0
    with study.database.write() as tables:
        for review in reviews:
            marked, candidate = set(review.near_duplicates), review.candidate_id
            before = tables.pair_queue.reviewed(review.metric, [candidate]).get(candidate, {})
            after = before | {reference: reference in marked for reference in (*review.references, *review.near_duplicates)}
            tables.reviews.add([review])
            tables.pairs.add(((candidate, r) for r in review.near_duplicates), user=review.reviewer, time=review.time)
            shown, still_marked = set(review.references), tables.reviews.marked(candidate)
            withdrawn = sorted((tables.pairs.of(candidate) & shown) - still_marked)
            tables.pairs.remove((candidate, reference) for reference in withdrawn)
            tables.decisions.add(
                time=review.time or stamp.time,
                user=review.reviewer or stamp.user,
                kind=REVIEW,
                item=review_item(candidate, review.metric),
                before=review_state(before),
                after=review_state(after),
            )
            count += 1
    return count


def decide(
    study: Study,
    candidate_id: str,
    *,
    metric: str,
    near_duplicates: Collection[str] = (),
    references: Sequence[str] | None = None,
    stamp: Stamp,
) -> NeighborReview:
    """Record that a reviewer has looked at neighbours of a candidate, and which of them are near-duplicates.

    Args:
        study: an open study.
        candidate_id: the candidate.
        metric: the metric in which the neighbours were shown.
        near_duplicates: those that show the same; none by default.
        references: what was looked at; by default everything that waits in the queue for this candidate and metric.
        stamp: who decides, and when.

    Raises:
        NotFoundError: the candidate has no neighbours in this metric.
        UsageError: nothing waits, or an id is not among the candidate's neighbours.
    """
    with study.database.read() as tables:
        stored = tables.neighbors.get([candidate_id], metric).get(candidate_id)
        waiting = _waiting(study, tables, candidate_id, metric, stored or ())
    if stored is None:
        raise NotFoundError(
            f"has no neighbours in {metric}", item=candidate_id, remedy="Check the id; neighbours come from: retest neighbors"
        )
    if references is None:
        references = waiting
    looked_at = list(dict.fromkeys([*references, *near_duplicates]))
    strangers = sorted(set(looked_at) - {neighbor.reference for neighbor in stored})
    if strangers:
        raise UsageError(
            f"is not among the neighbours of {candidate_id} in {metric}", item=strangers[0], remedy="See: retest duplicates queue"
        )
    if not looked_at:
        raise UsageError(f"nothing waits for review in {metric}", item=candidate_id, remedy="Name what was looked at with --reviewed")
    review = NeighborReview(candidate_id, metric, tuple(looked_at), tuple(sorted(set(near_duplicates))), stamp.user, stamp.time)
    record_reviews(study, [review], stamp=stamp)
    return review


def _waiting(study: Study, tables: Tables, candidate_id: str, metric: str, stored: Sequence[Neighbor]) -> list[str]:
    """The neighbours of one candidate that wait in a metric, as the queue has them."""
    shown = {candidate_id, *(neighbor.reference for neighbor in stored)}
    excluded = set(tables.exclusions.get(shown))
    if candidate_id in excluded:
        return []
    items = review_queue(
        {candidate_id: {metric: stored}},
        parameters=study.config.review,
        reviewed={candidate_id: {metric: tables.reviews.reviewed_of([candidate_id], metric).get(candidate_id, set())}},
        excluded=excluded,
        photos={image: photo for image, photo in tables.candidates.photos(shown).items() if photo[1]},
    )
    return [neighbor.reference for item in items if item.metric == metric for neighbor in item.neighbors]


def reopen(study: Study, candidate_id: str, *, metrics: Sequence[str] | None = None, stamp: Stamp) -> dict[str, int]:
    """Ask again: forget the current decisions about a candidate's neighbours, in some metrics or in all. The history keeps them.

    Pairs that were marked in no other metric are withdrawn.

    Returns:
        metric -> number of neighbours that wait again.

    Raises:
        NotFoundError: nothing was reviewed.
    """
    counts: dict[str, int] = {}
    with study.database.write() as tables:
        known = {review.metric for review in tables.reviews.all(candidate_id=candidate_id)}
        for metric in sorted(known) if metrics is None else metrics:
            references, marked = tables.reviews.remove(candidate_id, metric)
            if not references:
                continue
            withdrawn = sorted((tables.pairs.of(candidate_id) & marked) - tables.reviews.marked(candidate_id))
            tables.pairs.remove((candidate_id, reference) for reference in withdrawn)
            before = review_state({reference: reference in marked for reference in references})
            _note(tables, stamp, REOPENED, review_item(candidate_id, metric), before, None)
            counts[metric] = len(references)
    if not counts:
        where = "" if metrics is None else f" in {', '.join(metrics)}"
        raise NotFoundError(f"nothing was reviewed{where}", item=candidate_id, remedy="See: retest duplicates history")
    return counts


def set_override(study: Study, candidate_ids: Sequence[str], *, listed: bool, stamp: Stamp) -> int:
    """Put candidates on the override list (they stay against the rule), or take them off it; how many that changed.

    Raises:
        NotFoundError: no candidate has such an id.
        InputError: two members of one component would be on the list; nothing is changed.
    """
    changed = 0
    with study.database.write() as tables:
        known = set(tables.candidates.get(candidate_ids)) | {image for pair in tables.pairs.touching(candidate_ids) for image in pair}
        current = set(tables.pairs.overrides())
        for candidate in candidate_ids:
            if candidate not in known:
                raise NotFoundError("no candidate has this id", item=candidate, remedy="See: retest duplicates resolve --json")
            if (candidate in current) is listed:
                continue
            if listed:
                tables.pairs.add_overrides([candidate], user=stamp.user, time=stamp.time)
            else:
                tables.pairs.remove_overrides([candidate])
            _note(tables, stamp, OVERRIDE, candidate, not listed, listed)
            changed += 1
        refresh_resolution(study, tables)
    return changed


@dataclass(frozen=True, slots=True)
class PastDecision:
    """One entry of the history: who said what about which candidate, when. ``metric`` is empty for overrides."""

    time: str
    reviewer: str
    kind: str
    candidate: str
    metric: str
    text: str


def history(study: Study, *, candidate_id: str | None = None) -> list[PastDecision]:
    """Every decision about near-duplicates (of one candidate), oldest first; nothing is ever taken out of it."""
    with study.database.read() as tables:
        rows = [row for kind in (REVIEW, REOPENED, OVERRIDE) for row in tables.decisions.all(kind=kind)]
    found = []
    for row in sorted(rows, key=lambda row: row["no"]):
        candidate, _, metric = row["item"].partition("/") if row["kind"] != OVERRIDE else (row["item"], "", "")
        if candidate_id in (None, candidate):
            found.append(PastDecision(row["time"], row["user"], row["kind"], candidate, metric, _in_words(row)))
    return found


def _in_words(row: Mapping[str, Any]) -> str:
    if row["kind"] == OVERRIDE:
        return "stays against the rule" if row["after"] else "follows the rule again"
    said = row["after"] or row["before"] or {"references": [], "near_duplicates": []}
    marked = said["near_duplicates"]
    text = f"{len(said['references'])} looked at, {len(marked)} near-duplicates" + (f": {', '.join(marked)}" if marked else "")
    return f"asked again ({text})" if row["kind"] == REOPENED or row["after"] is None else text


def _note(tables: Tables, stamp: Stamp, kind: str, item: str, before: Any, after: Any) -> None:
    tables.decisions.add(time=stamp.time, user=stamp.user, kind=kind, item=item, before=before, after=after)


def resolve_duplicates(study: Study) -> list[Resolution]:
    """Derive review thresholds and resolution from neighbours, reviews, pairs and frequencies; unchanged inputs redo nothing.

    Raises:
        InputError: two members of one component are on the override list.
    """
    with study.database.write() as tables:
        refresh_resolution(study, tables)
        return list(tables.pairs.resolutions().values())


def stats(study: Study) -> DuplicateStats:
    """Figures of the near-duplicate graph and its resolution."""
    with study.database.write() as tables:
        refresh_resolution(study, tables)
        originals = paired_originals(tables)
        components = duplicate_components(tables, duplicate_candidates(tables), originals)
        resolutions = list(tables.pairs.resolutions().values())
    return duplicate_stats(components, resolutions, is_original=originals.__contains__)
