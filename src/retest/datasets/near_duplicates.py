"""The near-duplicates of a study: neighbours, reviews, components, and which candidates stay."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from retest.datasets._answers import all_frequencies, class_frequencies
from retest.datasets._base import Fresh, StudyView
from retest.duplicates import (
    Component,
    DuplicateCandidate,
    DuplicateStats,
    components,
    duplicate_stats,
    resolve,
    review_thresholds,
    reviewed_references,
    sufficiently_reviewed,
)
from retest.errors import NotFoundError
from retest.records import Neighbor, NeighborReview, Resolution, SelectionFrequency
from retest.store import Tables
from retest.study import Study

_GRAPH_TABLES = ("candidates", "originals", "near_duplicate_pairs")
_RESOLUTION_TABLES = (*_GRAPH_TABLES, "exclusions", "hits", "assignments", "resolution_overrides")


@dataclass(frozen=True, slots=True)
class _Graph:
    """All components, and the original images among their members."""

    components: tuple[Component, ...]
    originals: frozenset[str]


class NearDuplicateData(StudyView):
    """Near-duplicate pairs, their components and their resolution (the published project's class of this name; method, section 6).

    The graph joins the pairs that reviewers marked and all candidates of the same photo. What is asked about one image is worked
    out from its component alone; what is asked about all is worked out once and kept until the study changes. Both follow from the
    raw decisions and answers with the rules in the study's settings, whether or not ``retest duplicates resolve`` has been run.

    Args:
        study: an open study.
    """

    def __init__(self, study: Study) -> None:
        super().__init__(study)
        self._graph = Fresh(_GRAPH_TABLES, _load_graph)
        self._resolutions = Fresh(_RESOLUTION_TABLES, self._resolve_all)
        self._metrics = Fresh(("neighbors",), lambda tables: tables.neighbors.metrics())

    def near_duplicates_of(self, image_id: str) -> list[str]:
        """The images that a reviewer marked as near-duplicates of this one, or it of them, sorted; candidates and originals alike."""
        with self._read() as tables:
            pairs = tables.pairs.touching([image_id])
        return sorted({other for pair in pairs for other in pair} - {image_id})

    def component(self, image_id: str) -> Component | None:
        """The component of an image; None when it has no near-duplicate and shares its photo with no other candidate.

        Raises:
            NotFoundError: no image has this id.
        """
        with self._read() as tables:
            return self._component(tables, image_id)

    def components(self, *, with_original: bool | None = None) -> list[Component]:
        """All components by name; only those with (True) or without (False) an original image, if asked."""
        with self._read() as tables:
            graph = self._graph.get(tables)
        if with_original is None:
            return list(graph.components)
        return [found for found in graph.components if graph.originals.isdisjoint(found.members) is not with_original]

    def resolution(self, candidate_id: str) -> Resolution | None:
        """What becomes of a candidate, with the reason in words; None when it is in no component, so that nothing stands against it.

        Raises:
            NotFoundError: no candidate has this id.
            InputError: two members of its component are on the override list.
        """
        with self._read() as tables:
            _require_candidate(tables, candidate_id)
            found = self._component(tables, candidate_id)
            if found is None:
                return None
            outcomes = self._resolve_component(tables, found)
        return next(outcome for outcome in outcomes if outcome.candidate_id == candidate_id)

    def is_near_duplicate(self, candidate_id: str) -> bool:
        """Whether a candidate is left out as a near-duplicate. Raises as :meth:`resolution`."""
        found = self.resolution(candidate_id)
        return found is not None and found.near_duplicate

    def resolutions(self) -> dict[str, Resolution]:
        """Candidate id -> what becomes of it, for every candidate in some component.

        Raises:
            InputError: two members of a component are on the override list.
        """
        with self._read() as tables:
            return dict(self._resolutions.get(tables))

    def stats(self) -> DuplicateStats:
        """How many components there are, of which sizes, and how many candidates are marked. Raises as :meth:`resolutions`."""
        with self._read() as tables:
            graph, resolutions = self._graph.get(tables), self._resolutions.get(tables)
        return duplicate_stats(graph.components, resolutions.values(), is_original=graph.originals.__contains__)

    def overrides(self) -> list[str]:
        """Candidates that stay against the rule, sorted."""
        with self._read() as tables:
            return tables.pairs.overrides()

    def metrics(self) -> list[str]:
        """Metrics in which neighbours are stored, sorted."""
        with self._read() as tables:
            return list(self._metrics.get(tables))

    def neighbors(self, candidate_id: str, metric: str) -> tuple[Neighbor, ...]:
        """The nearest neighbours of a candidate, ascending (distances of l2 and features are squared).

        Raises:
            NotFoundError: none are stored for it in this metric.
        """
        with self._read() as tables:
            found = tables.neighbors.get([candidate_id], metric).get(candidate_id)
        if found is None:
            remedy = f"Metrics of this study: {', '.join(self.metrics()) or 'none'}; run: retest neighbors --study STUDY"
            raise NotFoundError(f"no neighbours in {metric} are stored", item=candidate_id, remedy=remedy)
        return found

    def reviews(self, candidate_id: str) -> list[NeighborReview]:
        """Current decisions of reviewers about a candidate, by metric, reviewer and time."""
        with self._read() as tables:
            return tables.reviews.all(candidate_id=candidate_id)

    def review_thresholds(self, candidate_id: str) -> dict[str, float]:
        """Metric -> smallest distance among a candidate's first neighbours that is not reviewed yet.

        ``inf`` when all are reviewed (the published files write 1e100), 0.0 when its neighbours were never computed.

        Raises:
            NotFoundError: no candidate has this id.
        """
        parameters = self.study.config.review
        with self._read() as tables:
            _require_candidate(tables, candidate_id)
            lists = {metric: tables.neighbors.get([candidate_id], metric) for metric in parameters.targets}
            neighbors = {metric: found[candidate_id] for metric, found in lists.items() if found}
            references = {candidate_id, *(neighbor.reference for found in neighbors.values() for neighbor in found)}
            return review_thresholds(
                candidate_id,
                neighbors,
                parameters=parameters,
                reviewed=reviewed_references(tables.reviews.all(candidate_id=candidate_id)).get(candidate_id),
                excluded=tables.exclusions.get(references).keys(),
                photos=tables.candidates.photos(references),
            )

    def is_sufficiently_reviewed(self, candidate_id: str) -> bool:
        """Whether the review threshold exceeds the study's target in every metric. Raises as :meth:`review_thresholds`."""
        return sufficiently_reviewed(self.review_thresholds(candidate_id), self.study.config.review.targets)

    def _component(self, tables: Tables, image_id: str) -> Component | None:
        members = {image_id}
        new = {image_id}
        while new:
            linked = {image for pair in tables.pairs.touching(sorted(new)) for image in pair} | _same_photo(tables, new)
            new = linked - members
            members |= new
        if len(members) > 1:
            return Component(min(members), tuple(sorted(members)))
        if not tables.candidates.photos([image_id]) and not tables.originals.get([image_id]):
            raise NotFoundError("is the id of no original image and of no candidate", item=image_id, remedy="Check the id")
        return None

    def _resolve_component(self, tables: Tables, component: Component) -> list[Resolution]:
        """The one rule, applied to the component's members and to what it counts of their classes: the labelled candidates."""
        members = tables.candidates.get(component.members)
        originals = tables.originals.get(component.members)
        # No HIT asks for an empty class, which candidates known by reference may have.
        frequencies = {wnid: class_frequencies(tables, wnid) for wnid in {one.wnid for one in members.values()} - {""}}
        labelled = {image for found in frequencies.values() for image in found} - set(component.members) - set(originals)
        rivals = tables.candidates.get(sorted(labelled))
        excluded = tables.exclusions.get([*members, *rivals])
        candidates = [
            DuplicateCandidate(
                one.id, one.wnid, one.source, one.photo_id, _value(frequencies.get(one.wnid, {}).get(one.id)), one.id in excluded
            )
            for one in (*members.values(), *rivals.values())
        ]
        outcomes = resolve(
            candidates,
            tables.pairs.touching(component.members),
            is_original=originals.__contains__,
            overrides=tables.pairs.overrides_among(component.members),
            parameters=self.study.config.resolution,
        )
        return [outcome for outcome in outcomes if outcome.component == component.name]

    def _resolve_all(self, tables: Tables) -> dict[str, Resolution]:
        frequencies = all_frequencies(tables)
        excluded = tables.exclusions.all()
        candidates = [
            DuplicateCandidate(image, wnid, source, photo, _value(frequencies.get((image, wnid))), image in excluded)
            for image, wnid, source, photo, _ in tables.candidates.identities()
        ]
        outcomes = resolve(
            candidates,
            tables.pairs.all(),
            is_original=self._graph.get(tables).originals.__contains__,
            overrides=set(tables.pairs.overrides()),
            parameters=self.study.config.resolution,
        )
        return {outcome.candidate_id: outcome for outcome in outcomes}


def _require_candidate(tables: Tables, candidate_id: str) -> None:
    if not tables.candidates.photos([candidate_id]):
        raise NotFoundError("is not the id of a candidate", item=candidate_id, remedy="Only candidates are reviewed and resolved")


def _load_graph(tables: Tables) -> _Graph:
    pairs = tables.pairs.all()
    found = components(pairs, same_photo=tables.candidates.shared_photos())
    return _Graph(tuple(found), frozenset(tables.originals.get({image for pair in pairs for image in pair})))


def _same_photo(tables: Tables, image_ids: Iterable[str]) -> set[str]:
    """The candidates that show the same photos as these."""
    photos: dict[str, list[str]] = {}
    for source, photo in tables.candidates.photos(image_ids).values():
        if photo:
            photos.setdefault(source, []).append(photo)
    return {found for source, ids in photos.items() for _, _, found in tables.candidates.by_photo(source, ids)}


def _value(frequency: SelectionFrequency | None) -> float | None:
    return frequency.value if frequency is not None and frequency.num_assignments else None
