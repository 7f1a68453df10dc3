"""A study: a folder with ``study.toml``, a database and a blob store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from retest.errors import ConflictError, NotFoundError
from retest.files import cannot_write, write_atomic
from retest.store import BlobStore, Database, open_blobs
from retest.study.config import CONFIG_FILE, StudyConfig, format_config, read_config

_SQLITE = "sqlite:///"


@dataclass(frozen=True, slots=True)
class Study:
    """An open study. Stages take it as their first argument; a ``with`` block closes it at its end."""

    folder: Path
    config: StudyConfig
    database: Database
    blobs: BlobStore

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.config.study.name!r} in {str(self.folder)!r})"

    def path(self, location: str) -> Path:
        """A path of the configuration, relative ones seen from the study folder."""
        return (self.folder / Path(location).expanduser()).resolve()

    def close(self) -> None:
        """Close the connections to the database."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def create_study(folder: Path | str, config: StudyConfig) -> Study:
    """Make a study folder and open it; running it again with the same settings changes nothing.

    Raises:
        ConflictError: the folder holds a study with other settings.
        StoreError: the folder cannot be made or written to.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    path = folder / CONFIG_FILE
    if path.exists():
        if read_config(path) != config:
            raise ConflictError(
                "a study with other settings is here already", item=str(path), remedy="Edit the file, or choose another folder"
            )
    else:
        write_atomic(path, format_config(config).encode())
    return open_study(folder)


def open_study(folder: Path | str) -> Study:
    """Open a study, bringing its tables up to date.

    Raises:
        NotFoundError: there is no study in this folder.
        ConfigError: its settings are wrong.
    """
    folder = Path(folder)
    if folder.is_file():
        raise NotFoundError("is a file, not the folder of a study", item=str(folder), remedy="Give the folder that holds study.toml")
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
