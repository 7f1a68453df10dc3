"""The wheel and the sdist: what is in them (always), and the demo from a clean installation (long; CI: make install-check)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Wheel and sdist, built by the build back end alone: no network, no isolated environment."""
    pytest.importorskip("hatchling", reason="the build back end is not installed")
    from hatchling.builders.sdist import SdistBuilder
    from hatchling.builders.wheel import WheelBuilder

    out = tmp_path_factory.mktemp("dist")
    wheel = next(WheelBuilder(str(ROOT)).build(directory=str(out), versions=["standard"]))
    sdist = next(SdistBuilder(str(ROOT)).build(directory=str(out), versions=["standard"]))
    return Path(wheel), Path(sdist)


def package_files() -> set[str]:
    """Everything that git has below src/retest; without git, everything that lies there."""
    listed = subprocess.run(["git", "ls-files", "src/retest"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0 and listed.stdout:
        return {name.removeprefix("src/") for name in listed.stdout.splitlines() if (ROOT / name).exists()}
    return {
        path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src/retest").rglob("*") if path.is_file() and path.suffix != ".pyc"
    }


def test_the_wheel_holds_every_file_of_the_package(built):
    with zipfile.ZipFile(built[0]) as wheel:
        names = set(wheel.namelist())
        metadata = wheel.read(next(name for name in names if name.endswith(".dist-info/METADATA"))).decode()
        scripts = wheel.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    assert package_files() - names == set()
    assert "retest/py.typed" in names
    assert any(name.startswith("retest/store/migrations/versions/0001") for name in names)
    assert {Path(name).suffix for name in names if "/templates/" in name} >= {".html", ".css", ".js"}
    assert [name for name in names if name.startswith("tests") or name.endswith(".pyc")] == []
    assert "Requires-Python: >=3.11" in metadata
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "retest = retest.cli:main" in scripts


def test_the_wheel_is_the_same_every_time(built, tmp_path):
    from hatchling.builders.wheel import WheelBuilder

    again = Path(next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])))
    assert again.read_bytes() == built[0].read_bytes()


def test_the_sdist_can_be_tested_and_documented(built):
    with tarfile.open(built[1]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    wanted = (
        "Makefile",
        "LICENSE",
        "CHANGELOG.md",
        "CITATION.cff",
        "CONTRIBUTING.md",
        "README.md",
        "docs/conf.py",
        "requirements/test.txt",
    )
    assert [name for name in (*wanted, "tests/conftest.py", "notebooks/imagenet_data.ipynb", "pyproject.toml") if name not in names] == []


@pytest.mark.long
@pytest.mark.timeout(1800)  # installs everything that the wheel depends on
def test_the_demo_runs_from_a_clean_installation(built, tmp_path):
    """A new environment, the wheel with what it depends on, and nothing of this checkout."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv/bin/python"
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    install = [python, "-m", "pip", "--quiet", "install", "-c", ROOT / "requirements/base.txt", built[0]]
    subprocess.run(install, check=True, env=environment)
    demo = subprocess.run(
        [tmp_path / "venv/bin/retest", "demo", "--out", "demo"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert demo.returncode == 0, demo.stderr
    assert demo.stdout.splitlines()[-1].endswith("report.html")
    assert (tmp_path / "demo/report.html").stat().st_size > 100_000
    where = subprocess.run([python, "-c", "import retest; print(retest.__file__)"], capture_output=True, text=True, env=environment)
    assert where.stdout.startswith(str(tmp_path))
    # What the sdist builds is the same package.
    subprocess.run(
        [python, "-m", "pip", "--quiet", "install", "--no-deps", "--target", tmp_path / "sdist", built[1]], check=True, env=environment
    )
    with zipfile.ZipFile(built[0]) as wheel:
        names = {name for name in wheel.namelist() if name.startswith("retest/")}
    assert {name for name in names if not (tmp_path / "sdist" / name).is_file()} == set()


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("runner", ["uvx", "pipx"])
def test_it_runs_without_being_installed(runner, built, tmp_path):
    if (program := shutil.which(runner)) is None:
        pytest.skip(f"{runner} is not installed")
    options = {"uvx": ["--from", str(built[0])], "pipx": ["run", "--spec", str(built[0])]}[runner]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    command = [program, *options, "retest", "--version"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("retest, version")
