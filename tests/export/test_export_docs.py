"""Every command and every Python block of docs/publishing.md runs, in its order, in one folder."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from retest.cli import cli

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/publishing.md"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_every_command_and_example_runs(study_folder, tmp_path, monkeypatch):
    datasets, _, _ = (pytest.importorskip(name) for name in ("datasets", "webdataset", "mlcroissant"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    spec = importlib.util.spec_from_file_location("export_layout_tree", ROOT / "tests/benchmarks/layout_tree.py")
    layout_tree = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(layout_tree)
    layout_tree.write_tree(tmp_path / "ImageNetV2")
    shutil.copytree(study_folder, tmp_path / "my-study")
    (tmp_path / "counts.json").write_text(blocks("json")[0])
    monkeypatch.chdir(tmp_path)
    commands = [line for block in blocks("bash") for line in block.splitlines()]
    assert len(commands) > 20
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "retest", command
        done = CliRunner().invoke(cli, arguments)
        assert done.exit_code == 0, (command, done.output, done.exception)
    examples = blocks("python")
    assert len(examples) == 3
    for code in examples:
        exec(compile(code, str(PAGE), "exec"), {})
