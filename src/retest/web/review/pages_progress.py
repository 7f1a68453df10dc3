"""The first page: how far the study is, what waits for whom, and where to go."""

from __future__ import annotations

from starlette.responses import Response

from retest.stages.review_progress import refresh_counts, study_progress
from retest.web.review.visit import Page, Query, Visit

__all__ = ["PAGES"]


def _progress(visit: Visit, query: Query) -> Response:
    found = study_progress(visit.study, visit.desk.memo)
    if not found.current:
        visit.desk.counting.start(lambda stop: refresh_counts(visit.study, stop=stop), name="class counts")
    return visit.render("progress.html", progress=found)


PAGES = (Page(path="", handler=_progress, nav="Progress"),)
