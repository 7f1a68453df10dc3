"""A clone of the published CIFAR-10.1 repository in small: made-up predictions that get exactly as many images right as the published."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parent / "golden" / "published_correct.csv"
SETS = {"cifar10": ("original", 10_000), "cifar10.1-v4": ("v4", 2021), "cifar10.1-v6": ("v6", 2000)}
# Images per class of the released sets, airplane to truck.
V4_CLASSES = (208, 212, 202, 212, 204, 218, 192, 210, 161, 202)


def golden() -> dict[str, dict[str, int]]:
    """model -> data set -> number of images that it gets right."""
    with GOLDEN.open(newline="") as file:
        return {row["model"]: {name: int(row[name]) for name in SETS} for row in csv.DictReader(file)}


def write_repository(folder: Path) -> Path:
    """Predictions, the labels of v4 and v6, and those of CIFAR-10 as ``cifar10-test-labels.npy``."""
    rng = np.random.default_rng(5)
    labels = {
        "cifar10": np.repeat(np.arange(10), 1000),
        "cifar10.1-v4": np.repeat(np.arange(10), V4_CLASSES),
        "cifar10.1-v6": np.repeat(np.arange(10), 200),
    }
    (folder / "datasets").mkdir(parents=True)
    np.save(folder / "cifar10-test-labels.npy", labels["cifar10"].astype(np.uint16))
    for name in ("cifar10.1-v4", "cifar10.1-v6"):
        np.save(folder / "datasets" / f"{name.replace('-', '_')}_labels.npy", labels[name].astype(np.int32))
    for model, correct in golden().items():
        for name, (short, count) in SETS.items():
            wrong = rng.permutation(count)[correct[name] :]
            predicted = labels[name].copy()
            predicted[wrong] = (predicted[wrong] + rng.integers(1, 10, len(wrong))) % 10
            path = folder / "model_predictions" / f"{short}_predictions" / f"{model}_predictions.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(predicted.tolist()))
    return folder
