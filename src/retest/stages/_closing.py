"""Published HITs that nobody answers any more: closed by a person, or ended with their lifetime (method, section 4)."""

from __future__ import annotations

from collections.abc import Iterable

from retest.stages._common import Stamp
from retest.store import Tables
from retest.store.hit_pages import CLOSED

ENDED = "Lifetime ended"


def record_closed(tables: Tables, uuids: Iterable[str], why: str, *, stamp: Stamp) -> None:
    """Expect no more answers to these HITs. Each is recorded, so give only those that are not closed yet."""
    for uuid in uuids:
        tables.decisions.add(time=stamp.time, user=stamp.user, kind=CLOSED, item=uuid, after=why)
