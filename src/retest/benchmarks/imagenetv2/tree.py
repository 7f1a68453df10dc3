"""Where the files lie: a folder (a clone or any part of it), or a tar archive of it read without unpacking.

An archive is read once from start to end. The bytes of the recognised files are kept in one anonymous temporary file
(in memory while they are few), so no name from the archive ever becomes a name on disk.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from retest.benchmarks.archives import DEFAULT_LIMITS, ArchiveLimits, MemberStream, TarMember, iter_members, safe_member_path
from retest.benchmarks.imagenetv2.layout import FOLDERS, family_of
from retest.errors import InputError
from retest.files import files_below

__all__ = ["ArchiveTree", "FolderTree", "Tree", "open_tree"]

_IN_MEMORY = 32 << 20
_COPY_BYTES = 1 << 20
_SKIPPED_FOLDERS = frozenset({".git", "webui_static", "__pycache__"})


class Tree(Protocol):
    """Files by their path relative to the ``data`` folder. ``notes`` are (file, message) about what could not be used."""

    sizes: Mapping[str, int]
    ignored: tuple[str, ...]
    notes: tuple[tuple[str, str], ...]

    def open(self, path: str) -> IO[bytes]:
        """Open one file of ``sizes`` for reading. Raises OSError when it cannot be read."""

    def close(self) -> None:
        """Release what the tree holds."""


@dataclass(slots=True)
class FolderTree:
    """A folder on disk; ``base`` is its ``data`` folder."""

    base: Path
    sizes: Mapping[str, int]
    ignored: tuple[str, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()

    def open(self, path: str) -> IO[bytes]:
        return self.base.joinpath(*PurePosixPath(path).parts).open("rb")

    def close(self) -> None:
        """Nothing to release."""


@dataclass(slots=True)
class ArchiveTree:
    """The recognised files of an archive, one behind the other in an anonymous temporary file."""

    sizes: Mapping[str, int]
    ignored: tuple[str, ...]
    notes: tuple[tuple[str, str], ...]
    _spool: IO[bytes]
    _offsets: Mapping[str, int]

    def open(self, path: str) -> IO[bytes]:
        return io.BufferedReader(_Window(self._spool, self._offsets[path], self.sizes[path]), buffer_size=_COPY_BYTES)

    def close(self) -> None:
        self._spool.close()


def open_tree(path: Path, *, limits: ArchiveLimits = DEFAULT_LIMITS) -> Tree:
    """Open the published layout at ``path``: a clone, its ``data`` folder, one family's folder, or a tar archive of any of them.

    Raises:
        InputError: there is nothing there, it is neither folder nor tar archive, or none of its files belongs to the layout.
    """
    if path.is_dir():
        tree: Tree = _open_folder(path)
    elif path.is_file():
        tree = _open_archive(path, limits)
    else:
        remedy = "Give a clone of the repository, its data folder or a .tar.gz"
        raise InputError("there is no such file or folder", item=str(path), remedy=remedy)
    if not any(family_of(name) for name in tree.sizes):
        tree.close()
        raise InputError(
            "holds no file of the published layout",
            item=str(path),
            remedy="Give the folder that holds metadata, search_results, datasets ... or a clone that has them under data/",
        )
    return tree


def _open_folder(path: Path) -> FolderTree:
    base, only = _base_of(path)
    sizes: dict[str, int] = {}
    notes: list[tuple[str, str]] = []

    def left_out(place: Path, problem: str) -> None:
        notes.append((place.relative_to(base).as_posix(), problem))

    # Published data come from strangers: a link in them may lead to any folder of this machine.
    for file in files_below(base / only, skip=_SKIPPED_FOLDERS.__contains__, left_out=left_out, follow_out=False):
        try:
            sizes[file.relative_to(base).as_posix()] = file.stat().st_size
        except OSError as error:
            left_out(file, f"cannot be read ({error.strerror})")
    return FolderTree(base, sizes, (), tuple(notes))


def _base_of(path: Path) -> tuple[Path, str]:
    """The data folder, and the one family folder to look at ("" for all)."""
    data = path / "data"
    if data.is_dir() and any((data / name).is_dir() for name in FOLDERS):
        return data, ""
    resolved = path.resolve()
    if resolved.name in FOLDERS and not any((path / name).is_dir() for name in FOLDERS):
        return resolved.parent, resolved.name
    return path, ""


@dataclass(slots=True)
class _Spooling:
    sizes: dict[str, int] = field(default_factory=dict)
    offsets: dict[str, int] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    end: int = 0


def _open_archive(path: Path, limits: ArchiveLimits) -> ArchiveTree:
    spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed by the tree
    state = _Spooling()
    try:
        for member, stream in iter_members(path, limits=limits):
            _spool_member(state, spool, member, stream)
    except BaseException:
        spool.close()
        raise
    return ArchiveTree(state.sizes, tuple(state.ignored), tuple(state.notes), spool, state.offsets)


def _spool_member(state: _Spooling, spool: IO[bytes], member: TarMember, stream: MemberStream | None) -> None:
    safe = safe_member_path(member.name)
    if stream is None:
        if member.kind != "folder":
            state.notes.append((member.name, f"is a {member.kind} in the archive and was not followed"))
        return
    if safe is None:
        state.notes.append((member.name, "has an unsafe name in the archive and was left out"))
        return
    relative = _relative_to_data(safe)
    if family_of(relative) is None:
        state.ignored.append(relative)
    elif relative in state.sizes:
        state.notes.append((member.name, f"is a second file for {relative} in the archive; the first one counts"))
    else:
        state.sizes[relative], state.offsets[relative] = member.size, state.end
        state.end += _copy(stream, spool, member)


def _copy(stream: MemberStream, spool: IO[bytes], member: TarMember) -> int:
    written = 0
    while block := stream.read(_COPY_BYTES):
        spool.write(block)
        written += len(block)
    if written != member.size:
        raise InputError(f"the archive ends inside {member.name!r}", remedy="Download it again")
    return written


def _relative_to_data(path: PurePosixPath) -> str:
    """Drop what leads to the data folder: "ImageNetV2-master/data/metadata/x.json" -> "metadata/x.json"."""
    parts = path.parts
    after_data = [i for i in range(1, len(parts) - 1) if parts[i - 1] == "data" and parts[i] in FOLDERS]
    at_start = [i for i in range(min(2, len(parts) - 1)) if parts[i] in FOLDERS]
    for start in (*after_data, *at_start):
        return "/".join(parts[start:])
    return path.as_posix()


class _Window(io.RawIOBase):
    """A slice of the spool as a file of its own."""

    def __init__(self, spool: IO[bytes], start: int, size: int) -> None:
        super().__init__()
        self._spool, self._at, self._end = spool, start, start + size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._spool.seek(self._at)
        data = self._spool.read(min(len(buffer), self._end - self._at))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
