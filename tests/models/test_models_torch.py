"""Torch models behind the seam: real architectures with random weights, engines, memory, safe weights, and what goes wrong."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image

from retest.errors import InputError, NotFoundError, SourceError, UsageError
from retest.models import Classifier, Preprocessing, RunParameters, Step, TorchClassifier, open_classifier, open_classifiers
from retest.models.hub import check_reachable
from retest.models.microbatch import MicroBatches, is_out_of_memory

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")
pytest.importorskip("timm")

TINY = Preprocessing((Step("resize", (8, 8)),))


def photos(count=3, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (40 + 7 * number, 60, 3)).astype(np.uint8) for number in range(count)]


class Net(torch.nn.Module):
    def __init__(self, classes=5, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.head = torch.nn.Linear(4, classes)
        for value in self.parameters():
            value.data = torch.randn(value.shape, generator=generator)

    def forward(self, pixels):
        return self.head(torch.relu(self.conv(pixels)).mean(dim=(2, 3)))


def tiny(**options):
    return TorchClassifier("tiny", Net(), TINY, **{"device": "cpu", "engine": "eager", **options})


def batch_of(classifier, images):
    return np.stack([classifier.preprocess(image) for image in images])


@pytest.mark.parametrize("name", ["timm:test_vit", "timm:test_efficientnet", "torchvision:squeezenet1_1"])
def test_architectures_with_random_weights_give_the_librarys_own_logits(name):
    """The library's model and the library's transform, one image at a time, against preprocess and predict in each engine."""
    import timm
    from torchvision import models

    images = photos()
    first = open_classifier(f"{name}@random", run=RunParameters(device="cpu", engine="eager"))
    assert isinstance(first, Classifier)
    if name.startswith("timm"):
        config = timm.data.resolve_model_data_config(first.module, use_test_size=True)
        transform = timm.data.create_transform(**config, is_training=False)
    else:
        transform = models.SqueezeNet1_1_Weights.IMAGENET1K_V1.transforms()
    with torch.inference_mode():
        expected = torch.cat([first.module(transform(Image.fromarray(image))[None]) for image in images]).numpy()
    np.testing.assert_allclose(first.predict(batch_of(first, images)), expected, atol=2e-5)
    exported = open_classifier(f"{name}@random", run=RunParameters(device="cpu", engine="auto", threads=1))
    np.testing.assert_allclose(exported.predict(batch_of(exported, images)), expected, atol=1e-4)
    assert exported.provenance["engine"].startswith("onnx")
    assert exported.provenance["weights_sha256"] == first.provenance["weights_sha256"]
    assert len(exported.notes) == 1  # that its weights are random; nothing about the engine


def test_random_weights_come_from_a_fixed_seed_and_disturb_no_other():
    state = torch.random.get_rng_state()
    one, two = (open_classifier("timm:test_vit@random", run=RunParameters(device="cpu")) for _ in range(2))
    assert one.fingerprint == two.fingerprint
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_fingerprint_changes_with_weights_architecture_preprocessing_and_precision():
    class Other(Net):
        def forward(self, pixels):
            return super().forward(pixels) * 2

    class Dilated(Net):
        def __init__(self):
            super().__init__()
            self.conv.dilation = (2, 2)

    options = {"device": "cpu", "engine": "eager"}
    prints = [
        TorchClassifier("a", Net(), TINY, **options).fingerprint,
        TorchClassifier("a", Net(seed=1), TINY, **options).fingerprint,
        TorchClassifier("a", Other(), TINY, **options).fingerprint,
        TorchClassifier("a", Dilated(), TINY, **options).fingerprint,
        TorchClassifier("a", Net(), Preprocessing((Step("resize", (9, 9)),)), **options).fingerprint,
        TorchClassifier("a", Net(), TINY, device="cpu", engine="eager", precision="bf16").fingerprint,
        TorchClassifier("a", Net(), lambda image: torch.zeros(3, 8, 8), **options).fingerprint,
    ]
    assert len(set(prints)) == len(prints)
    assert TorchClassifier("b", Net(), TINY, **options).fingerprint == prints[0]


def test_models_with_one_geometry_share_it_whatever_their_normalisation():
    one, two = tiny(), TorchClassifier("b", Net(), Preprocessing((Step("resize", (8, 8)),), mean=(0, 0, 0)), device="cpu")
    assert one.shared_input == two.shared_input
    assert one.preprocessing != two.preprocessing
    assert pickle.loads(pickle.dumps(one.preprocess))(photos(1)[0]).shape == (8, 8, 3)


def test_several_copies_of_a_model_give_the_same():
    images = photos(5)
    one, two = tiny(), tiny(device="cpu,cpu")
    batch = batch_of(one, images)
    np.testing.assert_array_equal(two.predict(batch), one.predict(batch))
    assert two.provenance["device"] == "cpu, cpu"


def test_bf16_autocast_is_near_and_is_recorded():
    one, two = tiny(), tiny(precision="bf16")
    batch = batch_of(one, photos())
    np.testing.assert_allclose(two.predict(batch), one.predict(batch), rtol=0.1, atol=0.2)
    assert not np.array_equal(two.predict(batch), one.predict(batch))
    assert two.provenance["precision"] == "bf16"


def test_an_engine_that_fails_or_differs_falls_back_with_a_note(monkeypatch):
    from retest.models import engines

    batch = batch_of(tiny(), photos())
    expected = tiny().predict(batch)

    def broken(module, **_):
        raise RuntimeError("no compiler\nlong story")

    monkeypatch.setattr(torch, "compile", broken)
    one = tiny(engine="compile")
    np.testing.assert_array_equal(one.predict(batch), expected)
    assert one.provenance["engine"] == "eager"
    assert one.notes == ["tiny runs eagerly, because the engine compile does not work for it (RuntimeError: no compiler)"]

    monkeypatch.setattr(torch, "compile", lambda module, **_: lambda pixels: module(pixels) + 2e-4)
    two = tiny(engine="compile")
    np.testing.assert_array_equal(two.predict(batch), expected)
    assert "differ from eager execution by 0.0002" in two.notes[0]

    monkeypatch.setattr(torch, "compile", lambda module, **_: lambda pixels: module(pixels) + 5e-5)
    three = tiny(engine="compile")
    assert np.abs(three.predict(batch) - expected).max() == pytest.approx(5e-5, rel=0.1)
    assert (three.notes, three.provenance["engine"]) == ([], "compile")

    def cannot(*_):
        raise ValueError("unsupported operator")

    monkeypatch.setattr(engines, "_export_script", cannot)
    monkeypatch.setattr(engines, "_export_dynamo", cannot)
    four = tiny(engine="onnx")
    np.testing.assert_array_equal(four.predict(batch), expected)
    assert "torchscript: ValueError: unsupported operator; dynamo: ValueError" in four.notes[0]


class Memory:
    """A device on which so many images fit, and no more."""

    def __init__(self, fits, error):
        self.fits, self.error, self.sizes = fits, error, []

    def __call__(self, batch):
        self.sizes.append(len(batch))
        if len(batch) > self.fits:
            raise self.error
        return batch[:, :2].astype(np.float32)


OUT = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize("error", [OUT, RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError()])
def test_out_of_memory_halves_the_batch_and_goes_on(error):
    released = []
    device, pieces = Memory(5, error), MicroBatches("m", size=32, release=lambda: released.append(1))
    batch = np.arange(300).reshape(100, 3)
    np.testing.assert_array_equal(pieces(device, batch), batch[:, :2])
    assert device.sizes == [32, 16, 8] + [4] * 25
    assert (pieces.size, pieces.halved, len(released)) == (4, 3, 3)
    device.sizes.clear()
    pieces(device, batch[:9])
    assert device.sizes == [4, 4, 1]  # what was learned stays


def test_the_largest_batch_that_fits_is_found():
    batch = np.arange(30).reshape(10, 3)
    device, pieces = Memory(700, OUT), MicroBatches("m", size=64, limit=1024)
    np.testing.assert_array_equal(pieces(device, batch), batch[:, :2])
    assert device.sizes == [128, 256, 512, 1024, 10]
    assert pieces.size == 512
    roomy = Memory(10**6, OUT)
    pieces = MicroBatches("m", size=64, limit=256)
    pieces(roomy, batch)
    pieces(roomy, batch)
    assert roomy.sizes == [128, 256, 10, 10]


def test_other_errors_are_not_taken_for_memory():
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        MicroBatches("m", size=4)(Memory(1, RuntimeError("shapes")), np.zeros((4, 3)))
    with pytest.raises(InputError, match="m: does not fit into the memory, not even with one image"):
        MicroBatches("m", size=4)(Memory(0, OUT), np.zeros((4, 3)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda:7"}, "cuda:7: is not there: PyTorch sees"),
        ({"device": "toaster"}, "toaster: is no device"),
        ({"engine": "warp"}, "there is no such engine"),
        ({"precision": "fp8"}, "there is no such precision"),
        ({"device": "cpu", "precision": "fp16"}, "precision fp16: needs a GPU"),
        ({"device": "cpu", "engine": "onnx", "precision": "bf16"}, "runs on the CPU in fp32 only"),
    ],
)
def test_wrong_settings_show_before_anything_is_loaded(options, message):
    with pytest.raises(UsageError, match=message):
        open_classifier("timm:test_vit@random", run=RunParameters(**options))


# ------------------------------------------------------------------------------------------------------------ weights


def saved(tmp_path, name, content):
    path = tmp_path / name
    if name.endswith(".safetensors"):
        from safetensors.torch import save_file

        save_file(content, path)
    else:
        torch.save(content, path)
    return path


def test_checkpoints_in_all_their_forms(tmp_path):
    own = open_classifier("timm:test_vit@random", run=RunParameters(device="cpu", engine="eager"))
    weights = {name: value.contiguous() for name, value in own.module.state_dict().items()}
    batch = batch_of(own, photos())
    forms = {
        "plain.safetensors": weights,
        "plain.pth": weights,
        "nested.pt": {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in weights.items()}},
        "lightning.ckpt": {"state_dict": {f"model.{name}": value for name, value in weights.items()}},
    }
    for name, content in forms.items():
        path = saved(tmp_path, name, content)
        one = open_classifier(f"mine=timm:test_vit={path}", run=RunParameters(device="cpu", engine="eager"))
        np.testing.assert_array_equal(one.predict(batch), own.predict(batch))
        assert one.name == "mine"
        assert one.provenance["weights_file"] == name
        assert "its preprocessing is that of timm's test_vit" in one.notes[0]


def test_half_precision_other_class_counts_and_a_preprocessing_of_ones_own(tmp_path):
    import timm

    module = timm.create_model("test_vit", num_classes=7)
    path = saved(tmp_path, "seven.safetensors", {name: value.half().contiguous() for name, value in module.state_dict().items()})
    sidecar = tmp_path / "seven.json"
    sidecar.write_text(json.dumps({"steps": [{"resize": [160, 160]}], "mean": [0, 0, 0], "std": [1, 1, 1]}))
    from retest.models import parse_models

    (spec,), _ = parse_models([f"timm:test_vit={path}"], sidecars={"test_vit": str(sidecar)})
    one = open_classifier(spec, run=RunParameters(device="cpu", engine="eager"))
    assert one.num_classes == 7
    assert one.transform.mean == (0, 0, 0)
    assert one.module.state_dict()["norm.weight"].dtype == torch.float32
    assert one.notes == []


class Evil:
    def __reduce__(self):
        return print, ("I was run",)


def test_a_pickle_that_would_run_code_is_refused(tmp_path, capsys):
    path = saved(tmp_path, "evil.pth", {"state_dict": Evil()})
    with pytest.raises(InputError, match=r"evil\.pth: is a pickle that holds more than weights and would run code.*safetensors"):
        open_classifier(f"timm:test_vit={path}")
    assert "I was run" not in capsys.readouterr().out


def test_weights_that_do_not_fit_or_are_damaged_are_named(tmp_path):
    path = saved(tmp_path, "other.safetensors", {"conv.weight": torch.zeros(3)})
    with pytest.raises(InputError, match="do not fit timm:test_vit: they lack 'blocks"):
        open_classifier(f"timm:test_vit={path}")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"broken\.safetensors: is no safetensors file"):
        open_classifier(f"timm:test_vit={tmp_path / 'broken.safetensors'}")
    (tmp_path / "broken.pth").write_bytes(b"nothing at all")
    with pytest.raises(InputError, match=r"broken\.pth"):
        open_classifier(f"timm:test_vit={tmp_path / 'broken.pth'}")
    with pytest.raises(NotFoundError, match=r"none\.pth: no such file"):
        open_classifier(f"timm:test_vit={tmp_path / 'none.pth'}")
    empty = saved(tmp_path, "empty.pth", {"epoch": 3})
    with pytest.raises(InputError, match="holds no table of weights"):
        open_classifier(f"timm:test_vit={empty}")


def test_missing_weights_without_a_network(monkeypatch, tmp_path):
    import urllib.error

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def offline(*_, **__):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    monkeypatch.setattr("torch.hub.urlopen", offline)
    with pytest.raises(SourceError, match=r"resnet18: its weights IMAGENET1K_V1 are not on this machine.*resnet18=FILE\.safetensors"):
        open_classifier("resnet18")

    def hub(*_, **__):
        raise OSError("we cannot find the requested files in the local cache")

    monkeypatch.setattr("retest.models.architectures.check_reachable", lambda config: None)
    monkeypatch.setattr("timm.create_model", hub)
    with pytest.raises(SourceError, match=r"test_vit\.r160_in1k: its weights r160_in1k are not on this machine"):
        open_classifier("timm:test_vit")


def hub_cache(monkeypatch, folder):
    """An empty cache of the hub, and a hub that does not answer."""
    requests = []

    class Session:
        def head(self, url, *, timeout):
            requests.append((url, timeout))
            raise OSError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    monkeypatch.setattr("huggingface_hub.utils.get_session", Session)
    monkeypatch.setenv("TORCH_HOME", str(folder / "torch"))
    return requests


def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch, tmp_path):
    requests = hub_cache(monkeypatch, tmp_path)
    monkeypatch.setattr("timm.create_model", lambda *_, **__: pytest.fail("the hub's client tries for most of a minute"))
    with pytest.raises(SourceError, match=r"not on this machine and cannot be downloaded .*does not answer: Name or service not known"):
        open_classifier("timm:test_vit")
    assert len(requests) == 1


def test_weights_that_are_kept_need_no_hub(monkeypatch, tmp_path):
    import timm
    from safetensors.torch import save_file

    requests = hub_cache(monkeypatch, tmp_path)
    snapshot = tmp_path / "models--timm--test_vit.r160_in1k" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text(snapshot.name)
    save_file(
        {name: value.contiguous() for name, value in timm.create_model("test_vit").state_dict().items()}, snapshot / "model.safetensors"
    )
    check_reachable(timm.get_pretrained_cfg("test_vit").to_dict())
    assert requests == []


def test_random_weights_say_so():
    for name in ("timm:test_vit", "torchvision:squeezenet1_1"):
        model = open_classifier(f"{name}@random", run=RunParameters(device="cpu"))
        library, _, architecture = name.partition(":")
        expected = {"library": library, "architecture": architecture, "weights": "random, seed 0"}
        assert expected.items() <= model.provenance.items()
        assert "its weights are random" in model.notes[0]


# ---------------------------------------------------------------------------------------------------------- functions


def test_functions_may_return_pairs_tables_and_classifiers(tmp_path, monkeypatch):
    (tmp_path / "own_models.py").write_text(
        "import torch\n"
        "from torchvision import transforms\n"
        "def net(): return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 4))\n"
        "def prepare(image): return transforms.functional.to_tensor(image.resize((9, 9)))\n"
        "def pair(): return net(), transforms.Compose([transforms.Resize(8), transforms.CenterCrop(8), transforms.ToTensor(), "
        "transforms.Normalize((0.5,) * 3, (0.5,) * 3)])\n"
        "def table(): return {'a': (net(), prepare), 'b': (net(), prepare)}\n"
        "def nothing(): return 3\n"
        "def needs(study): return table()\n"
        "def fails(): raise ValueError('no weights here')\n"
    )
    monkeypatch.chdir(tmp_path)
    run = RunParameters(device="cpu", engine="eager")
    pair = open_classifier("own_models:pair", run=run)
    assert (pair.name, pair.num_classes) == ("pair", 4)
    assert isinstance(pair.transform, Preprocessing)
    assert open_classifier("other=own_models:pair", run=run).name == "other"
    table = open_classifiers(["own_models:table"], run=run)
    assert [one.name for one in table] == ["a", "b"]
    assert batch_of(table[0], photos(2)).shape == (2, 3, 9, 9)
    assert table[0].predict(batch_of(table[0], photos(2))).shape == (2, 4)
    assert [one.name for one in open_classifiers(["own_models:needs"], run=run, study=object())] == ["a", "b"]
    for spec, message in {
        "own_models:nothing": "returned a int, which is no classifier",
        "own_models:needs": "takes a study, and none is given",
        "own_models:fails": "fails with ValueError: no weights here",
        "own_models:gone": "cannot be imported",
        "no_such_module:load": "cannot be imported",
    }.items():
        with pytest.raises(UsageError, match=message):
            open_classifiers([spec], run=run)
    with pytest.raises(UsageError, match="gives 2 models"):
        open_classifier("own_models:table", run=run)
    with pytest.raises(UsageError, match="a: two models have this name"):
        open_classifiers(["own_models:table", "own_models:table"], run=run)


# --------------------------------------------------------------------------------------------------------------- onnx


def exported(path, batch=None):
    import onnx
    from onnx import TensorProto, helper

    shape = [batch or "n", 3, 4, 4]
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["x"], ["p"]), helper.make_node("Flatten", ["p"], ["y"])],
        "mean",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch or "n", 3])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


SIDECAR = {"steps": [{"resize": [4, 4]}], "mean": [0, 0, 0], "std": [1, 1, 1], "scale": 1, "classes": ["red", "green", "blue"]}


@pytest.mark.parametrize("batch", [None, 2])
def test_an_onnx_file_with_its_description(tmp_path, batch):
    pytest.importorskip("onnx")
    path = exported(tmp_path / "mean.onnx", batch)
    (tmp_path / "mean.onnx.json").write_text(json.dumps(SIDECAR))
    one = open_classifier(str(path))
    images = photos(5)
    pixels = batch_of(one, images)
    np.testing.assert_allclose(one.predict(pixels), pixels.mean(axis=(1, 2)), rtol=1e-5)
    assert (one.name, one.num_classes, one.class_names) == ("mean", 3, ("red", "green", "blue"))
    before = one.fingerprint
    (tmp_path / "mean.onnx.json").write_text(json.dumps({**SIDECAR, "scale": 2}))
    assert open_classifier(str(path)).fingerprint != before


def test_onnx_files_that_cannot_be_used_are_named(tmp_path):
    pytest.importorskip("onnx")
    path = exported(tmp_path / "mean.onnx")
    with pytest.raises(NotFoundError, match=r"nothing says how images are prepared for it.*mean\.onnx\.json"):
        open_classifier(str(path))
    (tmp_path / "mean.json").write_text(json.dumps({**SIDECAR, "steps": [{"resize": [5, 4]}]}))
    with pytest.raises(InputError, match="does not run on an image so prepared"):
        open_classifier(str(path))
    (tmp_path / "mean.json").write_text(json.dumps({**SIDECAR, "classes": "red"}))
    with pytest.raises(InputError, match="classes must be a list of names"):
        open_classifier(str(path))
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    (tmp_path / "bad.json").write_text(json.dumps(SIDECAR))
    with pytest.raises(InputError, match=r"bad\.onnx: cannot be read as an ONNX model"):
        open_classifier(str(tmp_path / "bad.onnx"))
    with pytest.raises(NotFoundError, match=r"none\.onnx: no such file"):
        open_classifier(str(tmp_path / "none.onnx"))
