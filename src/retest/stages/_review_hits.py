"""Leaving a HIT out, as a decision: kind ``exclude_hit``, item the HIT's uuid, state the reason (None: it counts).

An excluded HIT counts nowhere (method, section 5), so the selection frequencies of its images follow at once: they are counted anew
over the other HITs of the class that show them. It is the table and the history that ``retest label exclude`` uses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from retest.errors import InputError, NotFoundError
from retest.labeling import count_answers
from retest.stages._common import Stamp
from retest.stages._frequencies import follow_frequencies
from retest.stages._ledger import EXCLUDE_HIT
from retest.stages._review_core import Role, State, register
from retest.stages._review_counts import follow, recount
from retest.stages._review_derived import component_members, resolve_members
from retest.store import Tables
from retest.study import Study

MAX_REASON = 1000


class ExcludeHitKind:
    """A HIT counts nowhere, with a reason."""

    name, label, role = EXCLUDE_HIT, "excluded HIT", Role.REVIEWER

    def states(self, study: Study, tables: Tables, items: Sequence[str]) -> dict[str, State]:
        return dict(tables.hits.excluded(items))

    def check(self, study: Study, tables: Tables, wishes: Mapping[str, State]) -> None:
        known = tables.review_hits.known(wishes)
        for item, wish in wishes.items():
            if item not in known:
                raise NotFoundError("the study has no such HIT", item=item, remedy="Give the uuid of a HIT")
            if wish is None:
                continue
            if not isinstance(wish, str) or not wish.strip():
                raise InputError("a HIT is left out with a reason", item=item, remedy="Give the reason as text, or null")
            if len(wish) > MAX_REASON or "\0" in wish:
                raise InputError(f"the reason has at most {MAX_REASON} characters, without NUL", item=item, remedy="Write less")

    def write(self, study: Study, tables: Tables, states: Mapping[str, State], stamp: Stamp) -> None:
        note_frequencies, note_counts = follow_frequencies(tables), follow(study, tables)
        changed: dict[str, set[str]] = {}
        for uuid, hit in tables.hits.get(states).items():
            tables.review_hits.set_excluded(uuid, states[uuid])
            changed.setdefault(hit.wnid, set()).update(hit.images_all)
        for wnid, images in changed.items():
            _count_anew(tables, wnid, images)
        note_frequencies()
        _resolve_anew(study, tables, {image for images in changed.values() for image in images})
        recount(study, tables, sorted(changed))
        note_counts()

    def images(self, item: str) -> tuple[str, ...]:
        return ()  # only the HIT's row knows them: ``write`` brings what follows along by itself


def _count_anew(tables: Tables, wnid: str, images: set[str]) -> None:
    sharing = tables.review_hits.of_same_images(wnid, sorted(images))
    excluded = tables.hits.excluded(sharing)
    hits = tables.hits.get(sharing - excluded.keys())
    counted = count_answers(hits.values(), tables.assignments.of_hits(sorted(hits))).frequencies()
    tables.review_hits.put_frequencies(wnid, sorted(images), (one for one in counted if one.image_id in images))


def _resolve_anew(study: Study, tables: Tables, images: Iterable[str]) -> None:
    """Resolve the components of these images: who stays depends on frequencies."""
    images = set(images)
    members = component_members(tables, images)
    if len(members) > len(images) or tables.pairs.touching(images) or tables.pairs.resolutions_of(images):
        joined = members - images
        resolve_members(study, tables, members)
        recount(study, tables, sorted(set(tables.review_candidates.classes_of(joined).values())))


register(ExcludeHitKind())
