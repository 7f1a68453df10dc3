"""Studies to look into: the reduced demo, a tiny one written by hand, and the published part where it lies beside the checkout."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from data_tiny import write_tiny

from retest.data import open_study
from retest.demo import run_demo, small_demo
from retest.stages._common import Stamp
from retest.stages.imagenetv2 import import_repository
from retest.study import StudyConfig, StudySettings, create_study

ROOT = Path(__file__).resolve().parents[2]


class Raw:
    """A study's database read without retest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def rows(self, query, *values):
        """Rows of an SQL query; a row of one column is that value."""
        with closing(sqlite3.connect(f"file:{self.folder / 'study.db'}?mode=ro", uri=True)) as connection:
            found = connection.execute(query, values).fetchall()
        return [row[0] if len(row) == 1 else row for row in found]


@pytest.fixture(scope="session")
def demo_out(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("data-demo")
    run_demo(out, parameters=small_demo())
    return out


@pytest.fixture(scope="session")
def study(demo_out):
    with closing(open_study(demo_out / "study")) as opened:
        yield opened


@pytest.fixture(scope="session")
def raw(study) -> Raw:
    return Raw(study.folder)


@pytest.fixture
def tiny(tmp_path):
    with closing(write_tiny(tmp_path / "tiny")) as opened:
        yield opened


@pytest.fixture(scope="session")
def published_data() -> Path:
    folder = ROOT.parent / "shared/imagenetv2/data"
    if not folder.is_dir():
        pytest.skip("the published data are not beside the repository (../shared/imagenetv2)")
    return folder


FEW_MODELS = ("alexnet", "fv_16k", "resnet50")


def _wanted(file: Path) -> bool:
    """All predictions on one test set, those of a few models on the original, and everything else: the rest only takes time."""
    dataset = file.parent.name
    few = dataset == "imagenet-validation-original" and file.stem.removesuffix("_model") in FEW_MODELS
    return file.suffix != ".npy" or dataset == "imagenetv2-a-44" or few


@pytest.fixture(scope="session")
def published(published_data, tmp_path_factory):
    part, folder = tmp_path_factory.mktemp("data-part") / "data", tmp_path_factory.mktemp("data-published")
    for file in filter(_wanted, (path for path in published_data.rglob("*") if path.is_file())):
        (part / file.relative_to(published_data)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, part / file.relative_to(published_data))
    with closing(create_study(folder, StudyConfig(study=StudySettings(name="published")))) as opened:
        import_repository(opened, part, stamp=Stamp("test", "2026-01-01T00:00:00+00:00"))
        yield opened
