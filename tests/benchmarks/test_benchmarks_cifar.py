"""CIFAR-10 in both its versions, CIFAR-10.1 and the published predictions; nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import struct
import tarfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retest.benchmarks import CIFAR10, CIFAR101, CIFAR_CLASSES, LabelledImages, RemoteFile, read_cifar_predictions
from retest.benchmarks import cifar as cifar_module
from retest.benchmarks.plainpickle import read_plain_pickle
from retest.errors import InputError, UsageError

RNG = np.random.default_rng(1)
IMAGES = RNG.integers(0, 256, (10_000, 32, 32, 3), dtype=np.uint8)
LABELS = RNG.integers(0, 10, 10_000)
PLANES = IMAGES.transpose(0, 3, 1, 2).reshape(10_000, 3072)


def python2_batch(planes=PLANES, labels=LABELS):
    """The bytes of a batch as Python 2 and its numpy wrote them: protocol 2, byte strings, counted memo."""

    def text(value):
        return b"U" + bytes([len(value)]) + value

    def number(value):
        return (
            b"K" + bytes([value])
            if 0 <= value < 256
            else (b"M" + struct.pack("<H", value) if value < 65536 else b"J" + struct.pack("<i", value))
        )

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x04cnumpy\nndarray\nq\x05K\x00\x85" + text(b"b") + b"\x87Rq\x06"
        b"(K\x01" + number(planes.shape[0]) + number(planes.shape[1]) + b"\x86"
        b"cnumpy\ndtype\nq\x07" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89T" + struct.pack("<i", planes.nbytes) + planes.tobytes() + b"tb"
    )
    entries = (
        text(b"batch_label")
        + text(b"testing batch 1 of 1")
        + text(b"labels")
        + b"]q\x03("
        + b"".join(number(int(label)) for label in labels)
        + b"e"
        + text(b"data")
        + array
        + text(b"filenames")
        + b"]("
        + b"".join(text(b"x.png") for _ in range(3))
        + b"e"
    )
    return b"\x80\x02}q\x01(" + entries + b"u."


def binary_batch(planes=PLANES, labels=LABELS):
    return np.concatenate([labels.astype(np.uint8)[:, None], planes], axis=1).tobytes()


def test_the_made_up_batch_is_what_pickle_reads():
    """The independent judge of the test's own bytes, and of our reading of them."""
    expected = pickle.loads(python2_batch(), encoding="latin1")
    assert np.array_equal(expected["data"], PLANES)
    found = read_plain_pickle(python2_batch(), item="x")
    assert found.keys() == expected.keys()
    assert found["labels"] == expected["labels"] == LABELS.tolist()
    assert np.array_equal(found["data"], PLANES)
    assert found["data"].dtype == np.uint8
    assert (found["batch_label"], found["filenames"]) == (expected["batch_label"], expected["filenames"])


@pytest.mark.parametrize("layout", ["bin", "py", "bin flat", "py flat"])
def test_both_versions_give_the_same_test_set(tmp_path, layout):
    kind, _, flat = layout.partition(" ")
    folder = tmp_path if flat else tmp_path / f"cifar-10-batches-{kind}"
    folder.mkdir(exist_ok=True)
    if kind == "bin":
        (folder / "test_batch.bin").write_bytes(binary_batch())
    else:
        (folder / "test_batch").write_bytes(python2_batch())
    data_set = CIFAR10(tmp_path)
    assert isinstance(data_set, LabelledImages)
    assert np.array_equal(data_set.data, IMAGES)
    assert data_set.labels.tolist() == LABELS.tolist()
    assert data_set.class_names == CIFAR_CLASSES
    assert data_set.image_ids[0] == "cifar10/00000"
    image, label = data_set[7]
    assert np.array_equal(np.asarray(image), IMAGES[7])
    assert label == LABELS[7]


def test_the_training_set_is_five_batches_in_order(tmp_path):
    for number in range(1, 6):
        (tmp_path / f"data_batch_{number}.bin").write_bytes(binary_batch(np.roll(PLANES, number, axis=0), np.roll(LABELS, number)))
    data_set = CIFAR10(tmp_path, train=True)
    assert len(data_set) == 50_000
    assert np.array_equal(data_set.data[20_000:30_000], np.roll(IMAGES, 3, axis=0))
    assert data_set.labels[20_000:30_000].tolist() == np.roll(LABELS, 3).tolist()
    with pytest.raises(InputError, match="holds neither"):
        CIFAR10(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("test_batch.bin", binary_batch()[:-1], "instead of 30730000"),
        ("test_batch.bin", binary_batch(labels=LABELS + 1), "labels from 1 to 10 for 10 classes"),
        ("test_batch", python2_batch(PLANES[:10]), "does not hold data"),
        ("test_batch", python2_batch(labels=LABELS[:10]), "does not hold data"),
        ("test_batch", pickle.dumps([1, 2], 2), "does not hold data"),
        ("test_batch", b"", "is not a pickle"),
    ],
)
def test_other_contents_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        CIFAR10(tmp_path)


# Pickles that are not plain data


TRIPPED = []


def tripwire(*arguments):
    """Called only by something that really unpickles."""
    TRIPPED.append(arguments)


class Evil:
    def __reduce__(self):
        return (tripwire, ("x",))


class Benign:
    pass


HOSTILE = {
    "call": pickle.dumps(Evil(), 2),
    "call in a dict": pickle.dumps({"data": Evil()}, 2),
    "builtin": b"c__builtin__\neval\n(S'1+1'\ntR.",
    "object": pickle.dumps(Benign(), 2),
    "reference to code": b"cos\nsystem\n.",
    "reference in a list": b"](cos\nsystem\ne.",
    "stack global": pickle.dumps(Evil(), 4),
    "instance": b"(S'x'\nios\nsystem\n.",
    "persistent id": b"Pid\n.",
    "extension": b"\x82\x01.",
    "array of objects": pickle.dumps(np.array([1, "a"], dtype=object), 2),
    "structured array": pickle.dumps(np.zeros(2, dtype=[("a", "i4")]), 2),
    "array of dates": pickle.dumps(np.zeros(2, dtype="M8[s]"), 2),
    "array without content": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR.",
    "array of another class": pickle.dumps(np.arange(3, dtype=np.uint8), 2).replace(b"cnumpy\nndarray\n", b"cnumpy\nmatrix\n"),
    "codec that decompresses": b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x04\x00\x00\x00zliptR.",
    "state of a list": b"](K\x01Kab.",
    "append to a number": b"K\x01K\x02a.",
    "items of a list": b"]K\x01K\x02s.",
    "empty stack": b"0.",
    "pop of nothing": b".",
    "no mark": b"K\x01t.",
    "unknown memo": b"h\x05.",
    "cut": python2_batch()[:200],
    "no end": b"\x80\x02K\x01",
    "unhashable key": b"}]K\x01s.",
    "itself": b"]q\x00h\x00a.",
    "not a pickle": b"hello world",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_pickles_that_are_not_plain_data_are_refused(content):
    with pytest.raises(InputError) as caught:
        read_plain_pickle(content, item="batch")
    assert caught.value.item == "batch"
    assert caught.value.remedy


def test_nothing_is_ever_called():
    """The wire works: pickle itself trips it, reading does not."""
    TRIPPED.clear()
    content = pickle.dumps({"data": Evil()}, 2)
    with pytest.raises(InputError, match=r"wants to call 'test_benchmarks_cifar tripwire'"):
        read_plain_pickle(content, item="x")
    assert TRIPPED == []
    pickle.loads(content)
    assert TRIPPED == [("x",)]


def test_a_pickle_that_doubles_itself_is_refused():
    """A list of two lists of two lists ... of the same lists: 2**40 parts in 300 bytes."""
    doubled = b"]q\x00(K\x01K\x02e"
    for level in range(40):
        doubled += b"](h" + bytes([level]) + b"h" + bytes([level]) + b"eq" + bytes([level + 1])
    with pytest.raises(InputError, match="too many parts"):
        read_plain_pickle(doubled + b".", item="x")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=10) | st.binary(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=15,
)


@given(PLAIN, st.integers(0, 3))
def test_plain_data_equal_what_pickle_reads(value, protocol):
    assert read_plain_pickle(pickle.dumps(value, protocol), item="x") == value


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.uint8).reshape(3, 4),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(3, dtype=">i4"),
        np.zeros((0, 5)),
    ],
)
def test_number_arrays_equal_what_pickle_reads(array, protocol):
    found = read_plain_pickle(pickle.dumps({"a": array}, protocol), item="x")["a"]
    assert np.array_equal(found, array)
    assert found.dtype == array.dtype


# CIFAR-10.1


def cifar101_folder(folder, version, count, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    data = changes.get("data", IMAGES[:count])
    labels = changes.get("labels", LABELS[:count].astype(np.int32))
    np.save(folder / f"cifar10.1_{version}_data.npy", data)
    np.save(folder / f"cifar10.1_{version}_labels.npy", labels)
    return folder


@pytest.mark.parametrize(("version", "count"), [("v4", 2021), ("v6", 2000)])
@pytest.mark.parametrize("inner", ["", "datasets"])
def test_cifar101(tmp_path, version, count, inner):
    cifar101_folder(tmp_path / inner, version, count)
    data_set = CIFAR101(version, tmp_path)
    assert len(data_set) == count
    assert data_set.labels.dtype == np.int64
    assert data_set.labels.tolist() == LABELS[:count].tolist()
    assert np.array_equal(np.asarray(data_set[5][0]), IMAGES[5])
    assert data_set.name == f"cifar10.1-{version}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": IMAGES[:1999]}, "has shapes"),
        ({"data": IMAGES[:2000].astype(np.float32)}, "does not hold uint8 numbers"),
        ({"labels": LABELS[:2000]}, "does not hold int32 numbers"),
        ({"labels": (LABELS[:2000] + 1).astype(np.int32)}, "labels from 1 to 10"),
        ({"labels": (LABELS[:2000] - 1).astype(np.int32)}, "labels from -1 to 8"),  # elsewhere -1 is an image without a label
        ({"data": np.array([{}])}, "is not a numpy array"),
    ],
)
def test_other_arrays_are_refused(tmp_path, changes, message):
    cifar101_folder(tmp_path, "v6", 2000, **changes)
    with pytest.raises(InputError, match=message):
        CIFAR101("v6", tmp_path)


def test_wrong_version_and_missing_files(tmp_path):
    with pytest.raises(UsageError, match="there is no version 'v5'"):
        CIFAR101("v5", tmp_path)
    with pytest.raises(InputError, match=r"there is no cifar10.1_v6_data.npy"):
        CIFAR101("v6", tmp_path)


def test_cifar10_is_downloaded_and_unpacked(tmp_path, server):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for name, content in (("test_batch.bin", binary_batch()), ("readme.html", b"<p>")):
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    server.content = buffer.getvalue()
    file = RemoteFile("cifar-10-binary.tar.gz", server.url, len(server.content), hashlib.sha256(server.content).hexdigest())
    assert np.array_equal(CIFAR10(tmp_path, download=True, file=file).data, IMAGES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cifar-10-batches-bin", file.name]


def test_cifar101_is_verified_against_the_published_checksums(tmp_path, server, monkeypatch):
    monkeypatch.setattr(cifar_module, "_BASE", server.url.replace("file.bin", ""))
    server.content = b"x" * 6_144_128
    with pytest.raises(InputError, match="its sha256 is"):
        CIFAR101("v6", tmp_path, download=True)


# Predictions


def prediction_tree(folder):
    for name, count in (("original_predictions", 10_000), ("v4_predictions", 2021), ("v6_predictions", 2000)):
        place = folder / "model_predictions" / name
        place.mkdir(parents=True)
        for model in ("resnet", "alexnet_tf"):
            (place / f"{model}_predictions.json").write_text(json.dumps(LABELS[:count].tolist(), indent=2))
    np.save(cifar101_folder(folder / "datasets", "v4", 2021) / "unused.npy", LABELS)
    return folder


def test_predictions(tmp_path):
    folder = prediction_tree(tmp_path)
    rows = {(row.dataset, row.model): row for row in read_cifar_predictions(folder, labels={"cifar10": LABELS})}
    assert sorted(rows) == [(d, m) for d in ("cifar10", "cifar10.1-v4", "cifar10.1-v6") for m in ("alexnet_tf", "resnet")]
    row = rows["cifar10", "resnet"]
    assert row.top.shape == (10_000, 1)
    assert (row.top[:, 0] == row.labels).all()
    assert rows["cifar10.1-v4", "resnet"].labels.tolist() == LABELS[:2021].tolist()  # from the clone
    assert set(rows["cifar10.1-v6", "resnet"].labels.tolist()) == {-1}  # not here
    assert rows["cifar10.1-v4", "resnet"].image_ids == CIFAR101("v4", folder).image_ids
    assert len(list(read_cifar_predictions(folder / "model_predictions"))) == 6


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2]", "not a list of 2000 integers"),
        ("{", "not valid JSON"),
        (json.dumps([10] * 2000), "classes from 10"),
        (json.dumps([1.0] * 2000), "not a list"),
    ],
)
def test_other_prediction_files_are_refused(tmp_path, content, message):
    folder = prediction_tree(tmp_path)
    (folder / "model_predictions/v6_predictions/resnet_predictions.json").write_text(content)
    with pytest.raises(InputError, match=message):
        list(read_cifar_predictions(folder))


def test_a_folder_without_predictions(tmp_path):
    with pytest.raises(InputError, match="no published CIFAR predictions"):
        list(read_cifar_predictions(tmp_path))
