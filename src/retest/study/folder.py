"""A study: a folder with ``study.toml``, a database and a blob store."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from retest.errors import ConflictError, NotFoundError, StoreError
from retest.store import BlobStore, Database, open_blobs
from retest.study.config import CONFIG_FILE, StudyConfig, format_config, read_config

_SQLITE = "sqlite:///"


@dataclass(frozen=True, slots=True)
class Study:
    """An open study. Stages take it as their first argument."""

    folder: Path
    config: StudyConfig
    database: Database
    blobs: BlobStore

    def path(self, location: str) -> Path:
        """A path of the configuration, relative ones seen from the study folder."""
        return (self.folder / Path(location).expanduser()).resolve()

    def close(self) -> None:
        """Close the connections to the database."""
        self.database.close()


def create_study(folder: Path, config: StudyConfig) -> Study:
    """Make a study folder and open it; running it again with the same settings changes nothing.

    Raises:
        ConflictError: the folder holds a study with other settings.
        StoreError: the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    path = folder / CONFIG_FILE
    if path.exists():
        if read_config(path) != config:
            raise ConflictError(
                "a study with other settings is here already", item=str(path), remedy="Edit the file, or choose another folder"
            )
    else:
        write_atomic(path, format_config(config).encode())
    return open_study(folder)


def open_study(folder: Path) -> Study:
    """Open a study, bringing its tables up to date.

    Raises:
        NotFoundError: there is no study in this folder.
        ConfigError: its settings are wrong.
    """
    if not (folder / CONFIG_FILE).is_file():
        inside = sorted(path.parent for path in folder.glob(f"*/{CONFIG_FILE}"))
        remedy = f"There is one in {inside[0]}" if inside else "Create one with: retest init STUDY"
        raise NotFoundError("there is no study in this folder", item=str(folder), remedy=remedy)
    return open_parts(folder, read_config(folder / CONFIG_FILE))


def open_parts(folder: Path, config: StudyConfig) -> Study:
    """Open database and blobs below a folder with given settings, whether it has a ``study.toml`` yet or not."""
    root = folder.resolve()
    url = config.study.database
    if url.startswith(_SQLITE) and not url.startswith(_SQLITE + "/"):
        url = f"{_SQLITE}{root / url.removeprefix(_SQLITE)}"
    database = Database(url)
    database.upgrade()
    return Study(root, config, database, open_blobs(config.study.blobs, base=root))


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that readers, and a crash, see either the old or the new content.

    Raises:
        StoreError: the file cannot be written; what was there stays.
    """
    with open_atomic(path) as file:
        file.write(data)


@contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """As :func:`write_atomic` for content that comes in parts: the file takes its name at the end of the block, unless that raises.

    Raises:
        StoreError: the file cannot be written; what was there stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        with suppress(OSError):  # where nothing may be written there is nothing to remove
            temporary.unlink(missing_ok=True)


def _cannot_write(path: Path, error: OSError) -> StoreError:
    full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    remedy = "Free some space and run the same command again" if full else "Check the path and the permissions of its folder"
    return StoreError(f"cannot be written ({error.strerror or error})", item=str(path), remedy=remedy)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed :func:`write_atomic` calls left in ``folder`` and in the folders right below it.

    Only for folders that a single process writes to, such as an export: another writer's files would go as well.
    """
    for path in (*folder.glob(".*.tmp"), *folder.glob("*/.*.tmp")):
        if re.fullmatch(r"\..+\.\d+\.tmp", path.name):
            path.unlink(missing_ok=True)
