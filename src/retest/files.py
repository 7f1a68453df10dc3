"""Files that are either absent or whole, whatever is killed when, known by their hash, and none of them missed in silence."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from retest.errors import InputError, StoreError

__all__ = [
    "cannot_write",
    "file_hash",
    "files_below",
    "open_atomic",
    "refuse_left_out",
    "refuse_link_around",
    "remove_leftovers",
    "write_atomic",
]

_LEFTOVER = re.compile(r"\..+\.\d+(-[0-9a-f]+)?\.tmp")


def write_atomic(path: Path | str, data: bytes) -> None:
    """Write a file so that readers, and a crash, see either the old or the new content.

    Raises:
        StoreError: the file cannot be written; what was there stays.
    """
    with open_atomic(path) as file:
        file.write(data)


@contextmanager
def open_atomic(path: Path | str, *, durable: bool = False) -> Iterator[BinaryIO]:
    """As :func:`write_atomic` for content that comes in parts: the file takes its name at the end of the block, unless that raises.

    ``durable``: missing parent folders are made, and on return the new name is on the disk too, so that a power failure takes
    nothing back.

    Raises:
        StoreError: the file cannot be written; what was there stays.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        if durable:
            path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        if durable:
            _sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):  # where nothing may be written there is nothing to remove
            temporary.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> StoreError:
    """The error that says that ``path`` cannot be written, why, and what helps."""
    full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    remedy = "Free some space and run the same command again" if full else "Check the path and the permissions of its folder"
    return StoreError(f"cannot be written ({error.strerror or error})", item=str(path), remedy=remedy)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # a folder cannot be opened for syncing there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path | str) -> None:
    """Remove the temporary files that killed :func:`write_atomic` calls left in ``folder`` and in the folders right below it.

    Only for folders that a single process writes to, such as an export: another writer's files would go as well.
    """
    folder = Path(folder)
    for path in (*folder.glob(".*.tmp"), *folder.glob("*/.*.tmp")):
        if _LEFTOVER.fullmatch(path.name):
            path.unlink(missing_ok=True)


def file_hash(path: Path, *, what: str = "") -> str:
    """SHA-256 (hex) of a file; ``what`` names it in the error.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        problem = f"{what} cannot be read ({error.strerror or error})".lstrip()
        raise InputError(problem, item=str(path), remedy="Check the path and the file's permissions") from error


def files_below(
    folder: Path,
    *,
    skip: Callable[[str], bool],
    left_out: Callable[[Path, str], None],
    follow_out: bool = True,
    within: Path | None = None,
) -> Iterator[Path]:
    """Files below ``folder`` in sorted order, those of a folder before those of its subfolders.

    A link to a folder that lies below ``folder`` is passed over, as its files are found where they are. Folders elsewhere are entered
    once, however many links lead to them.

    Args:
        folder: where to look.
        skip: names of subfolders for which it is true are passed over.
        left_out: is told of every folder that was not looked into although its files may belong here, and why.
        follow_out: whether links to folders elsewhere are followed at all.
        within: the folder that ``folder`` is a part of, such as the classes of which it is one; by default ``folder`` itself.

    Raises:
        InputError: a link that is followed leads to a folder that holds ``within`` itself, such as ``/``.
    """
    whole = folder if within is None else within
    if folder != whole:
        refuse_link_around(folder, whole)
    return _Walk(folder.resolve(), whole, skip, left_out, follow_out).below(folder)


def refuse_link_around(path: Path, folder: Path) -> None:
    """Refuse a link to ``folder``, or to a folder that ``folder`` lies in: followed, it would bring in everything there.

    Raises:
        InputError: ``path`` is such a link.
    """
    if not path.is_symlink():
        return
    target, given = path.resolve(), Path(os.path.abspath(folder))  # noqa: PTH100 resolves ".." alone, no links
    if folder.resolve().is_relative_to(target) or any(parent.resolve() == target for parent in given.parents):
        problem = f"is a link to {target}, which holds {folder} itself"
        raise InputError(problem, item=str(path), remedy="Remove the link; link the folders that belong here one by one")


@dataclass(frozen=True, slots=True)
class _Walk:
    root: Path
    whole: Path
    skip: Callable[[str], bool]
    left_out: Callable[[Path, str], None]
    follow_out: bool
    entered: set[tuple[int, int]] = field(default_factory=set)

    def below(self, folder: Path) -> Iterator[Path]:
        try:
            status = folder.stat()
            here = (status.st_dev, status.st_ino)
            if here in self.entered:
                return
            self.entered.add(here)
            with os.scandir(folder) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except OSError as error:
            self.left_out(folder, _unreadable(error))
            return
        kinds = [(folder / entry.name, self._kind(folder, entry)) for entry in entries]
        yield from (path for path, kind in kinds if kind == "file")
        for path, kind in kinds:
            if kind == "folder":
                yield from self.below(path)

    def _kind(self, folder: Path, entry: os.DirEntry[str]) -> str | None:
        """What to do with an entry: "file", "folder", or None to pass over it."""
        path = folder / entry.name
        try:
            if not entry.is_dir():
                return "file"
            if self.skip(entry.name):
                return None
            if entry.is_symlink() and path.resolve().is_relative_to(self.root):
                return None
            if entry.is_symlink() and not self.follow_out:
                self.left_out(path, "is a link that leads elsewhere")
                return None
            refuse_link_around(path, self.whole)
        except OSError as error:
            if error.errno == errno.ELOOP:
                return "file"  # a link to itself leads nowhere, as one to what is gone
            if not self.skip(entry.name):
                self.left_out(path, _unreadable(error))
            return None
        return "folder"


def _unreadable(error: OSError) -> str:
    return f"cannot be read ({error.strerror or error})"


def refuse_left_out(folder: Path, problem: str) -> None:
    """For :func:`files_below` where no file may be missing.

    Raises:
        InputError: always.
    """
    raise InputError(problem, item=str(folder), remedy="Check the folder and its permissions")
