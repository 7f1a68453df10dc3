"""Our preprocessing against torchvision's and timm's own, number for number."""

import json

import numpy as np
import pytest
from PIL import Image

from retest.errors import InputError, NotFoundError, UsageError
from retest.models import CallableTransform, Preprocessing, Step
from retest.models.transforms import read_description

SIZES = [(500, 375), (375, 500), (224, 224), (255, 257), (60, 90), (1000, 333), (33, 31)]


def photo(width, height, seed=0):
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (max(2, height // 8), max(2, width // 8), 3)).astype(np.uint8)
    noisy = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    return np.clip(noisy + rng.integers(-20, 21, noisy.shape), 0, 255).astype(np.uint8)


def assert_equal_to_library(ours, transform):
    assert isinstance(ours, Preprocessing)
    for number, size in enumerate(SIZES):
        rgb = photo(*size, seed=number)
        expected = transform(Image.fromarray(rgb)).numpy()
        np.testing.assert_array_equal(ours(rgb), expected)


def distinct_presets():
    models = pytest.importorskip("torchvision.models")
    presets = {}
    for arch in models.list_models(module=models):
        for weights in models.get_model_weights(arch):
            presets.setdefault(repr(weights.transforms()), weights)
    return list(presets.values())


def test_every_preset_of_torchvision_gives_its_own_numbers():
    from retest.models.library_transforms import read_transform

    presets = distinct_presets()
    assert len(presets) > 20
    for weights in presets:
        assert_equal_to_library(read_transform(weights.transforms()), weights.transforms())


def test_every_geometry_of_timm_gives_its_own_numbers():
    timm = pytest.importorskip("timm")
    from retest.models.library_transforms import read_transform

    seen, own = {}, 0
    for name in timm.list_models(pretrained=True):
        config = timm.models.get_pretrained_cfg(name)
        settings = timm.data.resolve_data_config(pretrained_cfg=config.to_dict(), use_test_size=True)
        seen.setdefault(json.dumps(settings, default=str, sort_keys=True), settings)
    assert len(seen) > 100
    small = [settings for settings in seen.values() if max(settings["input_size"]) <= 300]
    for number, settings in enumerate(small):
        transform = timm.data.create_transform(**settings, is_training=False)
        ours = read_transform(transform)
        if isinstance(ours, CallableTransform):
            own += 1
        rgb = photo(*SIZES[number % len(SIZES)], seed=number)
        np.testing.assert_array_equal(ours(rgb), transform(Image.fromarray(rgb)).numpy(), err_msg=str(settings))
    assert own <= len(small) // 20  # nearly all are read; the few others keep timm's own object


def test_geometry_and_normalisation_together_are_the_whole():
    steps = (Step("resize", (40,)), Step("center_crop", (32,)))
    both = Preprocessing(steps, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1))
    images = [photo(50, 41, seed=number) for number in range(3)]
    pixels = np.stack([both.geometry(image) for image in images])
    assert (pixels.dtype, pixels.shape) == (np.uint8, (3, 32, 32, 3))
    expected = (pixels.transpose(0, 3, 1, 2) / 255 - np.array([0.5, 0.4, 0.3])[:, None, None]) / np.array([0.2, 0.2, 0.1])[:, None, None]
    np.testing.assert_allclose(both.normalise(pixels), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(np.stack([both(image) for image in images]), both.normalise(pixels))


def test_layout_and_channel_order():
    pixels = photo(8, 6)[None]
    plain = Preprocessing((), mean=(0, 0, 0), std=(1, 1, 1), scale=1)
    np.testing.assert_array_equal(plain.normalise(pixels), pixels.transpose(0, 3, 1, 2))
    last = Preprocessing((), mean=(0, 0, 0), std=(1, 1, 1), scale=1, layout="NHWC", bgr=True)
    np.testing.assert_array_equal(last.normalise(pixels), pixels[..., ::-1])


def test_central_fraction_is_that_of_tensorflow():
    image = photo(501, 375)
    cut = [int((side - 0.875 * side) / 2) for side in (375, 501)]
    expected = image[cut[0] : 375 - cut[0], cut[1] : 501 - cut[1]]
    np.testing.assert_array_equal(Preprocessing((Step("central_fraction", fraction=0.875),)).geometry(image), expected)


def test_the_json_form_comes_back():
    steps = (Step("central_fraction", fraction=0.9), Step("resize", (20, 30), interpolation="bicubic"), Step("center_crop", (16,)))
    one = Preprocessing(steps, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), scale=1.0, layout="NHWC", bgr=True)
    assert Preprocessing.from_json(json.loads(one.description)) == one


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": [{"resize": 2, "center_crop": 2}]}, "a step has one of"),
        ({"steps": [{"resize": "big"}]}, "needs whole numbers"),
        ({"steps": [{"resize": 0}]}, "at least 1 pixel"),
        ({"steps": [{"resize": 8, "interpolation": "linear"}]}, "there is no such filter"),
        ({"steps": [{"central_fraction": 0}]}, "above 0"),
        ({"mean": [0.5]}, "not enough values"),
        ({"std": [0, 1, 1]}, "must be positive"),
        ({"layout": "CHW"}, "NCHW or NHWC"),
        ({"mena": [1, 2, 3]}, "unknown key 'mena'"),
    ],
)
def test_wrong_descriptions_are_named(change, message):
    content = {"steps": [{"resize": 8}], "mean": [0, 0, 0], "std": [1, 1, 1], **change}
    with pytest.raises(InputError, match=f"my.json: is no description of a preprocessing .*{message}"):
        Preprocessing.from_json(content, item="my.json")


def test_missing_keys_and_files_are_named(tmp_path):
    with pytest.raises(InputError, match="lacks the key 'std'"):
        Preprocessing.from_json({"steps": [], "mean": [0, 0, 0]})
    with pytest.raises(NotFoundError, match=r"none\.json: no such file"):
        read_description(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InputError, match=r"bad\.json: is no JSON file"):
        read_description(tmp_path / "bad.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(InputError, match="holds no JSON object"):
        read_description(tmp_path / "list.json")
    with pytest.raises(UsageError, match="there is no such step"):
        Step("zoom", (3,))
