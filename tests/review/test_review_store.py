"""Addresses of databases that are none, and two processes that meet in a new one."""

import sqlite3

import pytest

from retest.errors import StoreError
from retest.store import Database
from retest.store.engine import _use_wal


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:secret@host:99999x/name",
        "postgresql+psycopg://user:secret@[::1/name",
        "nosuch://user:secret@host/name",
        "study.db",
        "",
    ],
)
def test_an_address_that_is_none_is_refused_without_its_password(url):
    with pytest.raises(StoreError, match=r"sqlite:///FILE") as caught:
        Database(url)
    assert "secret" not in str(caught.value)


class Contended:
    """A connection whose first switches to WAL meet another process's lock, for which SQLite does not wait."""

    def __init__(self, failures: int, message: str = "database is locked") -> None:
        self.failures, self.message, self.done = failures, message, False

    def execute(self, _statement: str) -> None:
        if self.failures:
            self.failures -= 1
            raise sqlite3.OperationalError(self.message)
        self.done = True


def test_the_switch_to_wal_waits_for_another_process():
    connection = Contended(3)
    _use_wal(connection)
    assert connection.done


def test_other_faults_of_the_switch_are_not_waited_for():
    with pytest.raises(sqlite3.OperationalError, match="disk I/O"):
        _use_wal(Contended(1, "disk I/O error"))
