"""HITs that the study published, page by page: for stages that act on all of them and hold a few at a time.

Each page is a transaction of its own, so that the study can be written in between.
"""

from __future__ import annotations

from collections.abc import Iterator

from retest.records import Hit
from retest.store.hit_pages import HitEntry
from retest.study import Study

_ASKED_AT_ONCE = 20_000  # a back end may list its whole account for each question about many


def published_pages(study: Study, *, until: int, size: int) -> Iterator[list[HitEntry]]:
    """The HITs that this study published itself, ``size`` at a time, up to the one with the number ``until``."""
    after = 0
    while after < until:
        with study.database.read() as tables:
            page = tables.hit_pages.published(after=after, until=until, limit=size)
        if not page:
            return
        yield page
        after = page[-1].no


def asked_pages(study: Study, *, until: int, lacking: bool = False, include_excluded: bool = True) -> Iterator[list[Hit]]:
    """The same HITs without their images, many at a time, to ask a back end about; ``lacking``: those that may get more answers."""
    after = 0
    while after < until:
        with study.database.read() as tables:
            page = tables.hit_pages.without_images(
                after=after, until=until, limit=_ASKED_AT_ONCE, lacking=lacking, include_excluded=include_excluded
            )
        if not page:
            return
        yield [hit for _, hit in page]
        after = page[-1][0]
