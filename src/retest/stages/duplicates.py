"""Stage: the near-duplicate review queue, the reviewers' decisions, and the resolution that follows (method, section 6)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from retest.duplicates import (
    DuplicateStats,
    ReviewItem,
    duplicate_stats,
    review_queue,
)
from retest.records import NeighborReview, Resolution
from retest.stages._common import Stamp
from retest.stages._duplicates import (
    duplicate_candidates,
    duplicate_components,
    neighbor_lists,
    original_ids,
    refresh_resolution,
    reviewed_by_candidate,
)
from retest.study import Study


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits for a reviewer, and how many candidates are sufficiently reviewed already."""

    items: tuple[ReviewItem, ...]
    candidates: int
    reviewed_candidates: int


def queue(study: Study, *, thresholds: Mapping[str, float] | None = None) -> Queue:
    """The review queue by the rules; ``thresholds`` replaces the targets for a look at other choices."""
    parameters = study.config.review
    with study.database.read() as tables:
        lists = neighbor_lists(tables, list(parameters.targets))
        excluded = set(tables.exclusions.all())
        photos = {row[0]: (row[2], row[3]) for row in tables.candidates.identities()}
        reviewed = reviewed_by_candidate(tables, list(parameters.targets))
    shown = {image: found for image, found in lists.items() if image not in excluded}
    items = tuple(review_queue(shown, parameters=parameters, reviewed=reviewed, excluded=excluded, photos=photos, thresholds=thresholds))
    waiting = {item.candidate_id for item in items}
    return Queue(items, len(shown), len(shown) - len(waiting))


def record_reviews(study: Study, reviews: Iterable[NeighborReview], *, stamp: Stamp) -> int:
    """Store decisions: all references shown become reviewed, those marked become pairs; append-only history in the ledger.

    The newest decision in each metric counts, and a pair stays as long as it is marked in some metric: whether reviews come one by
    one or together makes no difference.
    """
    count = 0
    with study.database.write() as tables:
        for review in reviews:
            tables.reviews.add([review])
            marked, candidate = set(review.near_duplicates), review.candidate_id
            tables.pairs.add(((candidate, r) for r in review.near_duplicates), user=review.reviewer, time=review.time)
            shown, still_marked = set(review.references), tables.reviews.marked(candidate)
            withdrawn = sorted((tables.pairs.of(candidate) & shown) - still_marked)
            tables.pairs.remove((candidate, reference) for reference in withdrawn)
            tables.decisions.add(
                time=review.time or stamp.time,
                user=review.reviewer or stamp.user,
                kind="near_duplicate_review",
                item=f"{candidate}/{review.metric}",
                before=withdrawn,
                after={"references": list(review.references), "near_duplicates": sorted(marked)},
            )
            count += 1
    return count


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
        originals = original_ids(tables)
        components = duplicate_components(tables, duplicate_candidates(tables), originals)
        resolutions = list(tables.pairs.resolutions().values())
    return duplicate_stats(components, resolutions, is_original=originals.__contains__)
