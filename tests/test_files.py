"""Files that are either old or new, whatever happens while they are written."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from forked import PROCESSES
from ordinary_user import without_privileges
from retest.errors import InputError, StoreError
from retest.files import file_hash, files_below, open_atomic, refuse_left_out, remove_leftovers, write_atomic


def test_an_atomic_write_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match=r"No space left.*Free some space and run the same command again"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"


def _write_forever(folder: Path, told: Connection) -> None:
    number = 0
    while True:
        for name in ("a", "b"):
            write_atomic(folder / name, (f"{number:06d}" * 50_000).encode())
        told.send(number)
        number += 1


def test_a_killed_writer_leaves_whole_files_and_leftovers_can_be_removed(tmp_path: Path):
    folder = tmp_path / "class"
    folder.mkdir()
    for after in range(4):
        told, far_end = PROCESSES.Pipe(duplex=False)
        process = PROCESSES.Process(target=_write_forever, args=(folder, far_end))
        process.start()
        far_end.close()
        while told.recv() < after:
            pass
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        for name in ("a", "b"):
            data = (folder / name).read_bytes()
            assert len(data) == 300_000
            assert data == data[:6] * 50_000
    for name in (".b.4711.tmp", ".b.4711-0a1b2c3d.tmp"):  # the first as earlier versions left them
        (folder / name).write_bytes(b"par")
    (folder / ".hidden.tmp").write_bytes(b"mine")
    (folder / "notes.4711.tmp").write_bytes(b"mine")
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == [".hidden.tmp", "a", "b", "notes.4711.tmp"]


def test_an_interrupted_block_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def interrupted() -> None:
        with open_atomic(path, durable=True) as file:
            file.write(b"half of the new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_threads_that_write_one_file_leave_one_of_both_whole(tmp_path: Path):
    path, both = tmp_path / "file", threading.Barrier(2, timeout=60)

    def write(byte: bytes) -> None:
        with open_atomic(path) as file:
            both.wait()
            for _ in range(100):
                file.write(byte * 1000)
            both.wait()

    threads = [threading.Thread(target=write, args=(byte,)) for byte in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in {b"a" * 100_000, b"b" * 100_000}
    assert list(tmp_path.iterdir()) == [path]


def test_parent_folders_are_made_for_what_must_last_and_missed_otherwise(tmp_path: Path):
    with open_atomic(tmp_path / "a/b/file", durable=True) as file:
        file.write(b"x")
    assert (tmp_path / "a/b/file").read_bytes() == b"x"
    with pytest.raises(StoreError, match=r"gone/file: cannot be written \(No such file or directory\)\. Check the path"):
        write_atomic(tmp_path / "gone/file", b"x")


def test_the_hash_of_a_file_is_its_sha256_and_one_that_cannot_be_read_is_named(tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert file_hash(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4, example 1
    with pytest.raises(InputError, match=r"gone: the weights file cannot be read \(No such file"):
        file_hash(tmp_path / "gone", what="the weights file")


def listed(folder: Path, **options: object) -> tuple[list[str], list[tuple[str, str]]]:
    told: list[tuple[str, str]] = []
    found = files_below(
        folder, skip=lambda name: name == ".git", left_out=lambda p, why: told.append((p.relative_to(folder).as_posix(), why)), **options
    )
    return [path.relative_to(folder).as_posix() for path in found], told


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """Real folders a and b, links between them and to themselves, and two links to a folder elsewhere, which leads back."""
    root = tmp_path / "root"
    for name in ("root/a/1", "root/b/2", "root/.git/3", "away/deep/4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for place, target in (("a/more", "../b"), ("a/up", ".."), ("a/me", "me"), ("a/gone", "nowhere"), ("b/.git", "../a")):
        (root / place).symlink_to(target)
    (root / "first").symlink_to(tmp_path / "away")
    (root / "second").symlink_to(tmp_path / "away")
    (tmp_path / "away/deep/back").symlink_to(root)
    return root


def test_every_file_is_listed_once(linked: Path):
    assert listed(linked) == (["a/1", "a/gone", "a/me", "b/2", "first/deep/4"], [])


def test_links_that_lead_elsewhere_can_be_left_alone(linked: Path):
    why = "is a link that leads elsewhere"
    assert listed(linked, follow_out=False) == (["a/1", "a/gone", "a/me", "b/2"], [("first", why), ("second", why)])


@pytest.mark.parametrize("place", ["root/a/out", "away/deep/out"])
@pytest.mark.parametrize("target", ["/", "", "around"])
def test_a_link_to_what_holds_the_folder_itself_is_refused_by_name(linked: Path, tmp_path: Path, place: str, target: str):
    """Followed, a link to / would bring in every file of the machine."""
    (tmp_path / "around").symlink_to(tmp_path.parent)
    (tmp_path / place).symlink_to(tmp_path / target)
    shown = linked / ("a/out" if place.startswith("root") else "first/deep/out")
    with pytest.raises(InputError, match=rf"^{shown}: is a link to {(tmp_path / target).resolve()}, which holds {linked} itself\. Remove"):
        listed(linked)
    assert "a/1" in listed(linked, follow_out=False)[0]


def test_a_relative_folder_passes_through_nothing_that_it_lies_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The working directory is no part of ``../root``."""
    for name in ("work/one/1", "root/b/2"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    (tmp_path / "root/a").symlink_to(tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    assert listed(Path("../root")) == (["a/one/1", "b/2"], [])
    assert listed(Path("../root/a"), within=Path("../root")) == (["one/1"], [])
    (tmp_path / "root/up").symlink_to(tmp_path)
    with pytest.raises(InputError, match=r"^\.\./root/up: is a link to .*, which holds \.\./root itself"):
        listed(Path("../root"))


def test_a_part_of_a_folder_may_not_lead_to_the_whole(linked: Path, tmp_path: Path):
    """Classes are listed one by one: also one that is itself a link to the folder of all classes, or above."""
    for name, target in (("whole", linked), ("above", tmp_path), ("all", Path("/"))):
        (linked / name).symlink_to(target)
        with pytest.raises(InputError, match=rf"{name}: is a link to {target}, which holds {linked} itself"):
            listed(linked / name, within=linked)
    (linked / "other").symlink_to(linked / "b")
    assert listed(linked / "other", within=linked) == (["2"], [])


def test_folders_that_all_lead_to_each_other_take_no_time(tmp_path: Path):
    for one in range(12):
        (tmp_path / f"{one:02}").mkdir()
        (tmp_path / f"{one:02}" / "file").touch()
        for other in range(12):
            (tmp_path / f"{one:02}" / f"to {other}").symlink_to(f"../{other:02}")
    assert listed(tmp_path)[0] == [f"{one:02}/file" for one in range(12)]


def test_a_link_into_a_closed_folder_is_told():
    with tempfile.TemporaryDirectory() as name:  # not in tmp_path, which is closed to others as a whole
        Path(name).chmod(0o755)
        folder, closed = Path(name) / "folder", Path(name) / "closed"
        (closed / "inner").mkdir(parents=True)
        folder.mkdir()
        (folder / "link").symlink_to(closed / "inner")
        closed.chmod(0)
        try:
            with without_privileges():
                assert listed(folder) == ([], [("link", "cannot be read (Permission denied)")])
                with pytest.raises(InputError, match=r"link: cannot be read \(Permission denied\). Check the folder"):
                    list(files_below(folder, skip=lambda _: False, left_out=refuse_left_out))
        finally:
            closed.chmod(0o755)
