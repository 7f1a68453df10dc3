"""Selection frequencies, derived from the raw answers when those have changed (method, section 5)."""

from __future__ import annotations

from retest.labeling import CountingReport, count_answers
from retest.stages._common import completion_key
from retest.store import Tables

_STAGE = "frequencies"


def refresh_frequencies(tables: Tables) -> CountingReport | None:
    """Bring all selection frequencies up to date; None when they already are."""
    key = completion_key("frequencies-1", tables.generations.of("hits", "assignments"))
    if tables.completions.key(_STAGE, "all") == key:
        return None
    counter = count_answers(tables.hits.all(), tables.assignments.all(), excluded_hits=set(tables.hits.excluded()))
    tables.frequencies.replace(counter.frequencies())
    tables.completions.put(_STAGE, "all", key)
    return counter.report
