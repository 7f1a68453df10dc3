"""Where the published data lie, when they are here; a tiny clone of them; and a server to download from."""

from __future__ import annotations

from pathlib import Path

import pytest
from download_server import running_server
from layout_tree import write_tree

from retest.benchmarks.imagenetv2 import PublishedData

SHARED = Path(__file__).resolve().parents[3] / "shared"


@pytest.fixture(scope="session")
def published() -> Path:
    """The part of the public repository that is kept beside the checkout."""
    folder = SHARED / "imagenetv2"
    if not (folder / "data").is_dir():
        pytest.skip("the published data are not beside the repository (../shared/imagenetv2)")
    return folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A tiny clone of the published repository with every known trap; nothing may change it."""
    return write_tree(tmp_path_factory.mktemp("clone"))


@pytest.fixture
def data(tree) -> PublishedData:
    """What is read from it."""
    return PublishedData(tree)


@pytest.fixture
def server():
    """Downloads come from here; see ``download_server.py``."""
    with running_server() as instance:
        yield instance
