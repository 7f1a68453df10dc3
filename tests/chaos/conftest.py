"""The undisturbed run that every disturbed one must equal."""

from __future__ import annotations

import chaos_script
import pytest
import stage_studies as tiny
from chaos_worker import Undisturbed, run


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    tiny.write_benchmark(folder)
    steps = {}
    for name in chaos_script.STEPS:
        done = run(folder, name)
        assert done.error is None, (name, done.error)
        assert not done.killed
        steps[name] = done.steps
    return Undisturbed(folder, steps, chaos_script.content(folder))
