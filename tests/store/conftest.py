"""A fresh study database per test, on every kind that a study may live in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from retest.store import Database


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a fresh database with tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'study.db'}"
        return
    server = request.getfixturevalue("postgres")
    url = server.create()
    yield url
    server.give_back(url)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    opened.upgrade()
    yield opened
    opened.close()


@pytest.fixture
def sqlite_database(tmp_path: Path) -> Iterator[Database]:
    """A fresh study database in the file study.db, for what only SQLite has."""
    opened = Database(f"sqlite:///{tmp_path / 'study.db'}")
    opened.upgrade()
    yield opened
    opened.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_urls(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Makes addresses of fresh databases without tables."""
    made: list[str] = []
    server = None if request.param == "sqlite" else request.getfixturevalue("postgres")

    def make() -> str:
        made.append(f"sqlite:///{tmp_path / f'{len(made)}.db'}" if server is None else server.create(empty=True))
        return made[-1]

    yield make
    for url in made:
        if server is not None:
            server.drop(url)
