"""Reading tar archives from outside without trusting them.

Nothing here calls ``extractall``: members are read one after another from a single sequential pass, and only regular
files are ever written, under names that were checked, with plain permissions, into a folder that did not exist before.
The compression is recognised from the first bytes, because released archives named ``.tar.gz`` are plain tar.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import secrets
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from retest.errors import InputError
from retest.settings import check_count, plain_numbers

__all__ = ["ArchiveLimits", "MemberStream", "TarMember", "iter_members", "safe_member_path", "unpack"]

_COPY_BYTES = 1 << 20
_HEADER_BYTES = 1 << 20
_EXTENDED_HEADERS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_BROKEN = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
@plain_numbers
class ArchiveLimits:
    """What an archive may at most contain; beyond it, reading stops with an error.

    Raises:
        ConfigError: a limit is below 1.
    """

    max_members: int = field(default=200_000, metadata={"help": "most members (files, folders) in an archive"})
    max_total_bytes: int = field(default=8 << 30, metadata={"help": "most bytes of the whole archive after decompression"})
    max_member_bytes: int = field(default=2 << 30, metadata={"help": "most bytes of one file in an archive"})

    def __post_init__(self) -> None:
        for name in ("max_members", "max_total_bytes", "max_member_bytes"):
            check_count(name, getattr(self, name), low=1, remedy="Leave the default or raise it")


@dataclass(frozen=True, slots=True)
class TarMember:
    """One member: ``kind`` is "file", "folder" or what else it is ("symbolic link", "device" ...); ``size`` in bytes."""

    name: str
    kind: str
    size: int


DEFAULT_LIMITS = ArchiveLimits()


class _HeaderGuard(tarfile.TarInfo):
    """Refuses what tarfile would accept: extended headers of absurd size (it reads them as a whole), and a cut header as the end."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> _HeaderGuard:
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.TruncatedHeaderError as error:  # type: ignore[attr-defined]
            raise EOFError("it ends inside a header") from error

    # The one step that every header passes in every Python: newer releases no longer call `frombuf`.
    def _proc_member(self, tarfile_: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _EXTENDED_HEADERS and self.size > _HEADER_BYTES:
            raise InputError(f"has an extended header of {self.size} bytes", item="archive", remedy="Do not use this archive")
        found: tarfile.TarInfo = super()._proc_member(tarfile_)  # type: ignore[misc]
        return found


class _Counted:
    """A readable that stops after ``limit`` bytes: the guard against decompression bombs."""

    def __init__(self, stream: IO[bytes], limit: int, item: str) -> None:
        self._stream, self._left, self._limit, self._item = stream, limit, limit, item

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise InputError(
                f"holds more than {self._limit} bytes after decompression",
                item=self._item,
                remedy="Use the original archive; if it really is this large, raise max_total_bytes",
            )
        return data


class MemberStream:
    """The bytes of one file of an archive; ``read`` raises InputError where the archive is damaged."""

    def __init__(self, stream: IO[bytes], item: str) -> None:
        self._stream, self._item = stream, item

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, b"" at the end."""
        try:
            return self._stream.read(size)
        except _BROKEN as error:
            raise _damaged(self._item, error) from error


def iter_members(path: Path, *, limits: ArchiveLimits = DEFAULT_LIMITS) -> Iterator[tuple[TarMember, MemberStream | None]]:
    """Yield each member of a tar archive (plain, gzip, bzip2 or xz) with a stream of its bytes (files only), in one pass.

    A stream is only valid until the next member is asked for. Names are as in the archive: check them with
    :func:`safe_member_path`.

    Raises:
        InputError: the file is no tar archive, is damaged or incomplete, or exceeds a limit.
    """
    try:
        raw = path.open("rb")
    except OSError as error:
        raise InputError(f"cannot be opened ({error.strerror})", item=str(path), remedy="Check the path") from error
    with raw:
        try:
            plain = _decompressed(raw, path.name)
            counted = cast(IO[bytes], _Counted(plain, limits.max_total_bytes, path.name))
            with tarfile.open(fileobj=counted, mode="r|", tarinfo=_HeaderGuard) as tar:
                yield from _checked_members(tar, limits, path.name)
        except _BROKEN as error:
            raise _damaged(path.name, error) from error


def safe_member_path(name: str) -> PurePosixPath | None:
    """The relative path that a member name stands for, or None when it is absolute, climbs upwards or is otherwise unsafe."""
    if "\\" in name or "\0" in name or name.startswith("/") or name[1:2] == ":":
        return None
    path = PurePosixPath(name)
    return None if ".." in path.parts or not path.parts else path


def unpack(
    archive: Path | str,
    target: Path | str,
    *,
    limits: ArchiveLimits = DEFAULT_LIMITS,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Unpack ``archive`` into the new folder ``target``; all or nothing.

    The archive is refused as a whole when a member is a link, a device or anything but a file or a folder, when a name
    is absolute or climbs upwards, or when two members have the same name. Permissions, owners and times are not taken
    over. ``progress`` is called with the bytes written since the last call.

    Returns:
        the number of files written.

    Raises:
        InputError: as above and as :func:`iter_members`; ``target`` is not created then.
    """
    archive, target = Path(archive), Path(target)
    if target.exists():
        raise InputError("already exists", item=str(target), remedy="Move it away or unpack elsewhere")
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}-unpacking-{secrets.token_hex(4)}")
    scratch.mkdir()
    try:
        count = 0
        for member, stream in iter_members(archive, limits=limits):
            place = _place(scratch, member, archive.name)
            if stream is None:
                _make_folder(place, member, archive.name)
            else:
                _write(place, stream, member, archive.name, progress)
                count += 1
        scratch.replace(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return count


def _damaged(item: str, error: Exception) -> InputError:
    return InputError(f"the archive is damaged or incomplete ({error})", item=item, remedy="Download it again")


def _decompressed(raw: IO[bytes], item: str) -> IO[bytes]:
    start = raw.read(512)
    raw.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw))
    if start.startswith(b"BZh"):
        return cast(IO[bytes], bz2.BZ2File(raw))
    if start.startswith(b"\xfd7zXZ\0"):
        return cast(IO[bytes], lzma.LZMAFile(raw))
    if start.lstrip()[:1] == b"<":
        raise InputError("is a web page, not an archive", item=item, remedy="The download failed; download it again")
    if len(start) < 512 or start[257:262] != b"ustar":
        raise InputError("is not a tar archive", item=item, remedy="Give a .tar or .tar.gz file, or an unpacked folder")
    return raw


def _checked_members(tar: tarfile.TarFile, limits: ArchiveLimits, item: str) -> Iterator[tuple[TarMember, MemberStream | None]]:
    count = 0
    while (info := tar.next()) is not None:
        count += 1
        if count > limits.max_members:
            problem = f"has more than {limits.max_members} members"
            raise InputError(problem, item=item, remedy="Use the original archive or raise max_members")
        member = TarMember(info.name, _kind(info), info.size)
        if member.kind == "file" and member.size > limits.max_member_bytes:
            raise InputError(
                f"the member {info.name!r} has {info.size} bytes, more than {limits.max_member_bytes}",
                item=item,
                remedy="Use the original archive or raise max_member_bytes",
            )
        stream = tar.extractfile(info) if member.kind == "file" else None
        yield member, None if stream is None else MemberStream(stream, item)
        cast(Any, tar).members.clear()  # tarfile would keep every header of the archive in memory


def _kind(info: tarfile.TarInfo) -> str:
    if info.issparse():
        return "sparse file"
    if info.isreg():
        return "file"
    if info.isdir():
        return "folder"
    if info.issym():
        return "symbolic link"
    return "hard link" if info.islnk() else "device or special file"


def _place(root: Path, member: TarMember, item: str) -> Path:
    if member.kind not in ("file", "folder"):
        raise InputError(f"holds a {member.kind} ({member.name!r})", item=item, remedy="Do not unpack this archive")
    relative = safe_member_path(member.name)
    if relative is None and member.kind == "folder" and PurePosixPath(member.name) == PurePosixPath():
        return root
    if relative is None or (os.name == "nt" and ":" in member.name):
        raise InputError(f"holds the unsafe name {member.name!r}", item=item, remedy="Do not unpack this archive")
    return root.joinpath(*relative.parts)


def _make_folder(place: Path, member: TarMember, item: str) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise _clash(member, item) from error


def _write(place: Path, stream: MemberStream, member: TarMember, item: str, progress: Callable[[int], None] | None) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        out: Any = place.open("xb")
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise _clash(member, item) from error
    written = 0
    with out:
        while block := stream.read(_COPY_BYTES):
            out.write(block)
            written += len(block)
            if progress is not None:
                progress(len(block))
    if written != member.size:
        raise InputError(f"ends inside {member.name!r}", item=item, remedy="Download it again")


def _clash(member: TarMember, item: str) -> InputError:
    return InputError(f"holds two members for the place {member.name!r}", item=item, remedy="Do not unpack this archive")
