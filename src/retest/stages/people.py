"""Stage: forget an annotator on request: the raw id, and the answers where these are to go as well."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from retest.crowd.taskserver import STATE_FILE
from retest.crowd.taskserver.forgetting import forget_worker as forget_on_server
from retest.errors import NotFoundError
from retest.stages._common import Stamp
from retest.stages._frequencies import refresh_frequencies
from retest.store import Tables
from retest.study import Study

__all__ = ["Forgotten", "forget_worker"]

_PENDING = "forgetting"


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What is gone of a person.

    ``frequencies`` counts the selection frequencies that changed because answers went; ``revisions`` were sampled before and stay as
    they are; ``short_hits`` have fewer answers than were asked for, so that the next ``retest label plan`` asks anew.
    """

    workers: tuple[str, ...]
    raw_ids: int
    answers_kept: int
    answers_removed: int
    frequencies: int
    short_hits: int
    revisions: tuple[str, ...]


def forget_worker(
    study: Study,
    who: str,
    *,
    stamp: Stamp,
    answers: bool = False,
    known_ids: Iterable[str] = (),
    forget_elsewhere: Callable[[str], object] = lambda _worker_id: None,
) -> Forgotten:
    """Remove whose answers are whose, for one person; stopped and started again, with the same ``who``, it goes on.

    Without ``answers`` these stay under the keyed hash, which nobody can trace without the key. Later collections bring back neither
    the id nor removed answers. Backups made before still hold both.

    Args:
        study: the study.
        who: the hash under which the answers are stored (``worker-...``), or the raw id.
        stamp: who does it, and when; the ledger keeps the hash only.
        answers: remove the answers as well, and compute the selection frequencies anew.
        known_ids: raw ids that ``who`` is known under elsewhere, such as in the list of participants.
        forget_elsewhere: called with every raw id, before the study itself forgets it.

    Raises:
        NotFoundError: the study knows nobody like this.
    """
    with study.database.write() as tables:
        people, raw = _known(tables, who, known_ids)
        # Whoever is half forgotten when the machine dies is found again under the same name.
        tables.settings.put(_PENDING, {**_pending(tables), who: {"people": people, "raw": raw}})
    server = study.folder / STATE_FILE
    for worker_id in raw:
        if server.is_file():
            name = next((worker for worker, of in people.items() if of == worker_id), "forgotten")
            forget_on_server(server, worker_id, name=f"FORGOTTEN{name.upper().replace('-', '')}", answers=answers)
        forget_elsewhere(worker_id)
    with study.database.write() as tables:
        done = _forget(tables, people, len(raw), stamp, answers=answers)
        left = {name: half for name, half in _pending(tables).items() if name != who and not _is_part(half, people, raw)}
        tables.settings.put(_PENDING, left)
    study.database.empty_log()
    return done


def _is_part(half: Mapping[str, Any], people: Mapping[str, str], raw: Collection[str]) -> bool:
    """Whether all of a half forgotten person is forgotten now: the same one, under another name."""
    return half["people"].keys() <= people.keys() and set(half["raw"]) <= set(raw)


def check_known(study: Study, who: str, known_ids: Iterable[str] = ()) -> None:
    """Ask before anything is removed whether there is such a person.

    Raises:
        NotFoundError: the study knows nobody like this.
    """
    with study.database.read() as tables:
        _known(tables, who, known_ids)


def _pending(tables: Tables) -> dict[str, Any]:
    """Who is half forgotten, under the names that were given, with what is known of them."""
    found: dict[str, Any] = tables.settings.get(_PENDING) or {}
    return found


def _known(tables: Tables, who: str, known_ids: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """worker -> raw id, and all raw ids."""
    people = _people(tables, who, known_ids)
    raw = sorted({*people.values(), *known_ids, *_pending(tables).get(who, {}).get("raw", ())} - {""})
    if not people and not raw:
        raise NotFoundError(
            "the study knows no annotator of this name", item=who, remedy="Give the hash that retest label workers shows, or the raw id"
        )
    return people, raw


def _people(tables: Tables, who: str, known_ids: Iterable[str]) -> dict[str, str]:
    """worker -> raw id; the id is empty where it is not known (any more)."""
    pending = _pending(tables).get(who, {})
    people: dict[str, str] = {worker: raw for name in (who, *known_ids) for worker, raw in tables.assignments.raw_ids(name).items()}
    if not people and next(tables.assignments.of_worker(who), None) is not None:
        people = {who: ""}
    return {**pending.get("people", {}), **people}


def _forget(tables: Tables, people: dict[str, str], raw_ids: int, stamp: Stamp, *, answers: bool) -> Forgotten:
    counts = {worker: [a.hit_uuid for a in tables.assignments.of_worker(worker)] for worker in people}
    refresh_frequencies(tables)
    hits = {uuid for uuids in counts.values() for uuid in uuids} if answers else set()
    shown = {(hit.wnid, image) for hit in tables.hits.get(hits).values() for image in hit.images_all}
    before = _frequencies(tables, shown)
    removed = 0
    for worker, uuids in counts.items():
        removed += tables.assignments.forget(worker, answers=answers)
        after = {"answers": len(uuids), "removed": answers}
        tables.decisions.add(time=stamp.time, user=stamp.user, kind="forget_worker", item=worker, after=after)
    refresh_frequencies(tables)
    after_it = _frequencies(tables, shown)
    left, wanted = tables.assignments.counts_by_hit(), tables.hits.requested_assignments() if hits else {}
    return Forgotten(
        workers=tuple(sorted(people)),
        raw_ids=raw_ids,
        answers_kept=0 if answers else sum(map(len, counts.values())),
        answers_removed=removed,
        frequencies=sum(before.get(key) != after_it.get(key) for key in shown),
        short_hits=sum(sum(left.get(uuid, {}).values()) < wanted.get(uuid, 0) for uuid in hits),
        revisions=tuple(tables.revisions.names()) if removed else (),
    )


def _frequencies(tables: Tables, shown: set[tuple[str, str]]) -> dict[tuple[str, str], tuple[int, int]]:
    found = (f for wnid in sorted({wnid for wnid, _ in shown}) for f in tables.frequencies.all(wnid=wnid))
    return {(f.wnid, f.image_id): (f.num_assignments, f.num_selected) for f in found if (f.wnid, f.image_id) in shown}
