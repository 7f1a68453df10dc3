"""How well the study found what the demo planted. Only this module compares results with the truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from retest.demo.digits import Planted
from retest.report import PlantedCheck, PlantedKind
from retest.sources import candidate_id
from retest.stages._duplicates import duplicate_candidates, duplicate_components
from retest.study import Study

_SOURCE = "folder"


def planted_check(study: Study, planted: Iterable[Planted]) -> PlantedCheck:
    """Recall per kind of copy, and precision over all marked candidates.

    A copy is found when it ends up in one near-duplicate component with what it was made from. A marked candidate is correct when
    it is a planted copy or the pool image that one was made from.
    """
    copies = [entry for entry in planted if entry.source is not None]
    with study.database.read() as tables:
        originals = set(tables.originals.ids())
        components = duplicate_components(tables, duplicate_candidates(tables), originals)
        marked = {image for image, resolution in tables.pairs.resolutions().items() if resolution.near_duplicate}
    component_of = {member: component.name for component in components for member in component.members}
    pairs = [(entry.kind, candidate_id(entry.file, _SOURCE), _source_id(entry, originals)) for entry in copies]
    all_of_kind = Counter(kind for kind, _, _ in pairs)
    found = Counter(kind for kind, copy, source in pairs if copy in component_of and component_of[copy] == component_of.get(source))
    truth = {copy for _, copy, _ in pairs} | {source for _, _, source in pairs if source not in originals}
    return PlantedCheck(
        tuple(PlantedKind(kind, number, found[kind]) for kind, number in all_of_kind.items()),
        len(marked),
        len(marked & truth),
        "A copy is found when it shares a near-duplicate component with what it was made from.",
    )


def _source_id(entry: Planted, originals: set[str]) -> str:
    source = str(entry.source)
    return source if source in originals else candidate_id(source, _SOURCE)
