"""torch is optional: nothing imports it until it is asked for."""

from __future__ import annotations

import pickle
import subprocess
import sys
import types

import numpy as np
import pytest

from retest.benchmarks import ArrayImages, as_torch_dataset
from retest.errors import MissingExtraError


@pytest.fixture
def images():
    data = np.arange(3 * 4 * 4 * 3, dtype=np.uint8).reshape(3, 4, 4, 3)
    return ArrayImages("tiny", image_ids=["a", "b", "c"], labels=[0, 1, 0], data=data, class_names=["cat", "dog"])


@pytest.fixture
def fake_torch(monkeypatch):
    """The one class of torch that is used, so that the wrapper is tested where torch is not installed."""

    class Dataset:
        pass

    data = types.ModuleType("torch.utils.data")
    data.Dataset = Dataset
    for name, module in (
        ("torch", types.ModuleType("torch")),
        ("torch.utils", types.ModuleType("torch.utils")),
        ("torch.utils.data", data),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "retest.benchmarks.torch_images", raising=False)
    yield Dataset
    sys.modules.pop("retest.benchmarks.torch_images", None)


def test_importing_the_room_imports_nothing_heavy():
    heavy = ("torch", "sqlalchemy", "pandas", "scipy", "matplotlib")
    code = f"import sys, retest.benchmarks, retest.benchmarks.imagenetv2; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_wrapper_is_a_torch_dataset(images, fake_torch):
    wrapped = as_torch_dataset(images, transform=lambda image: np.asarray(image).sum())
    assert isinstance(wrapped, fake_torch)
    assert len(wrapped) == 3
    assert wrapped[1] == (images.data[1].sum(), 1)
    assert (wrapped.classes, wrapped.targets) == (["cat", "dog"], [0, 1, 0])
    image, label = as_torch_dataset(images)[2]
    assert np.array_equal(np.asarray(image), images.data[2])
    assert label == 0


def test_the_wrapper_can_go_to_another_process(images, fake_torch):
    again = pickle.loads(pickle.dumps(as_torch_dataset(images)))
    assert np.array_equal(np.asarray(again[0][0]), images.data[0])


def test_without_torch_the_remedy_is_named(images, monkeypatch):
    for name in ("torch", "torch.utils", "torch.utils.data"):  # another test may have imported the real one
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "retest.benchmarks.torch_images", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install 'retest\[models\]'"):
        as_torch_dataset(images)


def test_with_the_real_torch(images):
    torch = pytest.importorskip("torch")
    loader = torch.utils.data.DataLoader(as_torch_dataset(images, transform=lambda image: torch.tensor(np.asarray(image))), batch_size=2)
    batches = list(loader)
    assert [tuple(batch[0].shape) for batch in batches] == [(2, 4, 4, 3), (1, 4, 4, 3)]
    assert torch.cat([batch[1] for batch in batches]).tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [0, 1]}, "2 labels for 3 images"),
        ({"labels": [0, 1, 2]}, "labels from 0 to 2 for 2 classes"),
        ({"labels": [0, 1, -2]}, "labels from -2 to 1 for 2 classes"),
        ({"image_ids": ["a", "b", "a"]}, "the same id"),
        ({"data": np.zeros((3, 4, 4), dtype=np.uint8)}, "not uint8"),
        ({"data": np.zeros((3, 4, 4, 3))}, "not uint8"),
    ],
)
def test_inconsistent_data_sets_are_refused(change, message):
    from retest.errors import InputError

    arguments = {
        "image_ids": ["a", "b", "c"],
        "labels": [0, 1, -1],
        "data": np.zeros((3, 4, 4, 3), dtype=np.uint8),
        "class_names": ["cat", "dog"],
    }
    ArrayImages("fine", **arguments)
    with pytest.raises(InputError, match=message):
        ArrayImages("tiny", **(arguments | change))


def test_labels_that_are_given_stay_the_caller_s_own():
    labels = np.array([0, 1, 0])
    made = ArrayImages("tiny", image_ids=["a", "b", "c"], labels=labels, data=np.zeros((3, 4, 4, 3), np.uint8), class_names=["cat", "dog"])
    labels[0] = 1
    assert made.labels.tolist() == [0, 1, 0]
    with pytest.raises(ValueError, match="read-only"):
        made.labels[0] = 1
