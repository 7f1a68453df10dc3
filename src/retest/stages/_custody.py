"""What copying, backing up and restoring a study share: which files belong to it, and a new study that appears only when it is whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from retest.errors import ConflictError, StoreError
from retest.files import write_atomic
from retest.stages._common import Progress
from retest.store import BlobStore, Tables
from retest.store.transfer import copy_rows, different_table, row_counts, snapshot_sqlite
from retest.study import CONFIG_FILE, Study, StudyConfig, format_config, read_config
from retest.study.folder import open_parts

__all__ = [
    "fill_database",
    "finish_study",
    "open_new_study",
    "put_blob",
    "read_side_file",
    "side_files",
    "with_absolute_paths",
    "write_side_file",
]

_PATHS = {
    "benchmark": ("train", "val", "test", "class_info", "similar_classes"),
    "source": ("location",),
    "search": ("hand_terms", "wordnet"),
}
_SQLITE_MARK = b"SQLite format 3\x00"
_SQLITE_LOGS = ("-wal", "-shm", "-journal")


def side_files(study: Study) -> list[str]:
    """Files of the study's folder beside settings, database and blobs, sorted: predictions, the labelling server's state, ...

    Caches can be made again and are left out, as are files that are being written.
    """
    database = study.database.engine.url.database if study.database.engine.dialect.name == "sqlite" else None
    own = {study.folder / CONFIG_FILE, *([] if database is None else [Path(database).resolve()])}
    blobs = None if "://" in study.config.study.blobs else study.path(study.config.study.blobs)
    found = []
    for path in _walk(study.folder, leave_out={study.folder / "cache", *([] if blobs is None else [blobs])}):
        log = path.name.endswith(_SQLITE_LOGS)
        if path.resolve() not in own and not log and not path.name.endswith((".tmp", ".part")):
            found.append(path.relative_to(study.folder).as_posix())
    return sorted(found)


def _walk(folder: Path, *, leave_out: set[Path]) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path in leave_out or path.is_symlink():
            continue
        if path.is_dir():
            yield from _walk(path, leave_out=leave_out)
        elif path.is_file():
            yield path


def read_side_file(study: Study, name: str, *, scratch: Path) -> Path:
    """A file to read from: the file itself, or one moment of a SQLite file that a server may be writing to, put into ``scratch``."""
    path = study.folder / name
    with path.open("rb") as file:
        if file.read(len(_SQLITE_MARK)) != _SQLITE_MARK:
            return path
    target = scratch / f"side-{len(list(scratch.iterdir()))}.sqlite"
    snapshot_sqlite(path, target)
    return target


def with_absolute_paths(study: Study) -> StudyConfig:
    """The study's settings with paths that mean the same in another folder."""
    sections = {}
    for name, keys in _PATHS.items():
        section = getattr(study.config, name)
        given = {key: getattr(section, key) for key in keys}
        absolute = {key: str(study.path(value)) for key, value in given.items() if value and "://" not in value}
        sections[name] = dataclasses.replace(section, **absolute)
    return dataclasses.replace(study.config, **sections)


def open_new_study(folder: Path, config: StudyConfig) -> Study:
    """Open the parts of a study that is being made. It has no ``study.toml`` before :func:`finish_study`, so nobody takes it for whole.

    Raises:
        ConflictError: another study is in this folder.
        StoreError: the folder cannot be made.
    """
    path = folder / CONFIG_FILE
    if path.exists() and read_config(path) != config:
        raise ConflictError("a study with other settings is here already", item=str(path), remedy="Choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"the folder cannot be made ({error.strerror})", item=str(folder), remedy="Choose another folder") from error
    return open_parts(folder, config)


def finish_study(study: Study) -> None:
    """Let the new study appear."""
    write_atomic(study.folder / CONFIG_FILE, format_config(study.config).encode())


def put_blob(blobs: BlobStore, key: str, data: bytes) -> None:
    """Let a key hold these bytes."""
    if not blobs.put_new(key, data) and blobs.get(key) != data:
        blobs.put(key, data)


def write_side_file(study: Study, name: str, data: bytes) -> None:
    """Write a file of the study's folder, with the logs of a SQLite file of that name gone."""
    path = study.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    for log in _SQLITE_LOGS:
        path.with_name(path.name + log).unlink(missing_ok=True)
    write_atomic(path, data)


def fill_database(source: Tables, target: Study, *, label: str, remedy: str, progress: Progress) -> int:
    """Copy all rows of ``source`` into the empty database of ``target``; how many there are.

    A database that is not empty must hold the same rows: all rows come in one transaction, so a copy that was stopped behind it is whole.

    Raises:
        ConflictError: it holds other rows; ``remedy`` says what helps.
    """
    with target.database.write() as tables:
        expected = sum(row_counts(source).values())
        if not any(row_counts(tables).values()):
            with progress(label, total=expected) as advance:
                return copy_rows(source, tables, advance=advance)
        if (different := different_table(source, tables)) is not None:
            raise ConflictError(
                f"the database holds other rows already (table {different})",
                item=target.database.engine.url.render_as_string(),
                remedy=remedy,
            )
        return expected
