"""The notebooks are run cell by cell, and what they show is what happens. (tests/docs runs the page of the data classes.)"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import notebook_runner as runner
import pytest
from released_sets import make_released

import retest.datasets

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CLASSES = [name for name in retest.datasets.__all__ if name.endswith(("Data", "Cache", "Loader"))]
OTHERS = {"HIT inspection", "Released test sets"}


@pytest.fixture(scope="session")
def released(tmp_path_factory):
    return make_released(tmp_path_factory.mktemp("released"))


@pytest.fixture
def workplace(demo_out, released, tmp_path, monkeypatch):
    """A current folder in which the demo has been run and the released sets have been downloaded."""
    for name, source in (("demo-study", demo_out), ("released", released)):
        try:
            (tmp_path / name).symlink_to(source, target_is_directory=True)
        except OSError:  # not everybody may make links
            shutil.copytree(source, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_has_every_class():
    page = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    assert len(CLASSES) == 7
    assert [name for name in CLASSES if f"\n## {name}\n" not in page] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_a_notebook_shows_what_it_does(path, workplace):
    cells = runner.code_cells(json.loads(path.read_text(encoding="utf-8")))
    outputs = runner.run_cells(cells)
    assert len(cells) > 5
    for cell, output in zip(cells, outputs, strict=True):
        if runner.is_compared(cell):
            assert output == runner.stored_output(cell), "".join(cell["source"])
        else:
            assert output, "".join(cell["source"])


def test_a_notebook_per_class():
    used = {name: [path.stem for path in NOTEBOOKS if f"{name}(study" in path.read_text(encoding="utf-8")] for name in CLASSES}
    titles = {json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"][0].split(":")[0].removeprefix("# ") for path in NOTEBOOKS}
    assert titles == set(CLASSES) | OTHERS
    assert all(used.values())


def test_notebooks_are_small_and_in_the_common_form():
    for path in NOTEBOOKS:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        assert path.stat().st_size < 10_000
        assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
        assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
        assert all(cell["execution_count"] is not None for cell in runner.code_cells(notebook))


def test_a_failing_cell_fails(tmp_path):
    with pytest.raises(ZeroDivisionError):
        runner.run_cells([{"source": ["x = 1\n", "x / 0"]}])
    assert runner.run_cells([{"source": ["x = 1\n", "print(x)\n", "x + 1"]}, {"source": ["x"]}]) == ["1\n2", "1"]
