"""What a review of the command line found: exit codes, inputs that were silently ignored, faults reported as bugs of ours."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image


def run(*arguments, cwd=None):
    return subprocess.run([sys.executable, "-m", "retest", *map(str, arguments)], capture_output=True, text=True, cwd=cwd)


def write_images(folder: Path, classes: dict[str, int], *, number: int = 2) -> None:
    """``number`` images per class, of the class's grey level."""
    for wnid, level in classes.items():
        (folder / wnid).mkdir(parents=True, exist_ok=True)
        for index in range(number):
            Image.new("L", (40, 30), level + index).save(folder / wnid / f"{index}.png")


@pytest.fixture
def benchmark(tmp_path):
    """A study with a registered benchmark whose images are not stored yet."""
    write_images(tmp_path / "val", {"a": 10, "b": 200})
    assert run("init", tmp_path / "s", "--val", tmp_path / "val").returncode == 0
    assert run("benchmark", "--study", tmp_path / "s").returncode == 0
    return tmp_path / "s"


def test_a_check_with_findings_fails(benchmark):
    done = run("check", "--study", benchmark, "--json")
    assert json.loads(done.stdout)["ok"] is False
    assert done.returncode == 1


def test_an_incomplete_sample_fails(benchmark):
    done = run("sample", "threshold", "--study", benchmark, "--name", "a-1")
    assert "incomplete" in done.stderr
    assert done.returncode == 1
