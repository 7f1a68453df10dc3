"""Stage: copy a study into another folder, database and blob store, for instance from SQLite to PostgreSQL and back."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from retest.errors import UsageError
from retest.stages._common import Progress, in_order, silent
from retest.stages._custody import (
    fill_database,
    finish_study,
    open_new_study,
    put_blob,
    read_side_file,
    side_files,
    with_absolute_paths,
    write_side_file,
)
from retest.study import Study, StudyConfig

_STREAMS = 8


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy holds: rows of all tables, blobs (with how many were written now) and further files."""

    rows: int
    blobs: int
    blobs_written: int
    files: int


def copy_study(
    study: Study,
    folder: Path,
    *,
    database: str = "sqlite:///study.db",
    blobs: str = "blobs",
    share_blobs: bool = False,
    progress: Progress = silent,
) -> Copied:
    """Copy one moment of a study, which may be in use, into a new study; stopped and started again it goes on.

    All rows come along, bookkeeping included, so that nothing is computed again. The new study's ``study.toml`` is written last.

    Args:
        study: what to copy.
        folder: where the new study is to be.
        database: address of its database, which must be empty; SQLite files are relative to ``folder``.
        blobs: where its images are to lie.
        share_blobs: leave the blobs where they are and use them from there; ``blobs`` is not looked at.
        progress: shows the work.

    Raises:
        UsageError: the copy would be its own original.
        ConflictError: folder or database hold another study.
    """
    config = _config(study, database, blobs, share_blobs)
    if folder.resolve() == study.folder:
        raise UsageError("is the study itself", item=str(folder), remedy="Choose a new folder")
    with closing(open_new_study(folder, config)) as target:
        if target.database.engine.url == study.database.engine.url:
            raise UsageError("is the database of the study itself", item=database, remedy="Choose a new, empty database")
        rows = _copy_tables(study, target, progress)
        found, written = (0, 0) if share_blobs else _copy_blobs(study, target, progress)
        files = _copy_files(study, target)
        finish_study(target)
    return Copied(rows, found, written, files)


def _config(study: Study, database: str, blobs: str, share_blobs: bool) -> StudyConfig:
    config = with_absolute_paths(study)
    if share_blobs:
        here = study.config.study.blobs
        blobs = here if "://" in here else str(study.path(here))
    return replace(config, study=replace(config.study, database=database, blobs=blobs))


def _copy_tables(study: Study, target: Study, progress: Progress) -> int:
    remedy = "Choose an empty database; a copy that was stopped cannot go on once the original has changed"
    with study.database.read() as source:
        return fill_database(source, target, label="Copy rows", remedy=remedy, progress=progress)


def _copy_blobs(study: Study, target: Study, progress: Progress) -> tuple[int, int]:
    if study.blobs.location("x") == target.blobs.location("x"):
        return 0, 0

    def copy(entry: tuple[str, int]) -> bool:
        key, size = entry
        if target.blobs.size(key) == size:
            return False
        put_blob(target.blobs, key, study.blobs.get(key))
        return True

    found = written = 0
    with progress("Copy blobs", total=None) as advance, ThreadPoolExecutor(_STREAMS) as streams:
        for new in in_order(streams, copy, study.blobs.list(), window=4 * _STREAMS):
            found += 1
            written += new
            advance(1)
    return found, written


def _copy_files(study: Study, target: Study) -> int:
    names = side_files(study)
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            write_side_file(target, name, read_side_file(study, name, scratch=Path(scratch)).read_bytes())
    return len(names)
