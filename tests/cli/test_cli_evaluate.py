"""`retest evaluate`, `models list` and `disagreements` as people call them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from retest.cli import cli
from retest.models import read_predictions

pytest.importorskip("onnxruntime")
pytest.importorskip("timm")

SHARED = Path(__file__).resolve().parents[3] / "shared"
MOBILENET = SHARED / "classifier" / "mobilenet_v1_0.25_128.onnx"
SQUEEZENET = SHARED / "classifier" / "squeezenet1_1_folded_fp16.safetensors"
needs_shared = pytest.mark.skipif(not (MOBILENET.is_file() and (SHARED / "photos").is_dir()), reason="the shared classifiers are not here")

PREPROCESSING = {
    "steps": [{"central_fraction": 0.875}, {"resize": [128, 128], "interpolation": "bilinear"}],
    "mean": [128, 128, 128],
    "std": [128, 128, 128],
    "scale": 1,
}
OWN = f"""
from safetensors.torch import load_file
from torchvision import transforms
from torchvision.models import squeezenet1_1

def squeezenet():
    model = squeezenet1_1()
    model.classifier[1].padding = (1, 1)
    model.load_state_dict({{name: value.float() for name, value in load_file({str(SQUEEZENET)!r}).items()}})
    return model, transforms.Compose([
        transforms.Resize((256, 256)), transforms.CenterCrop(227), transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ])
"""
NETS = """
import torch

class Colour(torch.nn.Module):
    def __init__(self, seed, classes):
        super().__init__()
        self.head = torch.nn.Linear(3, classes)
        generator = torch.Generator().manual_seed(seed)
        for value in self.parameters():
            value.data = torch.randn(value.shape, generator=generator)

    def forward(self, pixels):
        return self.head(pixels.mean(dim=(2, 3)))

class Broken(Colour):
    def forward(self, pixels):
        if len(pixels) > 1:
            raise ConnectionError("the model server does not answer")
        return super().forward(pixels)

def prepare(image):
    return torch.tensor(list(image.resize((4, 4)).tobytes()), dtype=torch.float32).reshape(4, 4, 3).permute(2, 0, 1) / 255

def two(): return {"a": (Colour(1, 3), prepare), "b": (Colour(2, 3), prepare)}
def broken(): return Broken(3, 3), prepare
def thousand(): return Colour(4, 1000), prepare
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mobilenet.json").write_text(json.dumps(PREPROCESSING))
    (tmp_path / "own_squeezenet.py").write_text(OWN)
    (tmp_path / "colour_nets.py").write_text(NETS)
    return tmp_path


def run(*arguments, code=0):
    done = CliRunner().invoke(cli, ["evaluate", *map(str, arguments)])
    assert done.exit_code == code, (done.output, done.exception)
    return done


def failing(*arguments):
    done = CliRunner().invoke(cli, ["evaluate", *map(str, arguments)])
    assert done.exit_code != 0
    return str(done.exception) + done.output


def paint(folder, classes, count=4, seed=0):
    rng = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(rng.integers(0, 256, (12, 10, 3)).astype(np.uint8)).save(folder / name / f"{number}.png")
    return folder


def compare_with_given(predictions, given):
    """Rows whose best five are not those given, apart from two neighbours that are all but tied."""
    wrong = []
    for image, top, scores in zip(predictions.image_ids, predictions.top.tolist(), predictions.scores, strict=True):
        expected = given[image]
        tied = sorted(top) == sorted(expected) and np.abs(np.diff(scores)).min() < 1e-3
        if top != expected and not tied:
            wrong.append((image, top, expected))
    return wrong


@needs_shared
def test_the_given_classifiers_give_the_given_top_5_and_a_second_run_does_nothing(folder):
    arguments = (
        "--dataset", SHARED / "photos", "--models", f"mobilenet={MOBILENET},own_squeezenet:squeezenet",
        "--preprocessing", "mobilenet=mobilenet.json", "--out", "out", "--device", "cpu",
    )  # fmt: skip
    done = run(*arguments)
    assert "photos: 250 images, 2 models, 2 computed now" in done.stdout
    assert "squeezenet   72.0 [66.0, 77.5]" in done.stdout
    for model, file in (("mobilenet", MOBILENET), ("squeezenet", SQUEEZENET)):
        predictions = read_predictions(folder / "out" / "photos" / f"{model}.parquet")
        given = json.loads(file.with_suffix("").with_suffix(".top5.json").read_text()) if file is SQUEEZENET else None
        given = given or json.loads((file.parent / f"{file.stem}.top5.json").read_text())
        assert len(predictions.image_ids) == len(given) == 250
        assert compare_with_given(predictions, given) == []
        assert {"weights_sha256", "preprocessing", "versions", "device", "engine", "date", "images_sha256"} <= predictions.provenance.keys()
    before = {path: path.read_bytes() for path in (folder / "out").rglob("*") if path.is_file()}
    again = json.loads(run(*arguments, "--json").stdout)
    assert again["datasets"][0]["computed"] == 0
    assert {path: path.read_bytes() for path in (folder / "out").rglob("*") if path.is_file()} == before


@needs_shared
def test_killed_in_the_middle_and_run_again(folder):
    arguments = ["--dataset", str(SHARED / "photos"), "--models", f"mobilenet={MOBILENET}", "--preprocessing", "mobilenet=mobilenet.json"]
    arguments += ["--batch-size", "5", "--lanes", "1"]
    command = [sys.executable, "-m", "retest", "evaluate", *arguments, "--out", "killed"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as victim:
        while not list((folder / "killed").rglob("*.npz")) and victim.poll() is None:
            time.sleep(0.005)
        os.kill(victim.pid, signal.SIGKILL)
    kept = {path.name: path.stat().st_mtime_ns for path in (folder / "killed").rglob("*.npz")}
    assert kept
    assert not list((folder / "killed").rglob("*.parquet"))
    run(*arguments, "--out", "killed")
    run(*arguments, "--out", "whole")
    after = {path.name: path.stat().st_mtime_ns for path in (folder / "killed").rglob("*.npz")}
    assert len(after) == 50
    assert {name: after[name] for name in kept} == kept  # what was done was not done again
    killed, whole = (read_predictions(folder / out / "photos" / "mobilenet.parquet") for out in ("killed", "whole"))
    assert killed.scores.tobytes() == whole.scores.tobytes()
    assert killed.top.tobytes() == whole.top.tobytes()


def test_corrupt_images_are_listed_and_left_out_for_all_models(folder):
    photos = paint(folder / "photos", ["cat", "dog", "owl"])
    (photos / "dog" / "2.png").write_bytes((photos / "dog" / "2.png").read_bytes()[:60])
    done = run("--dataset", "photos", "--models", "colour_nets:two", "--out", "out", "--npy", "--logits")
    (line,) = [line for line in done.stderr.splitlines() if "left out for all models: dog/2.png: " in line]
    assert line.count("2.png") == 1  # the image is named once, whatever the error of its decoder begins with
    assert "alphabetical order are taken as the classes 0 to 2" in done.stderr
    for model in "ab":
        predictions = read_predictions(folder / "out" / "photos" / f"{model}.parquet")
        assert "dog/2.png" not in predictions.image_ids
        assert predictions.scores.shape == (11, 3)
        assert predictions.provenance["excluded_images"] == ["dog/2.png"]
        assert np.load(folder / "out" / "photos" / f"{model}.npy").shape == (11, 3)


def test_several_sets_share_their_images(folder):
    one = paint(folder / "one", ["cat", "dog", "owl"])
    shutil.copytree(one, folder / "two")
    (folder / "two" / "owl" / "3.png").unlink()
    figures = json.loads(run("--dataset", "one,two", "--models", "colour_nets:two", "--out", "out", "--json").stdout)
    assert (figures["images"], figures["distinct_images"]) == (23, 12)
    assert {(row["dataset"], row["model"], row["n"]) for row in figures["rows"]} == {
        (dataset, model, n) for dataset, n in (("one", 12), ("two", 11)) for model in "ab"
    }
    done = CliRunner().invoke(cli, ["disagreements", "out", "--json"])
    assert [(table["dataset"], table["n_models"]) for table in json.loads(done.stdout)["datasets"]] == [("one", 2), ("two", 2)]


def test_a_model_that_fails_is_named_and_the_others_are_done(folder):
    paint(folder / "photos", ["cat", "dog", "owl"])
    done = run("--dataset", "photos", "--models", "colour_nets:two,colour_nets:broken", "--engine", "eager", "--out", "out", code=1)
    assert "Failed, and left out: model broken: fails with ConnectionError: the model server does not answer" in done.stderr
    assert {path.stem for path in (folder / "out" / "photos").glob("*.parquet")} == {"a", "b"}


def test_classes_that_do_not_fit_show_before_anything_runs(folder):
    paint(folder / "photos", ["cat", "dog", "owl"])
    said = failing("--dataset", "photos", "--models", "colour_nets:thousand", "--out", "out")
    assert "the model has 1,000 classes, the test set 3" in said
    paint(folder / "wnids", ["n01440764", "n99999999"])
    assert "'n99999999' is not one of ImageNet's 1,000 classes" in failing(
        "--dataset", "wnids", "--models", "colour_nets:two", "--out", "out"
    )
    assert not (folder / "out").exists()


def test_a_model_that_states_its_classes_in_another_order_is_refused(folder):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    shape = ["n", 3, 4, 4]
    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["p"]), helper.make_node("Flatten", ["p"], ["y"])]
    values = (
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
    )
    graph = helper.make_graph(nodes, "mean", *values)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "net.onnx")
    content = {"steps": [{"resize": [4, 4]}], "mean": [0, 0, 0], "std": [1, 1, 1], "classes": ["cat", "owl", "dog"]}
    (folder / "net.json").write_text(json.dumps(content))
    paint(folder / "photos", ["cat", "dog", "owl"])
    said = failing("--dataset", "photos", "--models", "net.onnx", "--out", "out")
    assert "class 1 is 'owl' in the model and 'dog' in the test set: their classes are in different orders" in said
    (folder / "net.json").write_text(json.dumps(content | {"classes": ["A", "B", "C"]}))
    noted = "no class of the model has a name of the test set's, so that their order could not be compared"
    assert noted in " ".join(run("--dataset", "photos", "--models", "net.onnx", "--out", "other").output.split())
    (folder / "net.json").write_text(json.dumps(content))
    (folder / "classes.txt").write_text("cat\nowl\ndog\n")
    done = run("--dataset", "photos", "--models", "net.onnx", "--out", "out", "--classes", "classes.txt")
    assert noted not in " ".join(done.output.split())
    predictions = read_predictions(folder / "out" / "photos" / "net.parquet")
    assert dict(zip(predictions.image_ids, predictions.labels.tolist(), strict=True))["owl/0.png"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--dataset", "photos", "--out", "o"), "Name at least one model"),
        (("--dataset", "photos", "--models", "colour_nets:two"), "Give --out FOLDER"),
        (("--dataset", "imagenetv2-top-images", "--models", "colour_nets:two", "--out", "o"), "nothing says where it lies"),
        (("--dataset", "nowhere", "--models", "colour_nets:two", "--out", "o"), "is no test set that is known, and no folder"),
        (("--dataset", "photos", "--models", "a.onnx", "--preprocessing", "x", "--out", "o"), "write NAME=FILE.json"),
    ],
)
def test_wrong_usage_is_named(folder, arguments, message):
    paint(folder / "photos", ["cat", "dog", "owl"], count=1)
    assert message in failing(*arguments)


def test_models_can_be_found():
    done = CliRunner().invoke(cli, ["models", "list", "resnet50", "v2", "--json"])
    assert "torchvision:resnet50.IMAGENET1K_V2" in {row["name"] for row in json.loads(done.stdout)}
    assert "No model is called qqq" in CliRunner().invoke(cli, ["models", "list", "qqq"]).stdout
    assert "more: give words" in CliRunner().invoke(cli, ["models", "list"]).stdout
