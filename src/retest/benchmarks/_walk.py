"""Listing the files of a folder so that none is missed in silence."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path


def files_below(folder: Path, *, skip: Callable[[str], bool], unreadable: Callable[[Path, OSError], None]) -> Iterator[Path]:
    """Files below ``folder`` in sorted order, those of a folder before those of its subfolders.

    Links to folders are followed, except for those that lead back to a folder they lie in.

    Args:
        folder: where to look.
        skip: names of subfolders for which it is true are left out.
        unreadable: is told of every folder that cannot be listed.
    """
    return _below(folder, frozenset(), skip, unreadable)


def _below(
    folder: Path, above: frozenset[tuple[int, int]], skip: Callable[[str], bool], unreadable: Callable[[Path, OSError], None]
) -> Iterator[Path]:
    try:
        status = folder.stat()
        with os.scandir(folder) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
    except OSError as error:
        unreadable(folder, error)
        return
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    subfolders = [entry.name for entry in entries if entry.is_dir()]
    yield from (folder / entry.name for entry in entries if not entry.is_dir())
    for name in subfolders:
        if not skip(name):
            yield from _below(folder / name, above | {here}, skip, unreadable)
