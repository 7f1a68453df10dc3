"""`retest evaluate` on every kind of test set, with a model that reads each image's class from its colour: top-1 is 100 % or wrong."""

import csv
import hashlib
import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from retest.cli import cli
from retest.models import read_predictions

pytest.importorskip("torch")
timm = pytest.importorskip("timm")

# The nearest of the classes' colours: |c - x|^2 = |c|^2 - 2 c.x + |x|^2, so it is the largest of 2 c.x - |c|^2.
NETS = """
import torch

class Nearest(torch.nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.head = torch.nn.Linear(3, classes)
        colours = torch.tensor([[20. + 24 * int(digit) for digit in f"{label:03d}"] for label in range(classes)])
        self.head.weight.data, self.head.bias.data = 2 * colours, -(colours ** 2).sum(1)

    def forward(self, pixels):
        return self.head(pixels.mean(dim=(2, 3)))

def prepare(image):
    return torch.tensor(list(image.resize((2, 2)).tobytes()), dtype=torch.float32).reshape(2, 2, 3).permute(2, 0, 1)

def thousand(): return Nearest(1000), prepare
def ten(): return Nearest(10), prepare
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nearest_nets.py").write_text(NETS)
    return tmp_path


@pytest.fixture(scope="module")
def wnids():
    return timm.data.ImageNetInfo("imagenet-1k").label_names()


def colour(label):
    return tuple(20 + 24 * int(digit) for digit in f"{label:03d}")


def paint(path, label):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour(label)).save(path, "JPEG", quality=95)


def evaluate(*arguments, model="thousand"):
    command = ["evaluate", "--models", f"net=nearest_nets:{model}", "--engine", "eager", "--device", "cpu", "--out", "out", "--json"]
    done = CliRunner().invoke(cli, [*command, "--workers", "2", *map(str, arguments)])
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


def labels(folder, name):
    found = read_predictions(folder / "out" / name / "net.parquet")
    return dict(zip(found.image_ids, found.labels.tolist(), strict=True))


@pytest.mark.slow
def test_a_released_set(folder):
    """All 1,000 numbered folders, which sorted as text would come in another order."""
    ids = [hashlib.sha1(str(label).encode()).hexdigest() for label in range(1000)]
    for label, image in enumerate(ids):
        paint(folder / "data" / "imagenetv2-top-images-format-val" / str(label) / f"{image}.jpeg", label)
    found = evaluate("--dataset", "imagenetv2-top-images", "--root", "data")
    assert [(row["dataset"], row["n"], row["top1"]) for row in found["rows"]] == [("imagenetv2-top-images", 1000, 1.0)]
    assert found["notes"] == []
    assert labels(folder, "imagenetv2-top-images") == {image: label for label, image in enumerate(ids)}


@pytest.mark.parametrize("flat", [False, True])
def test_imagenets_validation_images(folder, wnids, flat):
    chosen = [0, 7, 340, 999]
    rows = []
    for number, label in enumerate(chosen, 1):
        name = f"ILSVRC2012_val_{number:08d}"
        place = folder / "imagenet" / "val" / f"{name}.JPEG" if flat else folder / "imagenet" / "val" / wnids[label] / f"{name}.JPEG"
        paint(place, label)
        rows.append((name, f"{wnids[label]} 1 2 3 4"))
    if flat:
        with (folder / "imagenet" / "LOC_val_solution.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("ImageId", "PredictionString"), *rows])
    found = evaluate("--dataset", "imagenet=imagenet")
    assert [(row["n"], row["top1"]) for row in found["rows"]] == [(4, 1.0)]
    assert sorted(labels(folder, "imagenet").values()) == chosen


def test_cifar101(folder):
    classes = np.arange(2000, dtype=np.int32) * 7 % 10
    pixels = np.array([colour(label) for label in range(10)], dtype=np.uint8)[classes]
    np.save(folder / "cifar10.1_v6_labels.npy", classes)
    np.save(folder / "cifar10.1_v6_data.npy", np.broadcast_to(pixels[:, None, None], (2000, 32, 32, 3)))
    found = evaluate("--dataset", "cifar10.1-v6", "--root", ".", model="ten")
    assert [(row["n"], row["top1"]) for row in found["rows"]] == [(2000, 1.0)]
    assert (found["images"], found["distinct_images"]) == (2000, 10)
    assert list(labels(folder, "cifar10.1-v6").values()) == classes.tolist()


def test_folders_of_numbers_of_wnids_and_of_names_in_one_run(folder, wnids):
    for label in (2, 10, 100, 1):
        paint(folder / "numbers" / str(label) / "a.jpg", label)
    for label in (283, 5):
        paint(folder / "wnids" / wnids[label] / "a.jpg", label)
    for name, label in (("great_white_shark", 2), ("tench", 0)):
        paint(folder / "names" / name / "a.jpg", label)
    found = evaluate("--dataset", "numbers,wnids,words=names")
    assert {(row["dataset"], row["n"], row["top1"]) for row in found["rows"]} == {
        ("numbers", 4, 1.0),
        ("wnids", 2, 1.0),
        ("words", 2, 1.0),
    }
    assert (found["images"], found["distinct_images"]) == (8, 7)  # the shark is class 2 in two of them
    assert labels(folder, "numbers") == {"1/a.jpg": 1, "2/a.jpg": 2, "10/a.jpg": 10, "100/a.jpg": 100}
