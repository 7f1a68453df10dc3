"""Which found photo is which candidate (method, section 1 and Settled details). Pure; independent of any database."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from retest.records import Candidate, DuplicateOccurrence
from retest.sources.base import FoundPhoto, Query

__all__ = ["Identified", "candidate_id", "identify", "photo_ids_by_source", "second_candidate_id"]


def candidate_id(photo_id: str, source: str) -> str:
    """SHA-1 hex of the photo id followed by the engine's name: the id of the photo's first candidate."""
    return _sha1(photo_id + source)


def second_candidate_id(photo_id: str, source: str, wnid: str) -> str:
    """SHA-1 hex of ``photo_id,engine,wnid``: the id of the same photo's candidate for a further class."""
    return _sha1(f"{photo_id},{source},{wnid}")


def _sha1(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Identified:
    """What a page of photos adds to the study, in the order found."""

    candidates: tuple[Candidate, ...]
    occurrences: tuple[DuplicateOccurrence, ...]


def photo_ids_by_source(photos: Iterable[FoundPhoto]) -> dict[str, list[str]]:
    """The photo ids of a page by engine: what has to be looked up before :func:`identify`."""
    ids: dict[str, list[str]] = {}
    for photo in photos:
        ids.setdefault(photo.source, []).append(photo.photo_id)
    return ids


def identify(
    photos: Iterable[FoundPhoto],
    *,
    query: Query,
    known: Mapping[str, Iterable[tuple[str, str, str]]],
    second_candidates: bool = True,
    user: str,
    time: str,
) -> Identified:
    """Tell new candidates from further occurrences.

    The class for which a photo is found first keeps the plain id. The same photo for the same class is an occurrence of
    that candidate. For another class it becomes a second candidate, or with ``second_candidates`` off an occurrence of
    the first one. A photo that brings its own candidate id (a replayed search) keeps it; found again it is an occurrence.

    Args:
        photos: one page of results of ``query``, in order.
        known: engine -> (photo id, wnid, candidate id) of the candidates the study has for the photos of this page.
        user: who searches, and ``time`` when (ISO-8601); photos of a replayed search keep their own.
    """
    seen: dict[tuple[str, str], dict[str, str]] = {}
    taken: set[str] = set()
    for source, rows in known.items():
        for photo_id, wnid, identifier in rows:
            seen.setdefault((source, photo_id), {})[wnid] = identifier
            taken.add(identifier)
    candidates: list[Candidate] = []
    occurrences: list[DuplicateOccurrence] = []
    for photo in photos:
        classes = seen.setdefault((photo.source, photo.photo_id), {})
        identifier = _identifier(photo, query.wnid, classes, second_candidates)
        if identifier not in taken:
            taken.add(identifier)
            classes[query.wnid] = identifier
            candidates.append(_candidate(photo, identifier, query, user=user, time=time))
        elif not query.local:
            key = photo.search_key or query.term
            occurrences.append(DuplicateOccurrence(identifier, photo.source, photo.photo_id, query.wnid, key, photo.file))
    return Identified(tuple(candidates), tuple(occurrences))


def _identifier(photo: FoundPhoto, wnid: str, classes: Mapping[str, str], second_candidates: bool) -> str:
    if photo.candidate_id is not None:
        return photo.candidate_id
    if wnid in classes:
        return classes[wnid]
    if not classes:
        return candidate_id(photo.photo_id, photo.source)
    if second_candidates:
        return second_candidate_id(photo.photo_id, photo.source, wnid)
    plain = candidate_id(photo.photo_id, photo.source)
    return plain if plain in classes.values() else next(iter(classes.values()))


def _candidate(photo: FoundPhoto, identifier: str, query: Query, *, user: str, time: str) -> Candidate:
    return Candidate(
        id=identifier,
        wnid=query.wnid,
        source=photo.source,
        photo_id=photo.photo_id,
        url=photo.url,
        url_kind=photo.url_kind,
        search_key=photo.search_key or query.term,
        uploader=photo.found_by or user,
        date_taken=photo.date_taken,
        date_uploaded=photo.date_uploaded,
        date_found=photo.date_found or time,
        width=photo.width,
        height=photo.height,
        license=photo.license,
        owner=photo.owner,
        title=photo.title,
        source_page=photo.source_page,
        query={**query.parameters, **photo.details},
    )
