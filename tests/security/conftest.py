"""One small study with images for all tests that need a server; each gets a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import security_server  # noqa: F401 puts the way to review_server on the path
from review_server import make_review_study


@pytest.fixture(scope="session")
def fruit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_review_study(tmp_path_factory.mktemp("security"))


@pytest.fixture
def folder(fruit: Path, tmp_path: Path) -> Path:
    shutil.copytree(fruit, tmp_path / "study")
    return tmp_path / "study"
