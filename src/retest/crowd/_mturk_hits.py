"""Finding a study's HITs on a server of the MTurk protocol: by the id the study holds, or in a listing of the account."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retest.crowd._mturk_calls import MTurkCallError, MTurkCalls
from retest.crowd.base import PublishedHit
from retest.crowd.page import question_fingerprint
from retest.records import Hit

_INDEX_AGE_S = 12 * 3600
"""How long a listing of the account's HITs may be trusted when publishing: well below the tokens' 24 hours."""

_MANY_HITS = 10


@dataclass(frozen=True, slots=True)
class KnownHit:
    """What is remembered of a HIT on the server."""

    hit_id: str
    hit_type_id: str
    assignments: int
    fingerprint: str | None
    disposed: bool

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> KnownHit:
        """What matters of a HIT as GetHIT shows it."""
        return cls(
            hit_id=document["HITId"],
            hit_type_id=document["HITTypeId"],
            assignments=document["MaxAssignments"],
            fingerprint=question_fingerprint(document.get("Question", "")),
            disposed=document.get("HITStatus") == "Disposed",
        )

    def published(self, uuid: str, *, created: bool = False) -> PublishedHit:
        """The same as every crowd tells it."""
        return PublishedHit(uuid, self.hit_id, self.hit_type_id, self.assignments, created)


class HitFinder:
    """The HITs of an account by uuid, which is their RequesterAnnotation. May be used from several threads.

    Args:
        calls: to the server.
        monotonic: the clock by which a listing grows old.
    """

    def __init__(self, calls: MTurkCalls, *, monotonic: Callable[[], float]) -> None:
        self._calls, self._monotonic = calls, monotonic
        self._lock = threading.RLock()
        self._index: dict[str, KnownHit] = {}
        self._index_at: float | None = None

    def lookup(self, hit: Hit, *, rescan: bool) -> KnownHit | None:
        """What the server has under the HIT's uuid, from the id the study holds, or from a listing of all HITs."""
        if hit.hit_id:
            document = self._get(hit.hit_id, hit.uuid)
            if document is not None and document.get("RequesterAnnotation") == hit.uuid:
                return KnownHit.of(document)
        with self._lock:
            age = None if self._index_at is None else self._monotonic() - self._index_at
            fresh = age is not None and age < _INDEX_AGE_S
            if hit.uuid not in self._index and (rescan or not fresh):
                started = self._monotonic()
                for document in self.listing():
                    if document.get("RequesterAnnotation"):
                        self._index[document["RequesterAnnotation"]] = KnownHit.of(document)
                self._index_at = started
            return self._index.get(hit.uuid)

    def remember(self, uuid: str, known: KnownHit) -> None:
        """Take note of a HIT that was just made."""
        self._index[uuid] = known

    def remember_named(self, uuid: str, message: str) -> None:
        """Follow the HIT id that the message of HitAlreadyExists contains."""
        for hit_id in re.findall(r"\b[A-Z0-9]{20,64}\b", message):
            document = self._get(hit_id, uuid)
            if document is not None and document.get("RequesterAnnotation") == uuid:
                self.remember(uuid, KnownHit.of(document))

    def hit_id(self, hit: Hit) -> str | None:
        """The server's own id of a HIT; None where it has no such HIT."""
        known = self.lookup(hit, rescan=True)
        return None if known is None else known.hit_id

    def document(self, hit: Hit) -> dict[str, Any] | None:
        """A HIT as it is now; None where the server has no such HIT."""
        hit_id = self.hit_id(hit)
        return None if hit_id is None else self._get(hit_id, hit.uuid)

    def documents(self, hits: Sequence[Hit]) -> Iterator[tuple[Hit, dict[str, Any]]]:
        """The HITs that the server has, with their present state; many at once are read from one listing."""
        if len(hits) > _MANY_HITS:
            listed = self._listed({hit.uuid for hit in hits})
            found = ((hit, listed.get(hit.uuid)) for hit in hits)
        else:
            found = ((hit, self.document(hit)) for hit in hits)
        for hit, document in found:
            if document is not None and document["HITStatus"] != "Disposed":
                yield hit, document

    def listing(self) -> Iterator[dict[str, Any]]:
        """All HITs of the account, page by page."""
        yield from self._calls.pages("list_hits", "HITs", item="account")

    def _listed(self, uuids: Collection[str]) -> dict[str, dict[str, Any]]:
        """uuid -> HIT, of these HITs, without the pages: those of a whole account are gigabytes."""
        found: dict[str, dict[str, Any]] = {}
        for document in self.listing():
            if (uuid := document.get("RequesterAnnotation")) in uuids:
                found[str(uuid)] = {name: value for name, value in document.items() if name != "Question"}
        return found

    def _get(self, hit_id: str, uuid: str) -> dict[str, Any] | None:
        try:
            document: dict[str, Any] = self._calls("get_hit", item=uuid, HITId=hit_id)["HIT"]
        except MTurkCallError as error:
            if error.code == "HITDoesNotExist":
                return None
            raise
        return document
