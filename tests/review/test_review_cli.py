"""What a review of the command line found: exit codes, inputs that were silently ignored, faults reported as bugs of ours."""

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from command_line import run_here
from retest.stages._common import Stamp
from retest.stages.images import store_images
from retest.study import open_study


def run(*arguments, cwd=None):
    """A process of its own, which has nothing imported; ``run_here`` elsewhere."""
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
    assert run_here("init", tmp_path / "s", "--val", tmp_path / "val").returncode == 0
    assert run_here("benchmark", "--study", tmp_path / "s").returncode == 0
    return tmp_path / "s"


@pytest.fixture
def stored(benchmark):
    """The same with its images stored."""
    with closing(open_study(benchmark)) as study:
        store_images(study, lambda _candidate: b"", stamp=Stamp("tester", "2026-01-01T00:00:00+00:00"))
    return benchmark


def test_a_check_with_findings_fails(benchmark):
    done = run("check", "--study", benchmark, "--json")
    assert json.loads(done.stdout)["ok"] is False
    assert done.returncode == 1


def test_an_incomplete_sample_fails(benchmark):
    done = run_here("sample", "threshold", "--study", benchmark, "--name", "a-1")
    assert "incomplete" in done.stderr
    assert done.returncode == 1


def test_two_studies_in_one_command_are_refused(benchmark, tmp_path):
    for arguments in (["status", benchmark, "--study", tmp_path / "other"], ["accuracy", benchmark, "--study", benchmark]):
        done = run_here(*arguments)
        assert done.returncode == 2, done.stderr
        assert "not both" in done.stderr


def test_a_fault_in_the_users_models_is_the_users(stored, tmp_path):
    (tmp_path / "my_models.py").write_text("def load(study):\n    raise ValueError('no weights')\n")
    (tmp_path / "my_broken.py").write_text("this is no Python\n")
    for spec, problem in (("my_models:load", "no weights"), ("my_broken:load", "SyntaxError")):
        done = run("evaluate", "--study", stored, "--dataset", "original", "--models", spec, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith(f"Error: {spec}: ")
        assert problem in done.stderr


def test_a_data_set_that_is_not_there_is_found_before_models_are_loaded(benchmark, tmp_path):
    (tmp_path / "my_models.py").write_text("def load(study):\n    raise ValueError('loaded too early')\n")
    done = run("evaluate", "--study", benchmark, "--dataset", "nope", "--models", "my_models:load", cwd=tmp_path)
    assert done.returncode == 1
    assert "nope" in done.stderr
    assert "too early" not in done.stderr
