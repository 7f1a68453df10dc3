"""One undisturbed run of the reduced demo, shared by the end-to-end tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from e2e_demo_run import DemoRun, run_small_demo

# The literal transcriptions of the rules lie beside the tests of their rooms.
sys.path += [str(Path(__file__).parents[1] / room) for room in ("sampling", "duplicates")]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    """Nothing may change what this run left behind; running it again is allowed, since that changes nothing."""
    return run_small_demo(tmp_path_factory.mktemp("demo"))
