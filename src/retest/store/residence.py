"""Keeps the file of an SQLite database in the system's memory, as long as memory is free for it.

What a page shows lies far apart in a large file, and a wait for the disk for each part of it adds up: a page of 200 candidates of a
study of a million took 3 ms of the database from memory and 100 to 500 ms from a busy disk. Systems give memory to other files, and
virtual machines may hand back what was not touched for a while; so the file is asked for again from time to time, which costs next to
nothing where it is there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

__all__ = ["FileInMemory"]

_BYTES_PER_CALL = 2**20  # of more at once systems read only the beginning
_CALLS_PER_TURN = 4  # others wait for the disk behind so much at most
_MOST_OF_MEMORY = 0.7


class FileInMemory:
    """A file that is to stay in memory.

    It is opened once and closed with the database: closing a file ends all locks that SQLite has on it in the same process.

    Args:
        path: the file.
        available: tells how many bytes of memory programs could get now, the file's own included.
    """

    def __init__(self, path: Path, *, available: Callable[[], int] | None = None) -> None:
        self._path, self._available = path, available or _available_bytes
        self._descriptor: int | None = None

    def ask_for(self, *, stop: Callable[[], bool] = lambda: False) -> bool:
        """Have the system read what is not in memory; False where it cannot be asked, or the file would take most of the memory.

        Args:
            stop: asked again and again; True ends it.

        Raises:
            OSError: the file cannot be opened or read.
        """
        if not hasattr(os, "posix_fadvise"):
            return False
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_RDONLY)
        size = os.fstat(self._descriptor).st_size
        if size > _MOST_OF_MEMORY * self._available():
            return False
        turn = _CALLS_PER_TURN * _BYTES_PER_CALL
        for begin in range(0, size, turn):
            if stop():
                break
            end = min(size, begin + turn)
            for start in range(begin, end, _BYTES_PER_CALL):
                os.posix_fadvise(self._descriptor, start, _BYTES_PER_CALL, os.POSIX_FADV_WILLNEED)
            os.pread(self._descriptor, 1, end - 1)  # comes back when that is read
        return True

    def close(self) -> None:
        """Close the file; only when nothing of the process uses the database any more."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _available_bytes() -> int:
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        return 0
    return int(found.group(1)) * 1024 if found else 0
