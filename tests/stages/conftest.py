"""Fresh tiny studies per test: empty, ready to be labelled, ready to be sampled."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import stage_studies as tiny

from retest.study import Study, open_study


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Study]:
    """Settings and pictures; no stage has run."""
    made = tiny.make_study(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Studies that are made once and copied."""
    folder = tmp_path_factory.mktemp("templates")
    for name, prepare in (("labelled", tiny.ready_to_label), ("sampled", tiny.ready_to_sample)):
        prepare(tiny.make_study(folder / name)).close()
    return folder


@pytest.fixture
def ready(templates: Path, tmp_path: Path) -> Iterator[Study]:
    """All images are stored and published."""
    yield from _copy(templates / "labelled", tmp_path)


@pytest.fixture
def complete(templates: Path, tmp_path: Path) -> Iterator[Study]:
    """All images are labelled, compared and reviewed as well."""
    yield from _copy(templates / "sampled", tmp_path)


def _copy(template: Path, folder: Path) -> Iterator[Study]:
    shutil.copytree(template, folder, dirs_exist_ok=True)
    opened = open_study(folder / "study")
    yield opened
    opened.close()
