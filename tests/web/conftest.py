"""One small study per module, copied for the tests."""

from __future__ import annotations

import shutil

import pytest
from web_server import ServeThread, make_study


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fruit")
    make_study(folder)
    return folder


@pytest.fixture
def study(made, tmp_path):
    """A planned study, 4 HITs of 4 images and 2 + 2 controls, 3 annotators each."""
    shutil.copytree(made / "study", tmp_path / "study")
    return tmp_path / "study"


@pytest.fixture
def server(study):
    with ServeThread(study) as running:
        yield running
