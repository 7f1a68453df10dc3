"""What several stages need to know about near-duplicates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import groupby
from operator import itemgetter

from retest.duplicates import Component, DuplicateCandidate, find_components, resolve, review_thresholds
from retest.records import Neighbor
from retest.stages._common import completion_key
from retest.store import Tables
from retest.study import Study

_STAGE = "resolution"
_INPUTS = (
    "originals",
    "candidates",
    "exclusions",
    "image_flags",
    "selection_frequencies",
    "near_duplicate_pairs",
    "resolution_overrides",
)
_REVIEW_INPUTS = ("candidates", "exclusions", "neighbors", "reviewed_neighbors")


def duplicate_candidates(tables: Tables) -> list[DuplicateCandidate]:
    """The candidates that some pair or an equal photo joins to another image, as resolution sees them; others are in no component."""
    joined = {image for pair in tables.pairs.all() for image in pair}
    joined.update(image for group in tables.candidates.shared_photos() for image in group)
    return [DuplicateCandidate(*row) for row in tables.bulk.for_resolution(sorted(joined))]


def paired_originals(tables: Tables) -> set[str]:
    """Ids of the original images that are in some near-duplicate pair."""
    return set(tables.originals.get(sorted({image for pair in tables.pairs.all() for image in pair})))


def shared_photos(tables: Tables) -> dict[str, tuple[str, str]]:
    """candidate -> (source, photo id), of those that show the same photo as another candidate."""
    return tables.candidates.photos(image for group in tables.candidates.shared_photos() for image in group)


def duplicate_components(tables: Tables, candidates: list[DuplicateCandidate], originals: set[str]) -> list[Component]:
    """Components of the near-duplicate graph as it stands."""
    return find_components(candidates, tables.pairs.all(), is_original=originals.__contains__)


def near_duplicates_of_originals(tables: Tables) -> set[str]:
    """Candidates whose component holds an original image: they need no answers."""
    originals = paired_originals(tables)
    found: set[str] = set()
    for component in duplicate_components(tables, duplicate_candidates(tables), originals):
        if any(member in originals for member in component.members):
            found.update(member for member in component.members if member not in originals)
    return found


def lists_by_candidate(tables: Tables, metrics: Sequence[str]) -> Iterator[tuple[str, dict[str, Sequence[Neighbor]]]]:
    """(candidate, metric -> its neighbours), by candidate id; the lists of all metrics are walked side by side."""
    walks = [_walk(tables, metric) for metric in metrics]
    for image, rows in groupby(merge(*walks, key=itemgetter(0)), key=itemgetter(0)):
        yield image, {metric: found for _, metric, found in rows}


def _walk(tables: Tables, metric: str) -> Iterator[tuple[str, str, Sequence[Neighbor]]]:
    return ((image, metric, found) for image, found in tables.neighbors.all(metric))


def lists_with_reviews(tables: Tables, metrics: Sequence[str]) -> Iterator[tuple[str, dict[str, Sequence[Neighbor]], dict[str, set[str]]]]:
    """(candidate, metric -> its neighbours, metric -> references that were reviewed), by candidate id; both are walked side by side."""
    reviews = tables.reviews.by_candidate()
    candidate, seen = next(reviews, ("", {}))
    for image, lists in lists_by_candidate(tables, metrics):
        while candidate and candidate < image:
            candidate, seen = next(reviews, ("", {}))
        found = seen if candidate == image else {}
        yield image, lists, {metric: found.get(metric, set()) for metric in metrics}


def was_resolved(tables: Tables) -> bool:
    """Whether a resolution was ever derived, current or not."""
    return tables.completions.key(_STAGE, "all") is not None


def refresh_resolution(study: Study, tables: Tables) -> None:
    """Bring review thresholds and resolution up to date; does nothing when nothing they depend on has changed."""
    thresholds_key = completion_key("thresholds-1", study.config.review, tables.generations.of(*_REVIEW_INPUTS))
    if tables.completions.key(_STAGE, "thresholds") != thresholds_key:
        _store_thresholds(study, tables)
        tables.completions.put(_STAGE, "thresholds", thresholds_key)
    key = completion_key("resolution-1", study.config.resolution, tables.generations.of(*_INPUTS))
    if tables.completions.key(_STAGE, "all") == key:
        return
    originals = paired_originals(tables)
    parameters = study.config.resolution
    good: Counter[str] = Counter()
    for wnid, selected, assignments, number in tables.bulk.labelled_candidates():
        good[wnid] += number * (selected / assignments >= parameters.good_threshold)
    tables.pairs.replace_resolutions(
        resolve(
            duplicate_candidates(tables),
            tables.pairs.all(),
            is_original=originals.__contains__,
            overrides=set(tables.pairs.overrides()),
            parameters=parameters,
            good_images=good,
        )
    )
    tables.completions.put(_STAGE, "all", key)


def _store_thresholds(study: Study, tables: Tables) -> None:
    parameters = study.config.review
    excluded, photos = tables.exclusions.ids(), shared_photos(tables)

    def derived() -> Iterator[tuple[str, str, float]]:
        for image, neighbors, seen in lists_with_reviews(tables, list(parameters.targets)):
            found = review_thresholds(image, neighbors, parameters=parameters, reviewed=seen, excluded=excluded, photos=photos)
            for metric, threshold in found.items():
                yield image, metric, min(threshold, 1e100)  # the published files' infinity; databases and JSON have none

    tables.reviews.put_all_thresholds(derived())
