"""Featurisers by name: what the text means, what each computes, and what is said when something is missing."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import textwrap
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from PIL import Image

from retest.errors import InputError, MissingExtraError, NotFoundError, SourceError, UsageError
from retest.models import Featuriser
from retest.models.featurisers import FeaturiserSpec, load_featuriser

SHARED = Path(__file__).resolve().parents[3] / "shared"
RNG = np.random.default_rng(1)
IMAGES = RNG.integers(0, 256, (5, 256, 256, 3), dtype=np.uint8)


# ------------------------------------------------------------------------------------------------------------- text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fc7", ("fc7", "fc7", "fc7", None)),
        ("fc7@weights/vgg16.pth", ("fc7", "fc7", "fc7", "weights/vgg16.pth")),
        ("mine=fc7@v=1.pth", ("mine", "fc7", "fc7", "v=1.pth")),
        ("sscd@disc.torchscript.pt", ("sscd", "sscd", "sscd", "disc.torchscript.pt")),
        ("torchvision:resnet50", ("resnet50", "torchvision", "resnet50", None)),
        ("timm:resnet50.a1_in1k@w.safetensors", ("resnet50.a1_in1k", "timm", "resnet50.a1_in1k", "w.safetensors")),
        ("resnet50", ("resnet50", "model", "resnet50", None)),
        ("a/b/model v1.onnx", ("model-v1", "onnx", "a/b/model v1.onnx", None)),
        ("C:\\nets\\m.onnx", ("m", "onnx", "C:\\nets\\m.onnx", None)),
        ("small=m.onnx", ("small", "onnx", "m.onnx", None)),
        ("fc7@./random", ("fc7", "fc7", "fc7", "random")),
        ("my.module:make", ("my.module.make", "python", "my.module:make", None)),
    ],
)
def test_what_a_text_means(text, expected):
    spec = FeaturiserSpec.parse(text)
    assert (spec.label, spec.kind, spec.name, str(spec.weights) if spec.weights else None) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no featuriser"),
        ("two words", "names no featuriser"),
        ("sscd", "needs the weights file"),
        ("dssim=fc7", "'dssim' cannot be a metric's name"),
        ("a b=fc7", "cannot be a metric's name"),
        ("m.onnx@w.pth", "takes no weights"),
        ("my.module:make@w.pth", "takes no weights"),
        ("timm:resnet18@random", "distances between features of random weights mean nothing"),
        ("fc7@random", "a file; one of this name is @./random"),
    ],
)
def test_texts_that_mean_nothing(text, message):
    with pytest.raises(UsageError, match=message) as caught:
        FeaturiserSpec.parse(text)
    assert caught.value.remedy


def test_an_unknown_device():
    with pytest.raises(UsageError, match="unknown device 'tpu'"):
        load_featuriser("fc7", device="tpu")


@pytest.mark.parametrize(("spec", "module"), [("fc7", "torch"), ("resnet18", "torch"), ("m.onnx", "onnxruntime")])
def test_without_the_extra_the_error_names_it(spec, module, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("m.onnx").write_bytes(b"x")
    code = f"""
        import sys
        sys.modules[{module!r}] = None
        from retest.errors import MissingExtraError
        from retest.models.featurisers import load_featuriser
        try:
            load_featuriser({spec!r})
        except MissingExtraError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"the optional package {module!r} is not installed. Install it with: pip install 'retest[models]'"


# ------------------------------------------------------------------------------------------------------ of one's own

OWN = """
import numpy as np

class Mean:
    name = "mean-1"
    dimensions = 3
    def features(self, images):
        return images.mean(axis=(1, 2)).astype(np.float32)

ready = Mean()

def no_featuriser():
    return 3

def broken():
    raise ValueError("no weights today")
"""


@pytest.mark.parametrize("name", ["Mean", "ready"])
def test_a_featuriser_of_ones_own(name, tmp_path, monkeypatch):
    (tmp_path / "own_featuriser.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    monkeypatch.setattr(sys, "path", list(before))
    found = load_featuriser(f"own_featuriser:{name}")
    assert isinstance(found, Featuriser)
    assert found.features(IMAGES).shape == (5, 3)
    assert sys.path == [*before, str(tmp_path)]  # behind all others, for processes that the featuriser travels to
    with pytest.raises(UsageError, match="gives int, not a featuriser"):
        load_featuriser("own_featuriser:no_featuriser")
    with pytest.raises(UsageError, match="cannot be imported"):
        load_featuriser("own_featuriser:absent")
    with pytest.raises(UsageError, match="cannot be imported"):
        load_featuriser("no_such_module_anywhere:x")
    with pytest.raises(UsageError, match="own_featuriser:broken: fails with ValueError: no weights today"):
        load_featuriser("own_featuriser:broken")


def test_a_featuriser_of_ones_own_travels_to_processes(tmp_path, monkeypatch):
    (tmp_path / "travelling_featuriser.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    found = load_featuriser("travelling_featuriser:Mean")
    monkeypatch.chdir("/")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert np.array_equal(pool.submit(found.features, IMAGES).result(), found.features(IMAGES))


# ------------------------------------------------------------------------------------------------------------- torch


def small_vgg():
    """A VGG of torchvision with few channels and 16 units in its classifier."""
    torch = pytest.importorskip("torch", reason="needs the extra 'models'")
    vgg = pytest.importorskip("torchvision.models.vgg", reason="needs the extra 'models'")
    torch.manual_seed(0)
    plan = [4, "M", 6, "M", 6, "M", 8, "M", 8, "M"]
    model = vgg.VGG(vgg.make_layers(plan), init_weights=False)
    nn = torch.nn
    model.classifier = nn.Sequential(
        nn.Linear(8 * 7 * 7, 32), nn.ReLU(True), nn.Dropout(), nn.Linear(32, 16), nn.ReLU(True), nn.Dropout(), nn.Linear(16, 10)
    )
    return model.eval()


def test_fc7_is_the_published_layer_of_the_published_input():
    """Against the published procedure, written out: resize with scikit-image, values 0..255, all of the classifier but its end."""
    torch = pytest.importorskip("torch", reason="needs the extra 'models'")
    transform = pytest.importorskip("skimage.transform")
    from retest.models.featurisers_torch import fc7

    model = small_vgg()
    found = fc7(model)
    smooth = np.stack([np.asarray(Image.fromarray(i).resize((256, 256), Image.Resampling.BICUBIC)) for i in IMAGES[:, ::16, ::16]])
    resized = np.stack([transform.resize(i, (224, 224), order=1, preserve_range=True, anti_aliasing=False) for i in smooth])
    with torch.no_grad():
        x = model.features(torch.from_numpy(resized.astype("float32").transpose(0, 3, 1, 2)))
        expected = torch.nn.Sequential(*list(model.classifier)[:-1])(x.flatten(1)).numpy()
    assert expected.shape == (5, 16)
    assert (expected > 0).any()
    np.testing.assert_allclose(found.features(smooth), expected, rtol=1e-4, atol=1e-4 * expected.max())
    assert found.dimensions == 16
    assert (found.features(smooth) >= 0).all()


def test_fc7_reads_local_weights_whatever_their_format(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="needs the extra 'models'")
    from safetensors.torch import save_file

    model = small_vgg()
    state = model.state_dict()
    torch.save(state, tmp_path / "vgg.pth")
    save_file({name: value.half().float() for name, value in state.items()}, tmp_path / "half.safetensors")
    save_file(state, tmp_path / "vgg.safetensors")
    monkeypatch.setattr("torchvision.models.get_model", lambda name, weights: small_vgg() if name == "vgg16" else None)
    one, two, half = (load_featuriser(f"fc7@{tmp_path}/{name}") for name in ("vgg.pth", "vgg.safetensors", "half.safetensors"))
    assert one.name == two.name != half.name, "the name pins the weights, not their file"
    assert one.name.startswith("fc7-")
    np.testing.assert_array_equal(one.features(IMAGES), two.features(IMAGES))
    assert one.features(IMAGES[:0]).shape == (0, 16)
    with pytest.raises(UsageError, match="must be uint8"):
        one.features(IMAGES.astype(np.float32))


def test_weights_that_are_none(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="needs the extra 'models'")
    monkeypatch.setattr("torchvision.models.get_model", lambda name, weights: small_vgg())
    with pytest.raises(NotFoundError, match="no such file"):
        load_featuriser(f"fc7@{tmp_path}/absent.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        load_featuriser(f"fc7@{tmp_path}/text.pth")
    torch.save({"a": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"its weights do not fit this model: they lack 'classifier"):
        load_featuriser(f"fc7@{tmp_path}/other.pth")


def test_weights_files_cannot_run_code(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="needs the extra 'models'")
    import pickle

    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "was-here",))

    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil()))
    monkeypatch.setattr("torchvision.models.get_model", lambda name, weights: small_vgg())
    for spec in (f"fc7@{tmp_path}/evil.pth", f"sscd@{tmp_path}/evil.pth"):
        with pytest.raises(InputError):
            load_featuriser(spec)
    assert not (tmp_path / "was-here").exists()


def test_without_weights_and_network_the_error_says_what_to_download(monkeypatch):
    pytest.importorskip("torchvision", reason="needs the extra 'models'")

    def unreachable(*_, **__):
        raise URLError("Name or service not known")

    monkeypatch.setattr("torchvision.models.get_model", unreachable)
    with pytest.raises(SourceError, match=r"cannot be downloaded .*Download https://.*vgg16.*\.pth elsewhere and write fc7@FILE"):
        load_featuriser("fc7")


def test_unknown_models():
    pytest.importorskip("timm", reason="needs the extra 'models'")
    for spec, message in (
        ("torchvision:vgg99", "torchvision has no such classifier"),
        ("timm:vgg99x", "timm has no such model"),
        ("vgg99x", "neither torchvision nor timm has such a model"),
    ):
        with pytest.raises(UsageError, match=message):
            load_featuriser(spec)


def test_cuda_is_refused_where_there_is_none():
    torch = pytest.importorskip("torch", reason="needs the extra 'models'")
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(UsageError, match="PyTorch sees 0 GPUs"):
        load_featuriser("fc7", device="cuda")


def test_torchvision_features_are_what_enters_the_last_layer(tmp_path):
    """Against the layer's own input, caught by a hook; the whole image at the model's size and normalisation."""
    torch = pytest.importorskip("torch", reason="needs the extra 'models'")
    models = pytest.importorskip("torchvision.models", reason="needs the extra 'models'")
    from torchvision.transforms.v2 import functional as transforms

    torch.manual_seed(0)
    model = models.get_model("shufflenet_v2_x0_5", weights=None).eval()
    torch.save(model.state_dict(), tmp_path / "w.pth")
    found = load_featuriser(f"torchvision:shufflenet_v2_x0_5@{tmp_path}/w.pth", threads=1)
    caught = []
    model.fc.register_forward_hook(lambda _module, inputs, _output: caught.append(inputs[0]))
    pixels = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float()
    small = transforms.resize(pixels, [224, 224], antialias=True) / 255
    with torch.no_grad():
        model(transforms.normalize(small, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    np.testing.assert_allclose(found.features(IMAGES), caught[0].numpy(), rtol=1e-4, atol=1e-5)
    assert found.dimensions == 1024


def test_timm_features_are_its_own_pooled_ones(tmp_path):
    torch = pytest.importorskip("torch", reason="needs the extra 'models'")
    timm = pytest.importorskip("timm", reason="needs the extra 'models'")
    torch.manual_seed(0)
    model = timm.create_model("test_vit", pretrained=False).eval()
    torch.save(model.state_dict(), tmp_path / "w.pth")
    found = load_featuriser(f"timm:test_vit@{tmp_path}/w.pth", threads=1)
    side = model.default_cfg["input_size"][1]
    mean, std = (torch.tensor(model.default_cfg[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    pixels = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float()
    small = torch.nn.functional.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True) / 255
    with torch.no_grad():
        expected = model.forward_head(model.forward_features((small - mean) / std), pre_logits=True)
    np.testing.assert_allclose(found.features(IMAGES), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_sscd_runs_the_torchscript_file_on_the_whole_image_at_288(tmp_path):
    torch = pytest.importorskip("torch", reason="needs the extra 'models'")

    class Descriptor(torch.nn.Module):
        def forward(self, x):
            assert x.shape[1:] == (3, 288, 288)
            return torch.nn.functional.normalize(torch.nn.functional.avg_pool2d(x, 96).flatten(1), dim=1)

    file = tmp_path / "sscd.torchscript.pt"
    torch.jit.script(Descriptor()).save(str(file))
    found = load_featuriser(f"sscd@{file}")
    table = found.features(IMAGES)
    assert (table.shape, found.dimensions) == ((5, 27), 27)
    np.testing.assert_allclose(np.linalg.norm(table, axis=1), 1.0, rtol=1e-5)
    assert found.name.startswith("sscd-")
    with pytest.raises(InputError, match="the weights file cannot be read"):
        load_featuriser(f"sscd@{tmp_path}/absent.pt")
    torch.save({"a": torch.zeros(2)}, tmp_path / "state.pt")
    with pytest.raises(InputError, match="is no TorchScript file"):
        load_featuriser(f"sscd@{tmp_path}/state.pt")


# -------------------------------------------------------------------------------------------------------------- onnx


def onnx_model(path: Path, *, shape=("n", 3, 32, 48), channels=1):
    """Mean over height and width, and the maximum as a second output."""
    onnx = pytest.importorskip("onnx", reason="needs the extra 'models'")
    pytest.importorskip("onnxruntime", reason="needs the extra 'models'")
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    axes = [axis for axis in (1, 2, 3) if axis != channels]
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
        helper.make_node("ReduceMax", ["x", "axes"], ["most"], keepdims=0),
    ]
    values = [helper.make_tensor("axes", onnx.TensorProto.INT64, [2], axes)]
    outputs = [helper.make_tensor_value_info(name, floats, [shape[0], 3]) for name in ("mean", "most")]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", floats, shape)], outputs, values)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.mark.parametrize(("shape", "channels"), [(("n", 3, 32, 48), 1), ((1, 3, 32, 48), 1), (("n", 32, 48, 3), 3)])
def test_onnx_input_is_resized_and_normalised_as_described(shape, channels, tmp_path):
    path = onnx_model(tmp_path / "m.onnx", shape=shape, channels=channels)
    plain = load_featuriser(str(path), threads=1)
    small = np.stack([np.asarray(Image.fromarray(i).resize((48, 32), Image.Resampling.BILINEAR), np.float64) for i in IMAGES])
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    np.testing.assert_allclose(plain.features(IMAGES), ((small - mean) / std).mean(axis=(1, 2)), rtol=1e-4, atol=1e-5)
    (tmp_path / "m.json").write_text(json.dumps({"mean": 128, "std": 128, "crop": 0.5, "output": "most"}))
    other = load_featuriser(f"other={path}")
    cropped = [np.asarray(Image.fromarray(i[64:192, 64:192]).resize((48, 32), Image.Resampling.BILINEAR), np.float64) for i in IMAGES]
    np.testing.assert_allclose(other.features(IMAGES), ((np.stack(cropped) - 128) / 128).max(axis=(1, 2)), rtol=1e-5, atol=1e-6)
    assert plain.name != other.name


def test_onnx_files_that_cannot_be_used(tmp_path):
    path = onnx_model(tmp_path / "m.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="is no ONNX model"):
        load_featuriser(str(tmp_path / "bad.onnx"))
    with pytest.raises(InputError, match="the model cannot be read"):
        load_featuriser(str(tmp_path / "absent.onnx"))
    with pytest.raises(InputError, match="not float32 images"):
        load_featuriser(str(onnx_model(tmp_path / "five.onnx", shape=("n", 5, 8, 8))))
    for text in ('{"size": 3}', "[", "[" * 100_000, '{"crop": 0}'):
        (tmp_path / "m.json").write_text(text)
        with pytest.raises(InputError, match="does not describe"):
            load_featuriser(str(path))
    (tmp_path / "m.json").write_text('{"output": "nothing"}')
    with pytest.raises(UsageError, match="the model has no output 'nothing'"):
        load_featuriser(str(path))


def test_the_shared_classifier_gives_its_published_answers(tmp_path):
    """As a featuriser, whose features are the scores: the five best classes of each photo are those on file."""
    model = SHARED / "classifier" / "mobilenet_v1_0.25_128.onnx"
    if not model.exists():
        pytest.skip("the shared classifier is not beside the checkout")
    pytest.importorskip("onnxruntime", reason="needs the extra 'models'")
    local = tmp_path / "mobilenet.onnx"
    local.write_bytes(model.read_bytes())
    (tmp_path / "mobilenet.json").write_text(json.dumps({"mean": 128, "std": 128, "crop": 0.875}))
    found = load_featuriser(str(local), threads=1)
    expected = json.loads((model.parent / "mobilenet_v1_0.25_128.top5.json").read_text())
    right = 0
    for name, best in list(expected.items())[:10]:
        image = np.asarray(Image.open(SHARED / "photos" / name).convert("RGB"))
        right += int(np.argmax(found.features(image[None])[0])) == (best[0] if isinstance(best[0], int) else int(best[0]["class"]))
    assert right == 10


def test_missing_extra_is_an_error_of_its_own():
    assert MissingExtraError("timm", "models").remedy == "Install it with: pip install 'retest[models]'"
