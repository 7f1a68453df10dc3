"""A study on disk with given facts, and the command line in this process."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from retest.cli import cli
from retest.study import StudyConfig, StudySettings, create_study
from retest.testing.synthetic import SyntheticFacts, fill_study

# The literal transcription of the rules, and the makers of random little studies, belong to the tests of the pure room.
sys.path.append(str(Path(__file__).resolve().parents[1] / "sampling"))


class Cli:
    """``run("sample", ...)`` -> parsed JSON or text; ``failing`` -> the failed result."""

    def __init__(self, study: Path) -> None:
        self.study = study

    def run(self, *arguments, code=0):
        done = CliRunner().invoke(cli, [*map(str, arguments), "--study", str(self.study)])
        assert done.exit_code == code, (done.output, done.exception)
        return json.loads(done.stdout) if "--json" in arguments else done.output

    def failing(self, *arguments):
        done = CliRunner().invoke(cli, [*map(str, arguments), "--study", str(self.study)])
        assert done.exit_code != 0, done.output
        return done


@pytest.fixture
def make_study(tmp_path):
    def make(facts: SyntheticFacts, name="study") -> Cli:
        with closing(create_study(tmp_path / name, StudyConfig(study=StudySettings(name=name)))) as study:
            fill_study(study, facts)
        return Cli(tmp_path / name)

    return make
