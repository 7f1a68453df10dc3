"""Published trees to import: a tiny one with every trap, and the real one where it lies beside the checkout."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_PATH = ROOT / "tests/benchmarks/layout_tree.py"


def _layout_tree():
    # The maker of the tiny tree belongs to the tests of the datasets room; tests are no packages.
    spec = importlib.util.spec_from_file_location("transfer_layout_tree", _PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def layout_tree():
    return _layout_tree()


@pytest.fixture(scope="session")
def published() -> Path:
    folder = ROOT.parent / "shared/imagenetv2/data"
    if not folder.is_dir():
        pytest.skip("the published data are not beside the repository (../shared/imagenetv2)")
    return folder


@pytest.fixture(scope="session")
def part_of():
    return _part_of


def _part_of(published: Path, folder: Path, *, predictions: int) -> Path:
    """A copy of the published data with only so many prediction files per data set, and those that are stored worst first."""
    for path in published.rglob("*"):
        if path.is_file() and path.suffix != ".npy":
            place = folder / "data" / path.relative_to(published)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
    for dataset in sorted((published / "predictions").iterdir()) if predictions else ():
        place = folder / "data/predictions" / dataset.name
        place.mkdir(parents=True)
        names = sorted(path.name for path in dataset.glob("*.npy"))
        for name in dict.fromkeys([*names[:predictions], *(name for name in names if name.startswith("fv_16k"))]):
            shutil.copyfile(dataset / name, place / name)
    return folder
