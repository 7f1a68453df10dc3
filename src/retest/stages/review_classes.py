"""Stage: the classes of a study for reviewers: searched, sorted, with counts per stage and the bins of matched sampling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from retest.errors import NotFoundError
from retest.records import ClassInfo
from retest.sampling.strategies import bin_names
from retest.stages._review_checks import check_choice, check_limit
from retest.stages._review_counts import ClassCounts, all_counts, counts_are_current, from_stored, refresh_counts
from retest.stages._review_memo import Memo, generations_key
from retest.stages._review_names import known_classes
from retest.store import Tables
from retest.study import Study

__all__ = ["ONLY", "SORTS", "ClassCounts", "ClassPage", "ClassRow", "bins", "class_row", "list_classes", "refresh_counts"]

_COUNTED = ("candidates", "stored", "labelled", "usable", "missing", "excluded", "problematic", "near_duplicates")
SORTS = ("wnid", "name", *_COUNTED)
_ONLY: dict[str, Callable[[ClassCounts], bool]] = {
    "all": lambda counts: True,
    "missing": lambda counts: counts.missing > 0 or not any(counts.target_bins),
    "complete": lambda counts: counts.missing == 0 and any(counts.target_bins),
    "problematic": lambda counts: counts.problematic > 0,
    "unlabelled": lambda counts: counts.labelled < counts.candidates,
}
ONLY = tuple(_ONLY)


@dataclass(frozen=True, slots=True)
class ClassRow:
    """A class and its counts."""

    info: ClassInfo
    counts: ClassCounts


@dataclass(frozen=True, slots=True)
class ClassPage:
    """A page of classes. ``total`` counts all that were asked for, ``next`` is the wnid to go on after (None: the end)."""

    rows: tuple[ClassRow, ...]
    total: int
    next: str | None
    current: bool


@dataclass(frozen=True, slots=True)
class _Known:
    info: ClassInfo
    text: str


def bins(study: Study) -> list[str]:
    """Names of the bins of selection frequency, ascending."""
    return bin_names(study.config.sampling.histogram_edges)


def list_classes(
    study: Study,
    memo: Memo,
    *,
    search: str = "",
    sort: str = "wnid",
    descending: bool = False,
    only: str = "all",
    after: str | None = None,
    limit: int = 100,
) -> ClassPage:
    """Classes whose wnid, synonyms, parents or gloss hold every word of ``search``.

    Args:
        study: an open study.
        memo: where names and counts are kept as long as they do not change.
        search: words; upper and lower case are the same.
        sort: one of :data:`SORTS`; equals follow by wnid.
        descending: the largest first.
        only: one of :data:`ONLY`.
        after: wnid of the last class of the page before.
        limit: classes of a page, 1 to 1000.

    Raises:
        UsageError: an unknown sort or choice, or a limit out of range.
        NotFoundError: there is no class ``after``.
    """
    check_choice("sort", sort, SORTS)
    check_choice("only", only, ONLY)
    check_limit(limit, 1000)
    with study.database.read() as tables:
        known = _known(tables, memo)
        counts = {wnid: one for wnid, one in all_counts(tables, memo).items() if _has_bins(study, one)}
        current = counts_are_current(study, tables)
    words = search.casefold().split()
    chosen = _ONLY[only]
    empty = _no_counts(study)
    rows = [
        row
        for one in known.values()
        if all(word in one.text for word in words) and chosen((row := ClassRow(one.info, counts.get(one.info.wnid, empty))).counts)
    ]
    last = None
    if after is not None:
        if after not in known:
            raise NotFoundError("there is no such class", item=after, remedy="Start again at the first page")
        last = ClassRow(known[after].info, counts.get(after, empty))
    page, following = _page(rows, last, sort, descending, limit)
    return ClassPage(page, len(rows), following, current)


def _page(rows: list[ClassRow], last: ClassRow | None, sort: str, descending: bool, limit: int) -> tuple[tuple[ClassRow, ...], str | None]:
    """(the rows behind ``last``, wnid behind which the next page begins). Two sorts: equals are by wnid whatever the direction."""
    rows = sorted(rows, key=lambda row: row.info.wnid)
    rows.sort(key=lambda row: _value(row, sort), reverse=descending)
    start = 0 if last is None else next((i for i, row in enumerate(rows) if _is_behind(row, last, sort, descending)), len(rows))
    page = tuple(rows[start : start + limit])
    return page, page[-1].info.wnid if start + limit < len(rows) else None


def class_row(study: Study, memo: Memo, wnid: str) -> ClassRow:
    """One class.

    Raises:
        NotFoundError: the study has no such class.
    """
    with study.database.read() as tables:
        known = _known(tables, memo)
        stored = tables.class_counts.get(wnid)
    if wnid not in known:
        raise NotFoundError("the study has no such class", item=wnid, remedy="Search it under Classes")
    counts = None if stored is None else from_stored(stored)
    return ClassRow(known[wnid].info, counts if counts and _has_bins(study, counts) else _no_counts(study))


def _known(tables: Tables, memo: Memo) -> dict[str, _Known]:
    key = generations_key(tables.generations.of("classes"))
    return memo.get("classes", key, lambda: {wnid: _Known(info, _text(info)) for wnid, info in known_classes(tables, memo).items()})


def _text(info: ClassInfo) -> str:
    return " ".join((info.wnid, *info.synset, *info.parent_terms, info.gloss)).replace("_", " ").casefold()


def _no_counts(study: Study) -> ClassCounts:
    none = (0,) * len(bins(study))
    return ClassCounts(found_bins=none, usable_bins=none, original_bins=none, target_bins=none)


def _has_bins(study: Study, counts: ClassCounts) -> bool:
    """Whether a class was counted by as many bins as the settings have now; else it counts as never counted until it is counted anew."""
    return len(counts.usable_bins) == len(bins(study))


def _value(row: ClassRow, sort: str) -> int | str:
    if sort == "wnid":
        return row.info.wnid
    if sort == "name":
        return row.info.name.casefold()
    value: int = getattr(row.counts, sort)
    return value


def _is_behind(row: ClassRow, last: ClassRow, sort: str, descending: bool) -> bool:
    here, there = _value(row, sort), _value(last, sort)
    if here == there:
        return row.info.wnid > last.info.wnid
    return bool(here < there) if descending else bool(here > there)  # type: ignore[operator]
