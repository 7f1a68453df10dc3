"""Selection frequencies, derived from the raw answers when those have changed (method, section 5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from retest.labeling import CountingReport, count_answers
from retest.labeling.frequency import AnswerRemark
from retest.stages._common import completion_key
from retest.store import Tables

_STAGE = "frequencies"
_EXAMPLES = 100


def refresh_frequencies(tables: Tables) -> CountingReport | None:
    """Bring all selection frequencies up to date, class by class; None when they already are.

    Answers to HITs that the study does not have are counted in the report, without examples.
    """
    key = _key(tables)
    if tables.completions.key(_STAGE, "all") == key:
        return None
    counts: Counter[str] = Counter(unknown_hit=tables.bulk.answers_to_nothing())
    examples: list[AnswerRemark] = []
    wnids = list(tables.hits.count_by_class())
    for wnid in wnids:
        excluded = tables.hit_pages.excluded_of_class(wnid)
        counter = count_answers(tables.bulk.hits_of_class(wnid), tables.bulk.answers_of_class(wnid), excluded_hits=excluded)
        tables.bulk.replace_frequencies(wnid, counter.frequencies())
        counts.update(counter.report.counts)
        examples += counter.report.examples[: _EXAMPLES - len(examples)]
    tables.bulk.drop_frequencies_besides(wnids)
    tables.completions.put(_STAGE, "all", key)
    return CountingReport(dict(counts), tuple(examples))


def follow_frequencies(tables: Tables) -> Callable[[], None]:
    """Look whether all frequencies are current before a change; what is returned notes, once they were adjusted, that they still are."""
    current = tables.completions.key(_STAGE, "all") == _key(tables)

    def note() -> None:
        if current:
            tables.completions.put(_STAGE, "all", _key(tables))

    return note


def _key(tables: Tables) -> str:
    return completion_key("frequencies-1", tables.generations.of("hits", "assignments"))
