"""What the first visitors of a large study would wait for is worked out beside the requests as soon as the server runs."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from functools import cache, partial

from retest.stages import review_hits, review_pairs, review_progress, review_revisions
from retest.web.review.background import Repeated
from retest.web.review.visit import Desk, load_templates

__all__ = ["set_up_process", "warm_up"]

LARGE = 50_000
"""Candidates from which on a study is large."""

_MOST_REVISIONS = 20
_SWITCH_S = 0.0005
_GC_THRESHOLD = 20_000
_KEEP_S = 20.0


def warm_up(desk: Desk) -> None:
    """Have the figures of a large study worked out and its file kept in memory."""
    if review_progress.candidates_counted(desk.study) < LARGE:
        return
    desk.keeping = Repeated(lambda stop: desk.study.database.keep_in_memory(stop=stop), pause_s=_KEEP_S)
    desk.counting.start(lambda stop: _work(desk), name="warming up")


@cache
def set_up_process() -> None:
    """Compile the templates, and set the interpreter up for many short requests; once per process, before anybody is told the address.

    A thread that comes back from the database (a decision does so thirty times, while nobody else can write) waits until the one that
    computes gives the interpreter away: 5 ms each time by default. A collection of garbage looks at every object that is not frozen, for
    more than 100 ms with what is loaded alone, and everybody waits.
    """
    load_templates()
    sys.setswitchinterval(_SWITCH_S)
    gc.set_threshold(_GC_THRESHOLD)
    gc.collect()
    gc.freeze()


def _work(desk: Desk) -> None:
    study, memo = desk.study, desk.memo
    steps: list[Callable[[], object]] = [partial(review_progress.study_progress, study, memo)]
    steps += [partial(review_pairs.queue_progress, study, memo, metric) for metric in review_pairs.review_metrics(study)]
    newest = sorted(review_revisions.list_revisions(study), key=lambda one: one.time, reverse=True)[:_MOST_REVISIONS]
    steps += [partial(review_revisions.facts, study, memo, one.name) for one in newest]
    for step in steps:
        step()
        if desk.counting.ending:
            return
    if review_hits.refresh_figures(study, memo, stop=lambda: desk.counting.ending):
        review_hits.list_workers(study, memo)
        gc.freeze()  # what was worked out stays: nobody waits while it is looked through for what may go
