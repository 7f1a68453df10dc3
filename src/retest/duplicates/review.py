"""What reviewers of near-duplicates see, and how far a candidate's neighbours have been reviewed (method, section 6)."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from retest.duplicates.parameters import ReviewParameters
from retest.errors import InputError
from retest.records import Neighbor, NeighborReview

Photo = tuple[str, str]
"""(source, photo id): candidates of different classes with the same pair are the same photo."""

ReviewedReferences = Mapping[str, Mapping[str, Collection[str]]]
"""candidate id -> metric -> ids of the references that have been reviewed."""


@dataclass(frozen=True, slots=True)
class ReviewItem:
    """One entry of the review queue: the neighbours of ``candidate_id`` that wait for a decision in ``metric``, nearest first."""

    candidate_id: str
    metric: str
    neighbors: tuple[Neighbor, ...]


def neighbors_to_review(
    candidate_id: str,
    neighbors: Sequence[Neighbor],
    *,
    threshold: float,
    reviewed: Collection[str] = frozenset(),
    excluded: Collection[str] = frozenset(),
    photos: Mapping[str, Photo] | None = None,
    num_neighbors: int = 30,
) -> tuple[Neighbor, ...]:
    """The neighbours of one candidate in one metric that a reviewer is shown, nearest first.

    They are those of the first ``num_neighbors`` whose distance is at most ``threshold`` and that are not the candidate
    itself, not the same photo under another class, not excluded and not yet reviewed.

    Args:
        candidate_id: the candidate.
        neighbors: its neighbours in the metric; the candidate itself may be among them and then counts as one of the first.
        threshold: the current review threshold, in the metric's unit.
        reviewed: ids of the references that were reviewed for this candidate and metric.
        excluded: ids of excluded candidates.
        photos: (source, photo id) by candidate id; original images have none.
        num_neighbors: how many of the nearest count.

    Raises:
        InputError: a distance is not a number.
    """
    return tuple(
        neighbor
        for neighbor in _nearest(candidate_id, neighbors, num_neighbors)
        if neighbor.distance <= threshold
        and neighbor.reference not in excluded
        and neighbor.reference not in reviewed
        and not _same_image(candidate_id, neighbor.reference, photos)
    )


def review_threshold(
    candidate_id: str,
    neighbors: Sequence[Neighbor] | None,
    *,
    reviewed: Collection[str] = frozenset(),
    excluded: Collection[str] = frozenset(),
    photos: Mapping[str, Photo] | None = None,
    num_neighbors: int = 30,
) -> float:
    """The smallest distance among the first ``num_neighbors`` that is not yet reviewed, in the metric's unit.

    The candidate itself and the same photo under another class are skipped. ``inf`` when everything is reviewed (the
    published files write 1e100), 0.0 when ``neighbors`` is None, which means that they were never computed.

    The published rule does not skip excluded neighbours here, although reviewers never see them: leave ``excluded``
    empty for it. Passing the excluded ids skips them, so that a candidate cannot wait for a decision nobody is asked for.

    Raises:
        InputError: a distance is not a number.
    """
    if neighbors is None:
        return 0.0
    for neighbor in _nearest(candidate_id, neighbors, num_neighbors):
        reference = neighbor.reference
        if reference not in reviewed and reference not in excluded and not _same_image(candidate_id, reference, photos):
            return neighbor.distance
    return math.inf


def sufficiently_reviewed(thresholds: Mapping[str, float], targets: Mapping[str, float]) -> bool:
    """Whether a candidate's review threshold exceeds the target, strictly, for every metric; a missing one counts as 0."""
    return all(thresholds.get(metric, 0.0) > target for metric, target in targets.items())


def review_thresholds(
    candidate_id: str,
    neighbors: Mapping[str, Sequence[Neighbor]],
    *,
    parameters: ReviewParameters,
    reviewed: Mapping[str, Collection[str]] | None = None,
    excluded: Collection[str] = frozenset(),
    photos: Mapping[str, Photo] | None = None,
) -> dict[str, float]:
    """:func:`review_threshold` of one candidate for every metric of ``parameters.targets``.

    ``neighbors`` and ``reviewed`` are keyed by metric; a metric without neighbours gives 0.0.
    """
    skipped = excluded if parameters.excluded_count_as_reviewed else frozenset()
    seen = reviewed or {}
    return {
        metric: review_threshold(
            candidate_id,
            neighbors.get(metric),
            reviewed=seen.get(metric, frozenset()),
            excluded=skipped,
            photos=photos,
            num_neighbors=parameters.num_neighbors,
        )
        for metric in parameters.targets
    }


def review_queue(
    neighbors: Mapping[str, Mapping[str, Sequence[Neighbor]]],
    *,
    parameters: ReviewParameters,
    reviewed: ReviewedReferences | None = None,
    excluded: Collection[str] = frozenset(),
    photos: Mapping[str, Photo] | None = None,
    thresholds: Mapping[str, float] | None = None,
) -> Iterator[ReviewItem]:
    """Everything that still waits for a reviewer, by candidate id, then metric in the order of the targets.

    Args:
        neighbors: candidate id -> metric -> neighbours, of the candidates that are to be reviewed.
        parameters: metrics, targets and the number of neighbours.
        reviewed: what was reviewed so far.
        excluded: ids of excluded candidates; they are not shown as neighbours.
        photos: (source, photo id) by candidate id.
        thresholds: current review threshold per metric, where it differs from the target.

    Raises:
        InputError: a distance is not a number.
    """
    done = reviewed or {}
    current = {**parameters.targets, **(thresholds or {})}
    for candidate_id in sorted(neighbors):
        for metric in parameters.targets:
            shown = neighbors_to_review(
                candidate_id,
                neighbors[candidate_id].get(metric, ()),
                threshold=current[metric],
                reviewed=done.get(candidate_id, {}).get(metric, frozenset()),
                excluded=excluded,
                photos=photos,
                num_neighbors=parameters.num_neighbors,
            )
            if shown:
                yield ReviewItem(candidate_id, metric, shown)


def reviewed_references(reviews: Iterable[NeighborReview]) -> dict[str, dict[str, set[str]]]:
    """Union of everything that ``reviews`` cover: candidate id -> metric -> reference ids, whatever their order."""
    result: dict[str, dict[str, set[str]]] = {}
    for review in reviews:
        result.setdefault(review.candidate_id, {}).setdefault(review.metric, set()).update(review.references)
    return result


def near_duplicate_pairs(reviews: Iterable[NeighborReview]) -> list[tuple[str, str]]:
    """The (candidate, reference) pairs that reviewers marked as near-duplicates, each once, sorted."""
    return sorted({(review.candidate_id, reference) for review in reviews for reference in review.near_duplicates})


def _nearest(candidate_id: str, neighbors: Sequence[Neighbor], count: int) -> Sequence[Neighbor]:
    """The first ``count`` by distance. Stored lists are ascending already, which costs less to see than to sort."""
    previous = -math.inf
    for neighbor in neighbors:
        if not neighbor.distance >= previous:
            return _sorted_by_distance(candidate_id, neighbors)[:count]
        previous = neighbor.distance
    return neighbors[:count]


def _sorted_by_distance(candidate_id: str, neighbors: Sequence[Neighbor]) -> list[Neighbor]:
    for neighbor in neighbors:
        if math.isnan(neighbor.distance):
            raise InputError(
                f"its distance to {neighbor.reference} is not a number",
                item=candidate_id,
                remedy="Run the neighbour search again for this candidate",
            )
    return sorted(neighbors, key=lambda neighbor: (neighbor.distance, neighbor.reference))


def _same_image(candidate_id: str, reference: str, photos: Mapping[str, Photo] | None) -> bool:
    if reference == candidate_id:
        return True
    if not photos:
        return False
    photo = photos.get(candidate_id)
    return photo is not None and photos.get(reference) == photo
