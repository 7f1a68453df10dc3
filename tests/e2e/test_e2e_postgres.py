"""The whole main job on PostgreSQL ends with what it ends with on SQLite: rows, test sets, predictions, report."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from e2e_demo_run import DemoRun

from retest.cli import cli
from retest.study import open_study
from retest.testing.database import canonical_dump, canonical_predictions, differences
from retest.testing.postgres import postgres_missing, postgres_server

pytestmark = [pytest.mark.xdist_group("demo"), pytest.mark.long]


def content(out: Path) -> dict[str, list[str]]:
    with closing(open_study(out / "study")) as study:
        return {
            "rows": canonical_dump(study, places={str(out): "OUT"}),
            "predictions": canonical_predictions(study),
            "blobs": [f"{key} {size}" for key, size in study.blobs.list()],
        }


def figures(out: Path) -> object:
    done = CliRunner().invoke(cli, ["accuracy", "--study", str(out / "study"), "--json"], catch_exceptions=False)
    return json.loads(done.output)["rows"]


def test_the_demo_on_postgresql_is_the_demo_on_sqlite(demo: DemoRun, tmp_path: Path):
    if reason := postgres_missing():
        pytest.skip(reason)
    with postgres_server() as server:
        url = server.create(empty=True)
        arguments = ["demo", "--small", "--out", str(tmp_path / "demo"), "--database", url]
        done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert not list((tmp_path / "demo").rglob("study.db"))  # it is on the server
        expected, found = content(demo.out), content(tmp_path / "demo")
        for part, lines in expected.items():
            assert lines, part
            assert differences(lines, found[part]) == [], part
        assert figures(tmp_path / "demo") == figures(demo.out) != []
        assert (tmp_path / "demo/report.html").read_bytes() == (demo.out / "report.html").read_bytes()
