"""Studies to look into: the reduced demo, a tiny one written by hand, and the published part where it lies beside the checkout."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from data_tiny import write_tiny

from retest.datasets import open_study
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


def pytest_collection_modifyitems(items):
    """Tests of one expensive study stay in one process, so that it is made once."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            if "demo" in item.fixturenames:
                item.add_marker(pytest.mark.xdist_group("demo"))
            elif "published" in item.fixturenames:
                item.add_marker(pytest.mark.xdist_group("published"))


@pytest.fixture(scope="session")
def demo_out(demo) -> Path:
    return demo.out


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


REVISIONS = ("imagenetv2-a-5", "imagenetv2-a-7", "imagenetv2-a-44", "imagenetv2-b-33", "imagenetv2-dummy-0")
FEW_MODELS = ("alexnet", "fv_16k", "resnet50")


def _wanted(file: Path) -> bool:
    """Some revisions, all predictions on one of them and a few on another, and everything else: the rest would only take time."""
    if file.parent.name in ("datasets", "dataset_reviews"):
        return file.stem.removesuffix("_review") in REVISIONS
    few = file.parent.name == "imagenetv2-b-33" and file.stem.removesuffix("_model") in FEW_MODELS
    return file.suffix != ".npy" or few or file.parent.name == "imagenetv2-a-44"


@pytest.fixture(scope="session")
def published_data(tmp_path_factory) -> Path:
    """A part of the published data, to be read without retest."""
    whole, part = ROOT.parent / "shared/imagenetv2/data", tmp_path_factory.mktemp("data-part") / "data"
    if not whole.is_dir():
        pytest.skip("the published data are not beside the repository (../shared/imagenetv2)")
    for file in filter(_wanted, (path for path in whole.rglob("*") if path.is_file())):
        (part / file.relative_to(whole)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, part / file.relative_to(whole))
    return part


@pytest.fixture(scope="session")
def published(published_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data-published")
    with closing(create_study(folder, StudyConfig(study=StudySettings(name="published")))) as opened:
        import_repository(opened, published_data, stamp=Stamp("test", "2026-01-01T00:00:00+00:00"))
        yield opened
