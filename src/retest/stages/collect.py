"""Stage: ask a source for candidates, page by page (method, section 1).

The photos of a page and the cursor of the next one are stored in one transaction: killed and restarted, a search asks for no page
twice and loses none.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from retest.errors import StageError, UsageError
from retest.files import open_atomic
from retest.records import ClassInfo
from retest.sources import (
    Page,
    Query,
    Source,
    identify,
    open_source,
    photo_ids_by_source,
    published_record,
    read_hand_terms,
    with_parents,
)
from retest.stages._common import Progress, Stamp, silent
from retest.store import SearchState, Tables
from retest.study import Study


@dataclass(frozen=True, slots=True)
class SearchCounts:
    """What one run did. ``empty_classes`` have no candidate at all; ``skipped`` counts results left out, by reason.

    ``notes`` are what the source wants the user to know, each with the number of pages that said so.
    """

    queries: int
    pages: int
    new_candidates: int
    occurrences: int
    skipped: Mapping[str, int]
    empty_classes: tuple[str, ...]
    notes: Mapping[str, int] = field(default_factory=dict)


def study_source(study: Study, *, environment: Mapping[str, str], key_file: Path | None = None) -> Source:
    """The source that ``[source]`` names; keys come from ``environment`` or a Flickr key file.

    Raises:
        ConfigError: a location or a key is missing.
    """
    settings = study.config.source
    hand_terms = study.config.search.hand_terms
    local = settings.kind in {"folder", "table"}
    location = str(study.path(settings.location)) if local and settings.location else settings.location
    return open_source(
        settings.kind,
        location=location,
        parameters=study.config.search,
        environment=environment,
        hand_terms=read_hand_terms(study.path(hand_terms)) if hand_terms else None,
        key_file=key_file,
    )


def search(
    study: Study, source: Source, *, stamp: Stamp, wnids: Collection[str] | None = None, progress: Progress = silent
) -> SearchCounts:
    """Walk all queries that are not finished, of all classes or of those in ``wnids``; new photos become candidates.

    A finished query is not asked again, except those of local folders, where files may have been added.

    Raises:
        StageError: the benchmark has no classes yet.
        UsageError: one of ``wnids`` is no class of the benchmark.
        InputError: the file of WordNet that ``[search]`` names is none.
    """
    with study.database.read() as tables:
        classes = tables.classes.all()
    if not classes:
        raise StageError("the study knows no classes yet", item="benchmark", remedy="Run: retest benchmark --study STUDY")
    if wnids is not None:
        unknown = set(wnids) - {info.wnid for info in classes}
        if unknown:
            raise UsageError("is no class of the benchmark", item=min(unknown), remedy="Use the wnids of the class list.")
        classes = [info for info in classes if info.wnid in set(wnids)]
    parameters = study.config.search
    if parameters.parent_term and parameters.wordnet:
        classes = with_parents(classes, study.path(parameters.wordnet))
    totals: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    with progress("Search", total=len(classes)) as advance:
        for info in classes:
            for query in source.queries(info):
                for page in _walk(study, source, query, stamp, totals):
                    skipped.update(page.skipped)
                    notes.update(page.notes)
            advance(1)
    with study.database.read() as tables:
        empty = _without(classes, tables.candidates.count_by_class())
    return SearchCounts(totals["queries"], totals["pages"], totals["new"], totals["occurrences"], dict(skipped), empty, dict(notes))


def export_candidates(study: Study, path: Path) -> int:
    """Write all candidates as one published search-result file and return the number of records.

    What was found again follows as further records of its candidate, as in the published files. A study whose source is a table with
    this file as its location finds the same candidates under the same ids. The file appears when it is whole.

    Raises:
        StageError: there is nothing to write.
        StoreError: the file cannot be written.
    """
    number = 0
    with study.database.read() as tables, open_atomic(path) as file:
        for record in _published_records(tables):
            file.write(b"[\n" if number == 0 else b",\n")
            file.write(json.dumps(record, ensure_ascii=False).encode())
            number += 1
        if not number:
            raise StageError("the study has no candidates yet", item="candidates", remedy="Run: retest search --study STUDY")
        file.write(b"\n]\n")
    return number


def _published_records(tables: Tables) -> Iterator[dict[str, Any]]:
    for candidate in tables.candidates.all():
        if candidate.source != "reference":  # known only because other data mention it: nobody found it
            yield published_record(candidate)
    again = tables.candidates.all_occurrences()
    while page := list(islice(again, 500)):
        first = tables.candidates.get(found.candidate_id for found in page)
        for found in page:
            if found.candidate_id in first:
                yield published_record(replace(first[found.candidate_id], wnid=found.wnid, search_key=found.search_key))


def _without(classes: list[ClassInfo], found: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(info.wnid for info in classes if not found.get(info.wnid))


def _walk(study: Study, source: Source, query: Query, stamp: Stamp, totals: Counter[str]) -> Iterator[Page]:
    """Ask for the pages of a query that are not stored yet, and store each before it is handed on."""
    with study.database.read() as tables:
        state = tables.searches.get(query.key, query.wnid)
    if state.finished and query.local:
        state = SearchState(query.key, query.wnid)
    totals["queries"] += 1
    while not state.finished:
        page = source.page(query, state.cursor)
        state = _store_page(study, query, state, page, stamp, totals)
        totals["pages"] += 1
        yield page


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
