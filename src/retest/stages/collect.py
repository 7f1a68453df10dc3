"""Stage: ask a source for candidates, page by page (method, section 1).

The photos of a page and the cursor of the next one are stored in one transaction: killed and restarted, a search asks for no page
twice and loses none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from retest.errors import StageError
from retest.records import ClassInfo
from retest.sources import Page, Query, Source, identify, open_source, photo_ids_by_source, read_hand_terms
from retest.stages._common import Progress, Stamp, silent
from retest.store import SearchState
from retest.study import Study


@dataclass(frozen=True, slots=True)
class SearchCounts:
    """What one run did. ``empty_classes`` have no candidate at all; ``skipped`` counts results left out, by reason."""

    queries: int
    pages: int
    new_candidates: int
    occurrences: int
    skipped: Mapping[str, int]
    empty_classes: tuple[str, ...]


def study_source(study: Study, *, environment: Mapping[str, str], key_file: Path | None = None) -> Source:
    """The source that ``[source]`` names; keys come from ``environment`` or a Flickr key file.

    Raises:
        ConfigError: a location or a key is missing.
    """
    settings = study.config.source
    local = settings.kind in {"folder", "table"}
    location = str(study.path(settings.location)) if local and settings.location else settings.location
    return open_source(
        settings.kind,
        location=location,
        parameters=study.config.search,
        environment=environment,
        hand_terms=read_hand_terms(study.path(settings.hand_terms)) if settings.hand_terms else None,
        key_file=key_file,
    )


def search(study: Study, source: Source, *, stamp: Stamp, progress: Progress = silent) -> SearchCounts:
    """Walk all queries of all classes that are not finished; new photos become candidates.

    A finished query is not asked again, except those of local folders, where files may have been added.

    Raises:
        StageError: the benchmark has no classes yet.
    """
    with study.database.read() as tables:
        classes = tables.classes.all()
    if not classes:
        raise StageError("the study knows no classes yet", item="benchmark", remedy="Run: retest benchmark --study STUDY")
    totals: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    with progress("Search", total=len(classes)) as advance:
        for info in classes:
            for query in source.queries(info):
                _walk(study, source, query, stamp, totals, skipped)
            advance(1)
    with study.database.read() as tables:
        found = tables.candidates.count_by_class()
    return SearchCounts(totals["queries"], totals["pages"], totals["new"], totals["occurrences"], dict(skipped), _without(classes, found))


def _without(classes: list[ClassInfo], found: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(info.wnid for info in classes if not found.get(info.wnid))


def _walk(study: Study, source: Source, query: Query, stamp: Stamp, totals: Counter[str], skipped: Counter[str]) -> None:
    with study.database.read() as tables:
        state = tables.searches.get(query.key, query.wnid)
    if state.finished and query.local:
        state = SearchState(query.key, query.wnid)
    totals["queries"] += 1
    while not state.finished:
        page = source.page(query, state.cursor)
        state = _store_page(study, query, state, page, stamp, totals)
        totals["pages"] += 1
        skipped.update(page.skipped)


def _store_page(study: Study, query: Query, state: SearchState, page: Page, stamp: Stamp, totals: Counter[str]) -> SearchState:
    new_state = replace(
        state,
        cursor=page.next_cursor,
        pages=state.pages + 1,
        found=state.found + len(page.photos),
        finished=page.next_cursor is None,
        notes=(*state.notes, *page.notes),
    )
    with study.database.write() as tables:
        known = {engine: tables.candidates.by_photo(engine, ids) for engine, ids in photo_ids_by_source(page.photos).items()}
        result = identify(
            page.photos,
            query=query,
            known=known,
            second_candidates=study.config.search.second_candidates,
            user=stamp.user,
            time=stamp.time,
        )
        totals["new"] += tables.candidates.add(result.candidates)
        places = (f"{query.key}#{state.pages}.{number}" for number in range(len(result.occurrences)))
        totals["occurrences"] += tables.candidates.add_occurrences(zip(places, result.occurrences, strict=True))
        tables.searches.put(new_state)
    return new_state
