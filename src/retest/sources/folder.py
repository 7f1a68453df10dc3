"""Candidates from a local folder: ``root/<wnid>/**/<image>``, no network at all."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from retest.errors import ConfigError, SourceError
from retest.records import Candidate, ClassInfo
from retest.sources.base import FoundPhoto, Page, Query, decode_cursor, encode_cursor, make_query
from retest.sources.search import SearchParameters

__all__ = ["FolderSource"]

_PAGE_SIZE: Final = 1000


class FolderSource:
    """Image files below ``root``, one folder per class, named by wnid; subfolders are allowed.

    The photo id and the candidate's ``url`` are the path relative to ``root`` with forward slashes, so a study does not
    depend on where the folder lies. Files come in the order of these paths. Hidden files and folders, other suffixes,
    names that are not UTF-8, and links that lead out of ``root`` are skipped and counted; folders behind links are not
    entered. Files added later are found by searching again. Nothing is decoded here.

    Args:
        root: the folder; it is read only when the source is asked something.
        parameters: only ``max_images`` applies; a folder has no dates and no terms.
        max_bytes: refuse to read larger files.
    """

    name: Final = "folder"

    def __init__(self, root: Path | str, *, parameters: SearchParameters | None = None, max_bytes: int = 100_000_000) -> None:
        self._root = Path(root)
        self._parameters = parameters or SearchParameters()
        self._max_bytes = max_bytes

    def queries(self, info: ClassInfo) -> list[Query]:
        """One query for a class that has a folder.

        Raises:
            ConfigError: the root is not a folder.
        """
        self._check_root()
        paths, _ = self._listing(info.wnid)
        if not paths:
            return []
        salt = hashlib.sha256("\0".join(paths).encode()).hexdigest()
        limit = self._parameters.max_images
        return [make_query(source=self.name, wnid=info.wnid, term=info.wnid, limit=limit, parameters={}, salt=salt, local=True)]

    def page(self, query: Query, cursor: str | None) -> Page:
        """The next files of the class after the path in the cursor."""
        after = "" if cursor is None else decode_cursor(cursor, query=query, kinds={"after": str})["after"]
        paths, skipped = self._listing(query.wnid)
        rest = [path for path in paths[: query.limit] if path > after]
        chosen = rest[:_PAGE_SIZE]
        photos = tuple(FoundPhoto(self.name, path, path, title=path.rsplit("/", 1)[-1]) for path in chosen)
        following = encode_cursor(after=chosen[-1]) if len(rest) > len(chosen) else None
        return Page(photos, following, skipped if cursor is None else {})

    def fetch(self, candidate: Candidate) -> bytes:
        """Read a candidate's file.

        Raises:
            SourceError: the path leads out of the root, is no regular file, is gone or is too large.
            ConfigError: the root itself is gone, which says nothing about the image.
        """
        self._check_root()
        path = self._inside(candidate.url)
        if path is None:
            raise SourceError("the path leads out of the folder", item=candidate.url, remedy=f"Put the image itself below {self._root}.")
        try:
            with open(path, "rb", opener=_open_without_waiting) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode) or status.st_size > self._max_bytes:
                    raise SourceError(f"is not a regular file of at most {self._max_bytes} bytes", item=candidate.url)
                return file.read()
        except OSError as error:
            raise SourceError(f"cannot be read ({error.strerror})", item=candidate.url, remedy=f"Restore it below {self._root}.") from error

    def close(self) -> None:
        """Nothing is held open."""

    def _check_root(self) -> None:
        if not self._root.is_dir():
            raise ConfigError("is not a folder", item=str(self._root), remedy="Give the folder that holds one folder per class.")

    def _listing(self, wnid: str) -> tuple[list[str], dict[str, int]]:
        """Relative paths of the class's image files, sorted, and counts of what was left out."""
        folder = self._inside(wnid)
        if folder is None or "/" in wnid or not folder.is_dir():
            return [], {}
        from retest.images import IMAGE_SUFFIXES  # here, so that the sources can be imported without an image library

        paths: list[str] = []
        skipped: Counter[str] = Counter()
        for path in _files(self._root / wnid, skipped):
            relative = path.relative_to(self._root).as_posix()
            reason = self._reason(path, relative) if path.suffix.lower() in IMAGE_SUFFIXES else "not_an_image_file"
            if reason is None:
                paths.append(relative)
            else:
                skipped[reason] += 1
        return sorted(paths), dict(+skipped)

    def _reason(self, path: Path, relative: str) -> str | None:
        if not relative.isprintable() or "\\" in relative:
            return "unusable_name"  # also names that are not UTF-8: their bytes decode to lone surrogates
        if path.is_symlink() and self._inside(relative) is None:
            return "outside_root"
        return None if path.is_file() else "not_a_regular_file"

    def _inside(self, relative: str) -> Path | None:
        """The real path of something below the root; None where it is not below it."""
        if not relative or "\0" in relative or "\\" in relative or ".." in relative.split("/"):
            return None
        root = self._root.resolve()
        target = (root / relative).resolve()
        return target if target != root and target.is_relative_to(root) else None


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe put in its place must not make us wait for a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _files(folder: Path, skipped: Counter[str]) -> Iterator[Path]:
    """Files below a folder; counts in ``skipped`` the folders that are not entered: links (they may lead anywhere) and unreadable ones."""
    unreadable: list[OSError] = []
    for directory, names, files in os.walk(folder, onerror=unreadable.append, followlinks=False):
        names[:] = [name for name in names if not name.startswith(".")]
        skipped["linked_folder"] += sum((Path(directory) / name).is_symlink() for name in names)
        yield from (Path(directory) / name for name in files if not name.startswith("."))
    skipped["unreadable_folder"] += len(unreadable)
