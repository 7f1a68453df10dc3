"""The file of a large study is kept in memory where that is free, and nobody notices where it is not."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from retest.store import Database
from retest.store.residence import FileInMemory

pytestmark = pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="this system takes no advice on files")


def test_the_whole_file_is_asked_for_and_no_more_than_the_memory_takes(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(bytes(3_000_000))
    asked = []
    monkeypatch.setattr(os, "posix_fadvise", lambda descriptor, start, length, advice: asked.append((start, length, advice)))
    small, large = FileInMemory(path, available=lambda: 4_000_000), FileInMemory(path, available=lambda: 5_000_000)
    assert not small.ask_for()
    assert asked == []
    assert large.ask_for()
    assert [start for start, _, _ in asked] == list(range(0, 3_000_000, asked[0][1]))
    assert {advice for _, _, advice in asked} == {os.POSIX_FADV_WILLNEED}
    asked.clear()
    assert large.ask_for(stop=lambda: True)
    assert asked == []
    small.close()
    large.close()


def _open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def test_it_stays_open_until_the_database_is_closed(database):
    database._file = database._file and FileInMemory(database._file._path, available=lambda: 2**40)
    before = _open_files()
    kept = [database.keep_in_memory() for _ in range(3)]
    after = _open_files()
    on_sqlite = database.engine.dialect.name == "sqlite"
    assert kept == [on_sqlite] * 3  # a database server looks after its own memory
    assert after - before <= 1


def test_locks_of_the_database_outlive_it(sqlite_database):
    sqlite_database._file = FileInMemory(sqlite_database._file._path, available=lambda: 2**40)
    path = sqlite_database.engine.url.database
    # Without the log, locks lie on the file itself: closing any descriptor of it would end them.
    with sqlite3.connect(path) as plain:
        plain.execute("PRAGMA journal_mode = DELETE")
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    assert sqlite_database.keep_in_memory()
    code = f"import sqlite3; sqlite3.connect({path!r}, timeout=0, isolation_level=None).execute('BEGIN IMMEDIATE')"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "database is locked" in found.stderr
    holder.close()


def test_a_file_that_cannot_be_opened_is_no_error(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'gone' / 'study.db'}")
    assert not database.keep_in_memory()
    database.close()
