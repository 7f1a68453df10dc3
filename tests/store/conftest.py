"""A fresh study database per test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from retest.store import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path / 'study.db'}")
    opened.upgrade()
    yield opened
    opened.close()
