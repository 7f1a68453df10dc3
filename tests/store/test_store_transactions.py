"""Transactions: all or nothing, a steady view for readers, nothing lost between processes, and errors that help."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
import store_records as make

from forked import PROCESSES
from ordinary_user import without_privileges
from retest.errors import ConflictError, StoreError
from retest.store import Database, engine


@pytest.fixture(scope="module", autouse=True)
def wait_for_the_disk(no_disk_is_waited_for):
    """Here databases are opened as studies are."""
    hasty, engine._prepare_sqlite = engine._prepare_sqlite, no_disk_is_waited_for
    yield
    engine._prepare_sqlite = hasty


def test_an_error_within_a_transaction_undoes_all_of_it(database: Database):
    with database.write() as tables:
        tables.revisions.add(make.revision())
    before_generations = _generations(database)

    def fail() -> None:
        with database.write() as tables:
            tables.candidates.add([make.candidate(1)])
            tables.decisions.add(time=make.TIME, user="u", kind="k", item="i")
            tables.revisions.add(make.revision(images=1))

    with pytest.raises(ConflictError):
        fail()
    with database.read() as tables:
        assert (tables.candidates.count(), tables.decisions.count()) == (0, 0)
    assert _generations(database) == before_generations


def _generations(database: Database) -> dict[str, int]:
    with database.read() as tables:
        return tables.generations.of("candidates", "revisions", "revision_images")


def test_a_reader_keeps_its_view_while_others_write(database: Database):
    with database.write() as tables:
        tables.candidates.add([make.candidate(1)])
    with database.read() as reader:
        assert reader.candidates.count() == 1
        with database.write() as writer:
            writer.candidates.add([make.candidate(2)])
            assert writer.candidates.count() == 2
        assert reader.candidates.count() == 1
        assert [c.id for c in reader.candidates.all()] == [make.candidate(1).id]
    with database.read() as reader:
        assert reader.candidates.count() == 2


def test_sqlite_is_set_up_for_safety(sqlite_database: Database):
    with sqlite_database.read() as tables:
        value = {name: tables.connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")}
    assert value == {"journal_mode": "wal", "synchronous": 2}


def _write_many(url: str, name: str, start: Barrier) -> None:
    database = Database(url)
    start.wait()
    for number in range(60):
        with database.write() as tables:
            count = tables.settings.get("counter") or 0
            tables.originals.add([make.original(int(name) * 1000 + number), make.original(number)])
            tables.decisions.add(time=make.TIME, user=name, kind="k", item=str(number))
            tables.settings.put("counter", count + 1)
        with database.read() as tables:
            tables.originals.counts()
    database.close()


def test_processes_that_write_at_once_lose_nothing(database: Database, database_url: str):
    """Read, then write in one transaction: without taking the lock first, increments would be lost or deadlock."""
    start = PROCESSES.Barrier(3)
    processes = [PROCESSES.Process(target=_write_many, args=(database_url, name, start)) for name in "123"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    with database.read() as tables:
        assert tables.settings.get("counter") == 180
        assert tables.originals.counts() == {"val": 3 * 60 + 60}
        assert [d["user"] for d in tables.decisions.all() if d["item"] == "59"] != []
        for name in "123":
            mine = [int(d["item"]) for d in tables.decisions.all() if d["user"] == name]
            assert mine == list(range(60))


def _write_forever(url: str, told: Connection) -> None:
    database = Database(url)
    number = 0
    while True:
        with database.write() as tables:
            tables.originals.add(make.original(10 * number + digit) for digit in range(10))
            tables.settings.put("last", number)
        told.send(number)  # committed: must survive whatever happens now
        number += 1


@pytest.mark.parametrize("after", [0, 1, 3, 7])
def test_a_killed_writer_leaves_whole_transactions_and_all_that_it_confirmed(database: Database, database_url: str, after: int):
    told, far_end = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=_write_forever, args=(database_url, far_end))
    process.start()
    far_end.close()
    while (confirmed := told.recv()) < after:
        pass
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    try:
        while True:
            confirmed = told.recv()
    except EOFError:
        pass
    with database.write() as tables:
        last = tables.settings.get("last")
        assert confirmed <= last <= confirmed + 1
        assert tables.originals.counts() == {"val": 10 * (last + 1)}
        if database_url.startswith("sqlite"):
            assert tables.connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"


# ------------------------------------------------------------------------------------------------------------------ errors


def test_a_lock_that_is_held_for_long(database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine, "_BUSY_TIMEOUT_S", 0.05)
    impatient = Database(database_url)
    message = r"(locked.*Another process holds the database|lock timeout.*Another process writes to the study) .*wait for it or stop it"
    with database.write(), pytest.raises(StoreError, match=message), impatient.write():
        raise AssertionError("got a lock that somebody else holds")
    with database.write():  # opening a study and looking at it need no lock
        impatient.upgrade()
        with impatient.read() as tables:
            assert tables.candidates.count() == 0
    with impatient.write() as tables:
        assert tables.candidates.add([make.candidate(1)]) == 1
    impatient.close()


def test_what_is_no_database(tmp_path: Path):
    (tmp_path / "study.db").write_bytes(b"<!DOCTYPE html>" * 100)
    with pytest.raises(StoreError, match=r"study\.db.*restore it from a backup"):
        Database(f"sqlite:///{tmp_path / 'study.db'}").upgrade()


def test_a_database_without_tables(tmp_path: Path):
    database = Database(f"sqlite:///{tmp_path / 'study.db'}")
    with pytest.raises(StoreError, match=r"no such table.*Run retest status"), database.read() as tables:
        tables.candidates.count()


def test_a_folder_that_does_not_exist(tmp_path: Path):
    with pytest.raises(StoreError, match=r"unable to open database file.*folder exists"):
        Database(f"sqlite:///{tmp_path / 'absent/study.db'}").upgrade()


@pytest.mark.parametrize(
    "url", ["", "nonsense", "nosuchsql:///x", "postgresql+nosuchdriver://x/y", "sqlite+nosuch:///x", "mysql+pymysql://x/y", "oracle://x"]
)
def test_a_url_that_nothing_understands(url: str):
    with pytest.raises(StoreError, match="sqlite:///FILE or postgresql"):
        Database(url)


def test_a_password_is_never_shown():
    with pytest.raises(StoreError) as caught:
        Database("postgresql+nosuchdriver://user:secret@host/name")
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(caught.value.__cause__)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach (pytest's own cannot be)."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_a_read_only_study_can_be_read_and_says_why_it_cannot_be_written(open_folder: Path):
    writable = Database(f"sqlite:///{open_folder / 'study.db'}")
    writable.upgrade()
    with writable.write() as tables:
        tables.candidates.add([make.candidate(1)])
    writable.close()
    (open_folder / "study.db").chmod(0o444)
    open_folder.chmod(0o555)
    try:
        with without_privileges():
            database = Database(f"sqlite:///{open_folder / 'study.db'}")
            with pytest.raises(StoreError, match="Check the permissions of the file and of its folder"), database.write() as tables:
                tables.candidates.add([make.candidate(2)])
            database.close()
    finally:
        open_folder.chmod(0o755)


@pytest.mark.skipif(os.name != "posix", reason="needs mount")
def test_a_full_disk_keeps_what_was_committed(open_folder: Path):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(open_folder)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"mounting a small file system is not permitted here: {mounted.stderr.decode().strip()}")
    try:
        database = Database(f"sqlite:///{open_folder / 'study.db'}")
        database.upgrade()
        committed: list[int] = []

        def fill() -> None:
            for number in range(1000):
                with database.write() as tables:
                    tables.originals.add(make.original(100 * number + digit) for digit in range(100))
                committed.append(number)

        with pytest.raises(StoreError, match="Free some space and run the same command again"):
            fill()
        assert committed
        with database.read() as tables:
            assert tables.originals.counts() == {"val": 100 * len(committed)}
        database.close()
        with sqlite3.connect(f"file:{open_folder / 'study.db'}?mode=ro", uri=True) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
    finally:
        subprocess.run(["umount", "--lazy", str(open_folder)], check=True)


def test_a_writer_waits_while_another_process_writes(database: Database, database_url: str):
    """What :func:`test_a_lock_that_is_held_for_long` shortens: SQLite's own driver would give up after five seconds."""
    if not database_url.startswith("sqlite"):
        pytest.skip("about SQLite's lock on a file")
    with database.read() as tables:
        assert tables.connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 60_000
    path = database_url.removeprefix("sqlite:///")
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    lock = threading.Timer(0.4, other.rollback)
    lock.start()
    with database.write() as tables:  # without waiting: "database is locked"
        assert tables.candidates.add([make.candidate(1)]) == 1
    lock.join()
    other.close()
