"""Published predictions as fixtures; skipped with a reason where the shared folder is absent."""

import json
from pathlib import Path

import numpy as np
import pytest

from retest.analysis import accuracy_rows
from retest.records import Predictions

SHARED = Path(__file__).resolve().parents[3] / "shared"
SETS = {"original": "imagenet-validation-original", "a-44": "imagenetv2-a-44", "b-33": "imagenetv2-b-33"}


def load_published(dataset: str, *, correct: bool = True) -> list[Predictions]:
    """The published predictions of one set; fv_16k is stored worst first in the new sets (formats.md)."""
    data = SHARED / "imagenetv2" / "data"
    cid = {row["wnid"]: row["cid"] for row in json.loads((data / "metadata" / "class_info.json").read_text())}
    images = json.loads((data / "datasets" / f"{dataset}.json").read_text())["image_filenames"]
    labels = np.array([cid[wnid] for _, wnid in images], dtype=np.int64)
    ids = tuple(name for name, _ in images)
    out = []
    for path in sorted((data / "predictions" / dataset).glob("*.npy")):
        top = np.load(path, allow_pickle=False)
        model = path.stem.removesuffix("_model")
        if correct and model == "fv_16k" and dataset != SETS["original"]:
            top = top[:, ::-1]
        out.append(Predictions(dataset, model, ids, labels, top))
    return out


@pytest.fixture(scope="session")
def published() -> dict[str, list[Predictions]]:
    if not (SHARED / "imagenetv2" / "data").is_dir():
        pytest.skip("the shared part of the published data is not here")
    return {short: load_published(dataset) for short, dataset in SETS.items()}


@pytest.fixture(scope="session")
def published_rows(published):
    return accuracy_rows(record for records in published.values() for record in records)


@pytest.fixture(scope="session")
def timm_folder() -> Path:
    folder = SHARED / "timm"
    if not folder.is_dir():
        pytest.skip("the shared timm tables are not here")
    return folder
