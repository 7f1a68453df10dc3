"""Archives from outside: whatever they hold, nothing lands outside the target, and refused archives leave nothing behind."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import tracemalloc

import pytest

from retest.benchmarks.archives import ArchiveLimits, iter_members, safe_member_path, unpack
from retest.errors import ConfigError, InputError


def tar_bytes(members, *, mode="w", fmt=tarfile.PAX_FORMAT):
    """A tar of (name, content) or ready TarInfo objects."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=fmt) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member, io.BytesIO(b"x" * member.size) if member.isreg() else None)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return buffer.getvalue()


class Zeros:
    """As many zero bytes as asked for."""

    def read(self, size):
        return bytes(size)


def special(name, kind, link=""):
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = link
    return info


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress], ids=["plain", "gzip", "bzip2", "xz"])
def test_unpacks_whatever_the_compression_is_under_any_name(tmp_path, compress):
    """The released archives are named .tar.gz and may be plain tar."""
    archive = tmp_path / "set.tar.gz"
    archive.write_bytes(compress(tar_bytes([("top/0/a.jpeg", b"first"), ("top/10/b.jpeg", b"second" * 1000)])))
    written = []
    assert unpack(archive, tmp_path / "out", progress=written.append) == 2
    assert (tmp_path / "out/top/0/a.jpeg").read_bytes() == b"first"
    assert (tmp_path / "out/top/10/b.jpeg").read_bytes() == b"second" * 1000
    assert sum(written) == 5 + 6000


HOSTILE = {
    "parent": [("../evil", b"x")],
    "deep parent": [("a/b/../../../evil", b"x")],
    "absolute": [("/tmp/evil-absolute", b"x")],
    "backslash": [("a\\..\\evil", b"x")],
    "drive": [("C:/evil", b"x")],
    "symlink": [special("link", tarfile.SYMTYPE, "/etc")],
    "symlink then through it": [special("link", tarfile.SYMTYPE, ".."), ("link/evil", b"x")],
    "hard link": [("a", b"x"), special("b", tarfile.LNKTYPE, "a")],
    "fifo": [special("pipe", tarfile.FIFOTYPE)],
    "character device": [special("null", tarfile.CHRTYPE)],
    "block device": [special("disk", tarfile.BLKTYPE)],
    "sparse": [special("sparse", tarfile.GNUTYPE_SPARSE)],
    "same name twice": [("a", b"x"), ("a", b"y")],
    "same name spelt differently": [("a/b", b"x"), ("./a//b", b"y")],
    "file where a folder is": [("a/b", b"x"), ("a", b"y")],
    "folder where a file is": [("a", b"x"), ("a/b", b"y")],
    "empty name": [special("", tarfile.REGTYPE)],
}


@pytest.mark.parametrize("members", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_archives_are_refused_and_leave_nothing(tmp_path, members):
    inside = tmp_path / "here"
    inside.mkdir()
    archive = inside / "bad.tar"
    archive.write_bytes(tar_bytes([("good.txt", b"fine"), *members], fmt=tarfile.GNU_FORMAT))
    with pytest.raises(InputError) as caught:
        unpack(archive, inside / "out")
    assert "bad.tar" in str(caught.value)
    assert caught.value.remedy
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["bad.tar", "here"]


def test_the_reason_names_the_member(tmp_path):
    archive = tmp_path / "bad.tar"
    archive.write_bytes(tar_bytes([special("innocent", tarfile.SYMTYPE, "/etc/passwd")]))
    with pytest.raises(InputError, match="holds a symbolic link \\('innocent'\\)"):
        unpack(archive, tmp_path / "out")


def test_a_decompression_bomb_stops_at_the_limit_with_little_memory(tmp_path):
    archive = tmp_path / "bomb.tar.gz"
    with gzip.open(archive, "wb", compresslevel=1) as out, tarfile.open(fileobj=out, mode="w|") as tar:
        info = tarfile.TarInfo("zeros")
        info.size = 200 << 20
        tar.addfile(info, Zeros())
    assert archive.stat().st_size < 2 << 20
    tracemalloc.start()
    with pytest.raises(InputError, match="more than 10000000 bytes after decompression"):
        unpack(archive, tmp_path / "out", limits=ArchiveLimits(max_total_bytes=10_000_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 << 20
    assert [path.name for path in tmp_path.iterdir()] == ["bomb.tar.gz"]


def test_a_header_that_claims_gigabytes_is_refused_before_reading_it(tmp_path):
    """tarfile reads extended headers as a whole: a small archive could otherwise ask for any amount of memory."""
    info = tarfile.TarInfo("././@PaxHeader")
    info.type = tarfile.XHDTYPE
    info.size = 1 << 33
    archive = tmp_path / "pax.tar"
    archive.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 1024)
    with pytest.raises(InputError, match=f"extended header of {1 << 33} bytes"):
        unpack(archive, tmp_path / "out")


def test_limits_on_members(tmp_path):
    archive = tmp_path / "many.tar"
    archive.write_bytes(tar_bytes([(f"{number}", b"") for number in range(11)]))
    with pytest.raises(InputError, match="more than 10 members"):
        unpack(archive, tmp_path / "out", limits=ArchiveLimits(max_members=10))
    archive.write_bytes(tar_bytes([("big", b"x" * 101)]))
    with pytest.raises(InputError, match="'big' has 101 bytes, more than 100"):
        unpack(archive, tmp_path / "out", limits=ArchiveLimits(max_member_bytes=100))
    with pytest.raises(ConfigError, match="max_members: must be a whole number of at least 1"):
        ArchiveLimits(max_members=0)


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_cut_archive_is_refused(tmp_path, compress):
    whole = compress(tar_bytes([("a", os.urandom(3000)), ("b", os.urandom(3000))]))
    archive = tmp_path / "cut.tar"
    for cut in (700, 2000, 4000):
        archive.write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"damaged or incomplete|ends inside"):
            unpack(archive, tmp_path / "out")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html>", "web page"),
        (b"", "not a tar archive"),
        (b"PK\x03\x04" * 200, "not a tar archive"),
        (b"\x1f\x8bnonsense", "damaged"),
    ],
)
def test_other_files_are_told_apart(tmp_path, content, message):
    archive = tmp_path / "x.tar.gz"
    archive.write_bytes(content)
    with pytest.raises(InputError, match=message):
        unpack(archive, tmp_path / "out")


def test_missing_file_and_existing_target(tmp_path):
    with pytest.raises(InputError, match="cannot be opened"):
        list(iter_members(tmp_path / "none.tar"))
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="already exists"):
        unpack(tmp_path / "none.tar", tmp_path / "out")


def test_permissions_and_owners_are_not_taken_over(tmp_path):
    info = tarfile.TarInfo("setuid")
    info.mode, info.uid, info.mtime, info.size = 0o6777, 12345, 0, 1
    archive = tmp_path / "x.tar"
    archive.write_bytes(tar_bytes([info]))
    unpack(archive, tmp_path / "out")
    (tmp_path / "plain").write_text("x")
    (tmp_path / "folder").mkdir()
    status = (tmp_path / "out/setuid").stat()
    assert status.st_mode == (tmp_path / "plain").stat().st_mode
    assert status.st_uid == os.getuid()
    assert status.st_mtime > 0
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "folder").stat().st_mode


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/b", "a/b"),
        ("./a/./b", "a/b"),
        ("a/2018-08-06_17:33.json", "a/2018-08-06_17:33.json"),
        ("..", None),
        ("a/../b", None),
        ("/a", None),
        (".", None),
    ],
)
def test_safe_member_path(name, expected):
    path = safe_member_path(name)
    assert (None if path is None else path.as_posix()) == expected
