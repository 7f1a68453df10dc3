"""Stage: back up a study that may be in use, and restore it elsewhere.

The database is one moment of the study. Blobs are written before the rows that mention them, so the blobs that are there after that
moment hold all that it mentions; what a check finds unlike its record is not taken along silently.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from retest import __version__
from retest.errors import ConflictError, InputError, NotFoundError, UsageError
from retest.records import ImageVariant
from retest.stages._archive import Archive, Piece, Snapshot
from retest.stages._common import Progress, Stamp, in_order, silent
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
from retest.stages._folder_lock import locked_folder
from retest.store import BlobStore, Database
from retest.store.transfer import row_counts, snapshot
from retest.study import CONFIG_FILE, Study, StudyConfig, format_config, parse_config

__all__ = ["BackedUp", "Restored", "Snapshot", "back_up", "list_snapshots", "restore", "verify_backup"]

_STREAMS = 8


@dataclass(frozen=True, slots=True)
class BackedUp:
    """A new snapshot. ``damaged`` are blobs that are not what the database says of them; the backup holds them as they are."""

    snapshot: str
    rows: int
    blobs: int
    blobs_written: int
    size_bytes: int
    files: int
    damaged: tuple[str, ...] = ()
    removed: int = 0


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back."""

    snapshot: str
    rows: int
    blobs: int
    files: int


def back_up(study: Study, target: BlobStore, *, stamp: Stamp, prune: bool = False, progress: Progress = silent) -> BackedUp:
    """Add a snapshot of a study to a backup; stopped and started again it writes only what is missing.

    Args:
        study: may be in use.
        target: holds the backup; several snapshots (of one study or of several) share what is equal in them.
        stamp: who makes it, and when.
        prune: remove older snapshots, and the pieces that only they mention, when the new one is there.
        progress: shows the work.

    Raises:
        ConflictError: another backup of this study is under way.
    """
    archive = Archive(target)
    with _scratch(study) as scratch:
        # Answers go from the labelling server's file into the database, predictions lie in files before their row is written: so the one
        # comes before the database, the others after it, and nothing that the database mentions is missing.
        servers, others = _by_kind(study)
        files = {name: archive.add_file(read_side_file(study, name, scratch=scratch)) for name in servers}
        snapshot(study.database, scratch / "database.sqlite")
        database = archive.add_file(scratch / "database.sqlite")
        files |= {name: archive.add_file(study.folder / name) for name in others}
        (scratch / CONFIG_FILE).write_text(format_config(with_absolute_paths(study)), encoding="utf-8")
        files[CONFIG_FILE] = archive.add_file(scratch / CONFIG_FILE)
        with closing(Database(f"sqlite:///{scratch / 'database.sqlite'}")) as copy, copy.read() as tables:
            rows = row_counts(tables)
            lister = _Lister(study, archive)
            listed = lister.write(scratch / "blobs.jsonl", tables.variants.by_blob_key(), progress)
        made = Snapshot(
            retest=__version__,
            study=study.config.study.name,
            user=stamp.user,
            time=stamp.time,
            rows=rows,
            database=database,
            files=files,
            blob_list=listed,
            blobs=lister.found,
            blob_bytes=lister.size_bytes,
        )
        name = archive.write(made)
    removed = _prune(archive, keep=name, progress=progress) if prune else 0
    total = sum(rows.values())
    return BackedUp(name, total, lister.found, lister.written, lister.size_bytes, len(files), tuple(lister.damaged), removed)


@contextmanager
def _scratch(study: Study) -> Iterator[Path]:
    """A folder beside the study, where there is room for a copy of its database; what a killed backup left there goes."""
    home = study.folder / "cache" / "backup"
    with ExitStack() as held:
        try:
            held.enter_context(locked_folder(home))
        except ConflictError as error:
            raise ConflictError("another backup of this study is under way", item=str(study.folder), remedy="Wait for it") from error
        for old in home.glob("backup-*"):
            shutil.rmtree(old, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="backup-", dir=home, ignore_cleanup_errors=True) as name:
            yield Path(name)


def _by_kind(study: Study) -> tuple[list[str], list[str]]:
    names = side_files(study)
    return [name for name in names if name.endswith(".db")], [name for name in names if not name.endswith(".db")]


class _Lister:
    """Keeps every blob of a study and lists them."""

    def __init__(self, study: Study, archive: Archive) -> None:
        self._study = study
        self._archive = archive
        self.found = self.written = self.size_bytes = 0
        self.damaged: list[str] = []

    def write(self, path: Path, recorded: Iterator[ImageVariant], progress: Progress) -> tuple[Piece, ...]:
        """``recorded`` are the variants by blob key; both lists are walked side by side, so memory does not grow with them."""
        with (
            path.open("w", encoding="utf-8") as file,
            ThreadPoolExecutor(_STREAMS) as streams,
            progress("Back up blobs", total=None) as advance,
        ):
            for key, known, piece, new in in_order(streams, self._keep, _joined(self._study.blobs.list(), recorded), window=4 * _STREAMS):
                advance(1)
                if known is not None and piece != known:
                    self.damaged.append(key)
                if piece is None:
                    continue
                file.write(json.dumps([key, piece.sha256, piece.size_bytes], ensure_ascii=False) + "\n")
                self.found += 1
                self.written += new
                self.size_bytes += piece.size_bytes
        return self._archive.add_file(path)

    def _keep(self, entry: tuple[str, int | None, Piece | None]) -> tuple[str, Piece | None, Piece | None, bool]:
        key, size, known = entry
        if known is not None and known.size_bytes == size and self._archive.has(known):
            return key, known, known, False  # by its record, without reading it again
        try:
            piece, new = self._archive.add(self._study.blobs.get(key))
        except NotFoundError:  # never there, or removed since
            return key, known, None, False
        return key, known, piece, new


def _joined(listed: Iterator[tuple[str, int]], recorded: Iterator[ImageVariant]) -> Iterator[tuple[str, int | None, Piece | None]]:
    """(key, size as listed, content as recorded) of all keys of two lists that are sorted by key."""
    sizes = ((key, 0, size) for key, size in listed)
    pieces = ((variant.blob_key, 1, Piece(variant.sha256, variant.size_bytes)) for variant in recorded)
    for key, group in groupby(heapq.merge(sizes, pieces, key=lambda entry: entry[:2]), key=lambda entry: entry[0]):
        found = {kind: value for _, kind, value in group}
        size, piece = found.get(0), found.get(1)
        yield key, size if isinstance(size, int) else None, piece if isinstance(piece, Piece) else None


def _prune(archive: Archive, *, keep: str, progress: Progress) -> int:
    kept = _mentioned(archive, keep)
    for name in archive.names():
        if name != keep:
            archive.blobs.delete(f"snapshots/{name}.json")
    removed = 0
    with progress("Remove old pieces", total=None) as advance:
        for key, _ in archive.blobs.list("objects"):
            if key not in kept:
                archive.blobs.delete(key)
                removed += 1
            advance(1)
    return removed


def _mentioned(archive: Archive, name: str) -> set[str]:
    _, made = archive.read(name)
    pieces = [*made.database, *made.blob_list, *(piece for parts in made.files.values() for piece in parts)]
    return {piece.key for piece in pieces} | {piece.key for _, piece in archive.entries(made)}


def list_snapshots(source: BlobStore) -> list[tuple[str, Snapshot]]:
    """Every snapshot with its name, oldest first."""
    archive = Archive(source)
    return [archive.read(name) for name in archive.names()]


def verify_backup(source: BlobStore, *, name: str | None = None, progress: Progress = silent) -> tuple[str, list[str]]:
    """Read every piece of a snapshot (the newest, if none is named) and compare it with its checksum.

    Returns:
        The snapshot's name, and what is missing or damaged, one line each.
    """
    archive = Archive(source)
    name, made = archive.read(name)
    problems: list[str] = []

    def look(entry: tuple[str, Piece]) -> None:
        what, piece = entry
        try:
            archive.get(piece)
        except (NotFoundError, InputError) as error:
            problems.append(f"{what}: {error.problem} ({piece.key})")

    parts = [("database", piece) for piece in made.database] + [(file, piece) for file, of in made.files.items() for piece in of]
    parts += [("list of blobs", piece) for piece in made.blob_list]
    with progress("Verify backup", total=len(parts) + made.blobs) as advance, ThreadPoolExecutor(_STREAMS) as streams:
        for _ in in_order(streams, look, parts, window=_STREAMS):
            advance(1)
        if not problems:
            for _ in in_order(streams, look, archive.entries(made), window=4 * _STREAMS):
                advance(1)
    return name, sorted(problems)


def restore(
    source: BlobStore,
    folder: Path,
    *,
    name: str | None = None,
    database: str = "sqlite:///study.db",
    blobs: str = "blobs",
    progress: Progress = silent,
) -> Restored:
    """Make a study from a snapshot; stopped and started again it goes on. ``study.toml`` is written last.

    Args:
        source: the backup.
        folder: where the study is to be.
        name: the snapshot; by default the newest.
        database: address of the study's database, which must be new or empty.
        blobs: where its images are to lie.
        progress: shows the work.

    Raises:
        InputError: a piece of the backup is damaged; the study does not appear.
        ConflictError: folder or database hold another study.
    """
    archive = Archive(source)
    name, made = archive.read(name)
    if CONFIG_FILE not in made.files:
        raise InputError("the snapshot has no settings", item=name, remedy="Restore another snapshot")
    config = _config(b"".join(map(archive.get, made.files[CONFIG_FILE])), name, database=database, blobs=blobs)
    with closing(open_new_study(folder, config)) as study:
        with tempfile.TemporaryDirectory(dir=study.folder, prefix=".restore-", ignore_cleanup_errors=True) as scratch:
            file = Path(scratch) / "database.sqlite"
            with file.open("wb") as out:
                for piece in made.database:
                    out.write(archive.get(piece))
            rows = _restore_rows(file, study, progress)
        _restore_blobs(archive, made, study, progress)
        files = [path for path in made.files if path != CONFIG_FILE]
        for path in files:
            write_side_file(study, _inside(path), b"".join(map(archive.get, made.files[path])))
        finish_study(study)
    return Restored(name, rows, made.blobs, len(files))


def _config(text: bytes, name: str, *, database: str, blobs: str) -> StudyConfig:
    import tomllib

    try:
        config = parse_config(tomllib.loads(text.decode()), origin=f"{name} {CONFIG_FILE}")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError("the settings of this snapshot cannot be read", item=name, remedy="Restore another snapshot") from error
    return replace(config, study=replace(config.study, database=database, blobs=blobs))


def _restore_rows(file: Path, study: Study, progress: Progress) -> int:
    with closing(Database(f"sqlite:///{file}")) as copy:
        copy.upgrade()  # a backup of an older retest
        with copy.read() as source:
            return fill_database(source, study, label="Restore rows", remedy="Restore into an empty database", progress=progress)


def _restore_blobs(archive: Archive, made: Snapshot, study: Study, progress: Progress) -> None:
    def bring(entry: tuple[str, Piece]) -> None:
        key, piece = entry
        if study.blobs.size(key) == piece.size_bytes and hashlib.sha256(study.blobs.get(key)).hexdigest() == piece.sha256:
            return
        put_blob(study.blobs, key, archive.get(piece))

    with progress("Restore blobs", total=made.blobs) as advance, ThreadPoolExecutor(_STREAMS) as streams:
        for _ in in_order(streams, bring, archive.entries(made), window=4 * _STREAMS):
            advance(1)


def _inside(path: str) -> str:
    """A relative path that stays in the study's folder, whoever wrote the backup."""
    parts = Path(path).parts
    if Path(path).is_absolute() or ".." in parts or not parts:
        raise UsageError("leads out of the study's folder", item=path, remedy="Restore only backups that you trust")
    return path
