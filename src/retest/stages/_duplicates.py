"""What several stages need to know about near-duplicates."""

from __future__ import annotations

from collections.abc import Sequence

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
    """All candidates of the study as resolution sees them."""
    excluded = tables.exclusions.all().keys() | tables.flags.ids()
    frequencies = {(f.image_id, f.wnid): f.value for f in tables.frequencies.all() if f.num_assignments}
    return [
        DuplicateCandidate(image, wnid, source, photo, frequencies.get((image, wnid)), image in excluded)
        for image, wnid, source, photo, _ in tables.candidates.identities()
    ]


def original_ids(tables: Tables) -> set[str]:
    """Ids of all original images of the study."""
    return {image.id for image in tables.originals.all()}


def duplicate_components(tables: Tables, candidates: list[DuplicateCandidate], originals: set[str]) -> list[Component]:
    """Components of the near-duplicate graph as it stands."""
    return find_components(candidates, tables.pairs.all(), is_original=originals.__contains__)


def near_duplicates_of_originals(tables: Tables) -> set[str]:
    """Candidates whose component holds an original image: they need no answers."""
    originals = original_ids(tables)
    found: set[str] = set()
    for component in duplicate_components(tables, duplicate_candidates(tables), originals):
        if any(member in originals for member in component.members):
            found.update(member for member in component.members if member not in originals)
    return found


def neighbor_lists(tables: Tables, metrics: Sequence[str]) -> dict[str, dict[str, Sequence[Neighbor]]]:
    """candidate -> metric -> its neighbours."""
    lists: dict[str, dict[str, Sequence[Neighbor]]] = {}
    for metric in metrics:
        for image, found in tables.neighbors.all(metric):
            lists.setdefault(image, {})[metric] = found
    return lists


def reviewed_by_candidate(tables: Tables, metrics: Sequence[str]) -> dict[str, dict[str, set[str]]]:
    """candidate -> metric -> references that were reviewed."""
    result: dict[str, dict[str, set[str]]] = {}
    for metric in metrics:
        for image, references in tables.reviews.reviewed(metric).items():
            result.setdefault(image, {})[metric] = references
    return result


def refresh_resolution(study: Study, tables: Tables) -> None:
    """Bring review thresholds and resolution up to date; does nothing when nothing they depend on has changed."""
    thresholds_key = completion_key("thresholds-1", study.config.review, tables.generations.of(*_REVIEW_INPUTS))
    if tables.completions.key(_STAGE, "thresholds") != thresholds_key:
        _store_thresholds(study, tables)
        tables.completions.put(_STAGE, "thresholds", thresholds_key)
    key = completion_key("resolution-1", study.config.resolution, tables.generations.of(*_INPUTS))
    if tables.completions.key(_STAGE, "all") == key:
        return
    originals = original_ids(tables)
    tables.pairs.replace_resolutions(
        resolve(
            duplicate_candidates(tables),
            tables.pairs.all(),
            is_original=originals.__contains__,
            overrides=set(tables.pairs.overrides()),
            parameters=study.config.resolution,
        )
    )
    tables.completions.put(_STAGE, "all", key)


def _store_thresholds(study: Study, tables: Tables) -> None:
    parameters = study.config.review
    metrics = list(parameters.targets)
    lists, reviewed = neighbor_lists(tables, metrics), reviewed_by_candidate(tables, metrics)
    excluded = set(tables.exclusions.all())
    photos = {row[0]: (row[2], row[3]) for row in tables.candidates.identities()}
    found: dict[str, dict[str, float]] = {metric: {} for metric in metrics}
    for image, neighbors in lists.items():
        derived = review_thresholds(image, neighbors, parameters=parameters, reviewed=reviewed.get(image), excluded=excluded, photos=photos)
        for metric, threshold in derived.items():
            found[metric][image] = min(threshold, 1e100)  # the published files' infinity; databases and JSON have none
    for metric, thresholds in found.items():
        tables.reviews.put_thresholds(metric, thresholds)
