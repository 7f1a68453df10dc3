"""The seam between the study and wherever candidates come from.

The contract of a :class:`Source`:

* ``queries(info)`` is a pure function of the class, the source's settings and (for local sources) the data at hand. Asked
  twice it gives equal queries in the same order, each with a ``key`` that no other query of the source has. Another
  setting that could change the answer gives another key, so that finished work is never taken for something else.
* ``page(query, cursor)`` asks for one page. The first page has cursor None; every answer names the cursor of the next one, or
  None when there is no more. A cursor is a short text that stays valid in another process: a caller that stores the
  photos and ``next_cursor`` in one transaction asks for no page twice and loses none, whenever it is killed.
* One ``page`` is at most one question to a service (not counting its retries), so there is something to store after each.
* A page may be empty although more pages follow. Walking always ends.
* ``query.limit`` counts results as they arrive, before duplicates are dropped.
* Errors are :class:`~retest.errors.SourceError`, :class:`~retest.errors.InputError` or
  :class:`~retest.errors.ConfigError`; none of them ever contains a key or a secret.

``retest.testing.sources`` holds the conformance suite that every implementation passes.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, runtime_checkable

from retest.errors import SourceError
from retest.records import Candidate, ClassInfo

__all__ = ["FetchingSource", "FoundPhoto", "Page", "Query", "Source", "decode_cursor", "encode_cursor", "make_query", "sift"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Query:
    """One search for one class. ``limit`` is the largest number of results to take, None for all.

    ``parameters`` are stored with every candidate found, under the names of the published search-result files.
    ``local`` says that the photos are files at hand: finding one again is no further occurrence of it.
    """

    key: str
    source: str
    wnid: str
    term: str
    limit: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    local: bool = False


@dataclass(frozen=True, slots=True)
class FoundPhoto:
    """A photo as a source returns it; :func:`retest.sources.identify` makes candidates of photos.

    ``source`` is the engine's name and ``photo_id`` the engine's own id. Dates are ISO-8601; ``date_uploaded`` in UTC,
    ``date_taken`` as the photo states it. ``details`` are kept in the candidate's ``query``. The last fields are set only
    by sources that replay an earlier search, whose ids, finders and dates must not change.
    """

    source: str
    photo_id: str
    url: str
    url_kind: str | None = None
    width: int | None = None
    height: int | None = None
    date_taken: str | None = None
    date_uploaded: str | None = None
    license: str | None = None
    owner: str | None = None
    title: str | None = None
    source_page: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    candidate_id: str | None = None
    search_key: str | None = None
    found_by: str | None = None
    date_found: str | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One answer. ``skipped`` counts results that were left out, by reason; ``notes`` say what the user should know."""

    photos: tuple[FoundPhoto, ...]
    next_cursor: str | None
    skipped: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@runtime_checkable
class Source(Protocol):
    """Where candidates come from; the contract is in the module's documentation."""

    @property
    def name(self) -> str:
        """The engine's name as it enters candidate ids, for example ``flickr``."""

    def queries(self, info: ClassInfo) -> Sequence[Query]:
        """The searches for one class; empty when the source has nothing for it."""

    def page(self, query: Query, cursor: str | None) -> Page:
        """Ask for one page of a query of this source."""

    def close(self) -> None:
        """Release connections; the source cannot be used afterwards. Closing twice is allowed."""


@runtime_checkable
class FetchingSource(Source, Protocol):
    """A source that hands over the bytes itself, because its candidates' ``url`` is not a web address."""

    def fetch(self, candidate: Candidate) -> bytes:
        """The bytes of a candidate's image.

        Raises:
            SourceError: the image is gone or lies outside what the source may read.
        """


def sift(
    items: Iterable[T], *, read: Callable[[T], FoundPhoto | None], refuse: Callable[[T, FoundPhoto], str | None]
) -> tuple[tuple[FoundPhoto, ...], Counter[str]]:
    """The photos among the items of an answer, and how many were left out for which reason.

    Args:
        items: as the service sent them.
        read: makes a photo of an item; None where it has no usable address.
        refuse: why a photo is not wanted; None where it is.
    """
    photos: list[FoundPhoto] = []
    skipped: Counter[str] = Counter()
    for item in items:
        found = read(item)
        reason = "no_url" if found is None else refuse(item, found)
        if found is not None and reason is None:
            photos.append(found)
        else:
            skipped[reason or "no_url"] += 1
    return tuple(photos), skipped


def make_query(
    *, source: str, wnid: str, term: str, limit: int | None, parameters: Mapping[str, Any], salt: str = "", local: bool = False
) -> Query:
    """Build a query whose key is a function of everything that can change its answer; ``salt`` adds what is not in it."""
    text = json.dumps([source, wnid, term, limit, parameters, salt], sort_keys=True, ensure_ascii=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return Query(f"{source}:{wnid}:{digest}", source, wnid, term, limit, dict(parameters), local)


def encode_cursor(**state: Any) -> str:
    """A cursor as compact JSON with sorted keys, so that equal states give equal text."""
    return json.dumps(state, sort_keys=True, separators=(",", ":"))


def decode_cursor(cursor: str, *, query: Query, kinds: Mapping[str, type | tuple[type, ...]]) -> dict[str, Any]:
    """Read a cursor written by :func:`encode_cursor`; ``kinds`` names its keys and their types.

    Raises:
        SourceError: the text is no cursor of this source.
    """
    try:
        state = json.loads(cursor)
    except ValueError:
        state = None
    if not isinstance(state, dict) or state.keys() != kinds.keys() or not all(isinstance(state[k], kinds[k]) for k in kinds):
        raise SourceError(
            f"{cursor[:80]!r} is not a cursor of the source {query.source!r}",
            item=query.key,
            remedy="Forget the state of this search and start it again; photos already found are kept.",
        )
    return state
