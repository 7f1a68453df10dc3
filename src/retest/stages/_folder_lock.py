"""One writer per folder: a lock that ends with its process, however that ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from retest.errors import ConflictError, StoreError

_NAME = ".retest.lock"


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Keep other processes and threads that ask for the same folder out of it; the folder is made if it is not there.

    Where a file system knows no locks, as some that are shared over a network, nobody is kept out.

    Raises:
        ConflictError: somebody else holds the folder.
        StoreError: the folder cannot be written.
    """
    path = folder / _NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _taken(path)
    except OSError as error:
        raise StoreError(f"cannot be written ({error.strerror or error})", item=str(folder), remedy="Check the path") from error
    if descriptor is None:
        raise ConflictError("another process is writing this folder", item=str(folder), remedy="Wait for it, or choose another --out")
    try:
        yield
    finally:
        with suppress(OSError):  # while the lock is held, so that nobody takes a file that is about to go
            path.unlink()
        os.close(descriptor)


def _taken(path: Path) -> int | None:
    """A descriptor of the locked file; None if somebody else holds it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if not _lock(descriptor):
            os.close(descriptor)
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)  # its holder has just removed it


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # no locks here
            return True
        return True
