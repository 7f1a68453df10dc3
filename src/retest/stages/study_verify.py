"""Stage: is a study whole? Its database by itself, what rows mention of one another, and the blobs and files that they mention."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from retest.errors import NotFoundError, RetestError
from retest.images import content_hash
from retest.models import read_predictions
from retest.records import ImageVariant
from retest.stages._common import Progress, in_order, silent
from retest.stages._custody import side_files
from retest.store.references import ReferenceCheck
from retest.store.transfer import integrity_problems, row_counts
from retest.study import Study

__all__ = ["Problem", "Verified", "verify_study"]

_READERS = 8
_MOST = 1000


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not whole: where, which thing, what is wrong, and what helps."""

    part: str
    item: str
    problem: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What was looked at and what is wrong; at most 1,000 problems are listed, ``more`` says how many there are beyond."""

    rows: int
    blobs: int
    files: int
    deep: bool
    problems: tuple[Problem, ...]
    more: int = 0

    @property
    def ok(self) -> bool:
        return not self.problems


def verify_study(study: Study, *, deep: bool = False, progress: Progress = silent) -> Verified:
    """Check a study from end to end; nothing is changed. ``deep`` reads every image and compares it with its SHA-256.

    Unlike ``retest check``, which asks whether images are ready to be shown, this asks whether anything was lost or damaged.
    """
    problems: list[Problem] = []
    more = 0
    with study.database.read() as tables:
        rows = sum(row_counts(tables).values())
        blobs = tables.variants.counts()
        found = _all_problems(study, progress, deep=deep, variants=sum(blobs.values()))
        for problem in found:
            if len(problems) < _MOST:
                problems.append(problem)
            else:
                more += 1
    return Verified(rows, sum(blobs.values()), len(side_files(study)), deep, tuple(problems), more)


def _all_problems(study: Study, progress: Progress, *, deep: bool, variants: int) -> Iterator[Problem]:
    yield from _structure(study)
    with study.database.read() as tables:
        for broken in ReferenceCheck(tables.connection).problems():
            yield Problem("database", broken.table, str(broken), "Restore a backup, or report how this came about")
        entries = tables.predictions.all()
    yield from _predictions(study, [entry.blob_key for entry in entries], deep=deep)
    yield from _blobs(study, progress, deep=deep, total=variants)


def _structure(study: Study) -> Iterator[Problem]:
    remedy = "Restore a backup: retest study restore"
    paths = [study.folder / name for name in side_files(study) if name.endswith(".db")]
    if study.database.engine.dialect.name == "sqlite":
        paths.insert(0, Path(str(study.database.engine.url.database)))
    for path in paths:
        for line in integrity_problems(path):
            yield Problem("database", path.name, line, remedy)


def _predictions(study: Study, names: list[str], *, deep: bool) -> Iterator[Problem]:
    remedy = "Run retest evaluate again"
    for name in names:
        path = study.folder / name
        if not path.is_file():
            yield Problem("predictions", name, "the file is missing", remedy)
        elif deep:
            try:
                read_predictions(path)
            except RetestError as error:
                yield Problem("predictions", name, error.problem, remedy)


def _blobs(study: Study, progress: Progress, *, deep: bool, total: int) -> Iterator[Problem]:
    def look(variant: ImageVariant) -> Problem | None:
        wrong = _read(variant) if deep else _wrong_size(variant, study.blobs.size(variant.blob_key))
        remedy = "Run retest check --repair, then retest download; or restore a backup"
        return None if wrong is None else Problem("blobs", variant.blob_key, wrong, remedy)

    def _read(variant: ImageVariant) -> str | None:
        try:
            data = study.blobs.get(variant.blob_key)
        except NotFoundError:
            return _wrong_size(variant, None)
        if (wrong := _wrong_size(variant, len(data))) is not None:
            return wrong
        return None if content_hash(data) == variant.sha256 else "the content is not what was stored"

    with (
        study.database.read() as tables,
        progress("Verify blobs", total=total) as advance,
        ThreadPoolExecutor(_READERS) as readers,
    ):
        for problem in in_order(readers, look, tables.variants.by_blob_key(), window=4 * _READERS):
            advance(1)
            if problem is not None:
                yield problem


def _wrong_size(variant: ImageVariant, size: int | None) -> str | None:
    if size is None:
        return "the blob is missing"
    return None if size == variant.size_bytes else f"the blob has {size} bytes instead of {variant.size_bytes}"
