"""What follows from a reviewer's decision at once: the resolution of the components it touches, and the counts of their classes.

The whole study's resolution is derived by the stages (``_duplicates.refresh_resolution``); at a million candidates that takes many
seconds. A decision changes one component, so that one is resolved here by the same rule. Only the count of good images of a class
reaches further (it can tip the choice of another component): the stages derive that before anything is sampled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from retest.duplicates import DuplicateCandidate, resolve
from retest.stages._review_counts import adjust_counts, contributions, follow, recount
from retest.store import Tables
from retest.study import Study


def derive(study: Study, tables: Tables, images: set[str], exact: bool) -> Callable[[], None]:
    """Look at images before a decision about them; what is returned brings resolutions and counts along afterwards.

    Only what is decided about and its components is looked at, so the time does not grow with the size of a class: the database has
    one writer at a time.
    """
    if not images:
        return lambda: None
    note = follow(study, tables)
    # A decision joins or parts only components of its images, so no other image can change.
    members = component_members(tables, images)
    before = contributions(study, tables, members)

    def bring_along() -> None:
        changed = members if exact else members | component_members(tables, images)
        in_component = len(changed) > len(images) or any(one.resolved for one in before.values())
        if in_component or (len(images) > 1 and tables.pairs.touching(images)):
            resolve_members(study, tables, changed)
        if exact:
            adjust_counts(tables, before, contributions(study, tables, changed))
        else:
            recount(study, tables, sorted(set(tables.review_candidates.classes_of(changed).values())))
        note()

    return bring_along


def component_members(tables: Tables, images: Iterable[str]) -> set[str]:
    """These images and all that are joined to them by near-duplicate pairs or by showing the same photo."""
    members: set[str] = set()
    new = set(images)
    while new:
        members |= new
        new = tables.review_candidates.joined(new) - members
    return members


def resolve_members(study: Study, tables: Tables, members: set[str]) -> None:
    """Resolve the components that consist of these images.

    Raises:
        InputError: two members of one component are on the override list.
    """
    originals = tables.originals.get(members)
    candidates = [DuplicateCandidate(*row) for row in tables.bulk.for_resolution(sorted(members))]
    # Who stays depends on how many good images a class has.
    good: Counter[str] = Counter()
    for wnid, selected, assignments, number in tables.review_candidates.labelled_in({one.wnid for one in candidates}):
        good[wnid] += number * (selected / assignments >= study.config.resolution.good_threshold)
    found = resolve(
        candidates,
        tables.pairs.touching(members),
        is_original=originals.__contains__,
        overrides=tables.pairs.overrides_among(members),
        parameters=study.config.resolution,
        good_images=good,
    )
    now = {resolution.candidate_id: resolution for resolution in found if resolution.candidate_id in members}
    tables.pairs.remove_resolutions(sorted(members - now.keys()))
    tables.pairs.put_resolutions(now.values())
