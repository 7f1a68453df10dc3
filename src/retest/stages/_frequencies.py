"""Selection frequencies, derived from the raw answers when those have changed (method, section 5)."""

from __future__ import annotations

from collections.abc import Callable

from retest.labeling import CountingReport, count_answers
from retest.stages._common import completion_key
from retest.store import Tables

_STAGE = "frequencies"


def refresh_frequencies(tables: Tables) -> CountingReport | None:
    """Bring all selection frequencies up to date; None when they already are."""
    key = _key(tables)
    if tables.completions.key(_STAGE, "all") == key:
        return None
    counter = count_answers(tables.hits.all(), tables.assignments.all(), excluded_hits=set(tables.hits.excluded()))
    tables.frequencies.replace(counter.frequencies())
    tables.completions.put(_STAGE, "all", key)
    return counter.report


def follow_frequencies(tables: Tables) -> Callable[[], None]:
    """Look whether all frequencies are current before a change; what is returned notes, once they were adjusted, that they still are."""
    current = tables.completions.key(_STAGE, "all") == _key(tables)

    def note() -> None:
        if current:
            tables.completions.put(_STAGE, "all", _key(tables))

    return note


def _key(tables: Tables) -> str:
    return completion_key("frequencies-1", tables.generations.of("hits", "assignments"))
