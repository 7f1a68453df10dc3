"""CIFAR-10 and its successor test set CIFAR-10.1, and the published predictions on both."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
from numpy.typing import NDArray

from retest.benchmarks.archives import ArchiveLimits, unpack
from retest.benchmarks.base import ArrayImages
from retest.benchmarks.plainpickle import read_plain_pickle
from retest.benchmarks.transfer import Progress, RemoteFile, download
from retest.errors import InputError, UsageError
from retest.records import Predictions

__all__ = ["CIFAR10", "CIFAR101", "CIFAR_CLASSES", "read_cifar_predictions"]

CIFAR_CLASSES: Final = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_BASE: Final = "https://raw.githubusercontent.com/modestyachts/CIFAR-10.1/master/datasets/"
_PIXELS: Final = 3 * 32 * 32
_BATCH: Final = 10_000
_LIMITS: Final = ArchiveLimits(max_members=100, max_total_bytes=512 << 20, max_member_bytes=64 << 20)
_SIZES: Final = {"v4": 2021, "v6": 2000}
_FILES: Final = {
    ("v4", "data"): (6_208_640, "5aaedc268df8f4cffca2ac0cf9e608ae1897a8cddb630c7a850a2ea8f6558e75"),
    ("v4", "labels"): (8_212, "1f9544300ded199539b6662364ce7fe6c2e1ea9f87408f06db4b1a6184cffb18"),
    ("v6", "data"): (6_144_128, "2997188e5816f5bd545dc77771b6227828c28146049fcecf3fa10775474cacc6"),
    ("v6", "labels"): (8_128, "ae40beda001693674edc94d925ee8268cfe68905f8f9aff800c8dcdfcd6c9448"),
}
CIFAR10_BINARY: Final = RemoteFile(
    "cifar-10-binary.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    170_052_171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)
"""The binary version: plain bytes, nothing to unpickle. Size and SHA-256 as recorded by TensorFlow Datasets."""

_PREDICTION_FOLDERS: Final = {"original_predictions": "cifar10", "v4_predictions": "cifar10.1-v4", "v6_predictions": "cifar10.1-v6"}
_LENGTHS: Final = {"cifar10": 10_000} | {f"cifar10.1-{version}": count for version, count in _SIZES.items()}


class CIFAR101(ArrayImages):
    """CIFAR-10.1: ``data`` uint8 (n, 32, 32, 3), labels 0..9; v4 has 2,021 images, v6 2,000 (200 per class).

    Args:
        version: "v4" or "v6" (the default of the authors).
        root: the folder of the four .npy files, or a clone of the published repository (then in ``datasets``).
        download: fetch missing files into ``root``.
        progress, client: as for :func:`retest.benchmarks.transfer.download`.

    Raises:
        UsageError: no such version.
        InputError: files are missing or are not what they should be.
        SourceError: the download failed.
    """

    def __init__(
        self,
        version: str,
        root: Path | str,
        *,
        download: bool = False,
        progress: Progress | None = None,
        client: httpx.Client | None = None,
    ) -> None:
        if version not in _SIZES:
            raise UsageError(f"there is no version {version!r}", item="version", remedy=f"Use {' or '.join(_SIZES)}")
        self.version = version
        paths = {part: _cifar101_file(Path(root), version, part, download, progress, client) for part in ("data", "labels")}
        data, labels = _array(paths["data"], np.uint8), _array(paths["labels"], np.int32)
        count = _SIZES[version]
        if data.shape != (count, 32, 32, 3) or labels.shape != (count,):
            problem = f"has shapes {data.shape} and {labels.shape}, not ({count}, 32, 32, 3) and ({count},)"
            raise InputError(problem, item=str(paths["data"]), remedy="Use the published files")
        if labels.min() < 0:  # elsewhere -1 stands for an image without a label; here every image has one
            problem = f"labels from {labels.min()} to {labels.max()} for {len(CIFAR_CLASSES)} classes"
            raise InputError(problem, item=str(paths["labels"]), remedy="Use the published files")
        name = f"cifar10.1-{version}"
        super().__init__(name, image_ids=_row_ids(name, count), labels=labels.astype(np.int64), data=data, class_names=CIFAR_CLASSES)


class CIFAR10(ArrayImages):
    """The original CIFAR-10: 10,000 test images (default) or 50,000 training images.

    Both published versions are read, the binary one (``cifar-10-batches-bin``) first, as plain bytes. The python one
    (``cifar-10-batches-py``) consists of pickles; they are never unpickled (see :mod:`retest.benchmarks.plainpickle`).

    Args:
        root: folder that holds one of the two folders, or one of them itself.
        train: the training images instead of the test images.
        download: fetch and unpack the binary version into ``root`` if neither is there.
        progress, client, file: as for :func:`retest.benchmarks.transfer.download`; ``file`` is another place of the archive.

    Raises:
        InputError: files are missing or are not what they should be.
        SourceError: the download failed.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        train: bool = False,
        download: bool = False,
        progress: Progress | None = None,
        client: httpx.Client | None = None,
        file: RemoteFile = CIFAR10_BINARY,
    ) -> None:
        folder = Path(root)
        found = _find_batches(folder, train)
        if found is None and download:
            _fetch_cifar10(folder, file, progress, client)
            found = _find_batches(folder, train)
        if found is None:
            problem = "holds neither cifar-10-batches-bin nor cifar-10-batches-py with all batches"
            remedy = "Unpack a CIFAR-10 archive there, or have it fetched: --download (in Python download=True)"
            raise InputError(problem, item=str(root), remedy=remedy)
        batches = [_binary_batch(path) if path.suffix == ".bin" else _python_batch(path) for path in found]
        data = np.concatenate([images for images, _ in batches])
        labels = np.concatenate([label for _, label in batches])
        name = "cifar10-train" if train else "cifar10"
        super().__init__(name, image_ids=_row_ids(name, len(labels)), labels=labels, data=data, class_names=CIFAR_CLASSES)


def read_cifar_predictions(root: Path | str, *, labels: Mapping[str, NDArray[np.int64]] | None = None) -> Iterator[Predictions]:
    """The published predictions ``model_predictions/{original,v4,v6}_predictions/<model>_predictions.json``.

    Data sets are named ``cifar10``, ``cifar10.1-v4`` and ``cifar10.1-v6``; ``top`` is int64 (n, 1).

    Args:
        root: a clone of the published repository, or its ``model_predictions`` folder.
        labels: data set -> true labels, int64 (n,); those of CIFAR-10.1 are taken from ``datasets`` in the clone where
            they are, and are -1 (unknown) elsewhere.

    Raises:
        InputError: there are no predictions, or a file is not a list of as many classes 0..9 as the data set has images.
    """
    base = Path(root)
    folder = base / "model_predictions" if (base / "model_predictions").is_dir() else base
    found = False
    for subfolder, dataset in _PREDICTION_FOLDERS.items():
        true = _true_labels(folder.parent, dataset, labels or {})
        for path in sorted((folder / subfolder).glob("*_predictions.json")):
            found = True
            top = _prediction_list(path, _LENGTHS[dataset])
            model = path.name.removesuffix("_predictions.json")
            yield Predictions(dataset, model, tuple(_row_ids(dataset, len(top))), true, top.reshape(-1, 1), provenance={"file": path.name})
    if not found:
        raise InputError("holds no published CIFAR predictions", item=str(root), remedy="Give a clone of the CIFAR-10.1 repository")


def _row_ids(name: str, count: int) -> list[str]:
    """Rows of the published arrays have no names of their own, only their position."""
    return [f"{name}/{row:05d}" for row in range(count)]


def _cifar101_file(root: Path, version: str, part: str, fetch: bool, progress: Progress | None, client: httpx.Client | None) -> Path:
    name = f"cifar10.1_{version}_{part}.npy"
    for folder in (root, root / "datasets"):
        if (folder / name).is_file():
            return folder / name
    if not fetch:
        remedy = "Give the folder of the published files, or have them fetched: --download (in Python download=True)"
        raise InputError(f"there is no {name}", item=str(root), remedy=remedy)
    size, sha256 = _FILES[version, part]
    return download(RemoteFile(name, _BASE + name, size, sha256), root, progress=progress, client=client)


def _array(path: Path, dtype: type[np.generic]) -> NDArray[Any]:
    try:
        array = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError) as error:
        raise InputError(f"is not a numpy array ({error})", item=str(path), remedy="Download it again") from error
    if not isinstance(array, np.ndarray) or array.dtype != dtype:
        raise InputError(f"does not hold {np.dtype(dtype)} numbers", item=str(path), remedy="Use the published files")
    return array


def _find_batches(root: Path, train: bool) -> list[Path] | None:
    names = [f"data_batch_{number}" for number in range(1, 6)] if train else ["test_batch"]
    for folder, suffix in ((root / "cifar-10-batches-bin", ".bin"), (root, ".bin"), (root / "cifar-10-batches-py", ""), (root, "")):
        paths = [folder / f"{name}{suffix}" for name in names]
        if all(path.is_file() for path in paths):
            return paths
    return None


def _fetch_cifar10(root: Path, file: RemoteFile, progress: Progress | None, client: httpx.Client | None) -> None:
    archive = download(file, root, progress=progress, client=client)
    scratch = root / ".cifar-10-unpacked"
    shutil.rmtree(scratch, ignore_errors=True)  # left by an interruption
    unpack(archive, scratch, limits=_LIMITS)
    for folder in sorted(path for path in scratch.iterdir() if path.is_dir()):
        if (root / folder.name).exists():
            raise InputError("exists but is incomplete", item=str(root / folder.name), remedy="Move it away and try again")
        folder.replace(root / folder.name)
    shutil.rmtree(scratch)


def _binary_batch(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Rows of 1 label byte and 3,072 pixel bytes (red, green and blue planes)."""
    raw = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    if raw.size != _BATCH * (1 + _PIXELS):
        raise InputError(f"has {raw.size} bytes instead of {_BATCH * (1 + _PIXELS)}", item=str(path), remedy="Unpack the archive again")
    rows = raw.reshape(_BATCH, 1 + _PIXELS)
    return _as_images(rows[:, 1:]), rows[:, 0].astype(np.int64)


def _python_batch(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    content = read_plain_pickle(path.read_bytes(), item=str(path))
    fields = (
        {key.decode("latin-1") if isinstance(key, bytes) else key: value for key, value in content.items()}
        if isinstance(content, dict)
        else {}
    )
    data, labels = fields.get("data"), fields.get("labels")
    if not _are_labels(labels) or not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape != (_BATCH, _PIXELS):
        problem = f"does not hold data (uint8, {_BATCH} x {_PIXELS}) and {_BATCH} labels from 0 to 9"
        raise InputError(problem, item=str(path), remedy="Use the published CIFAR-10 archive")
    return _as_images(data), np.asarray(labels, dtype=np.int64)


def _are_labels(labels: Any) -> bool:
    right = isinstance(labels, list) and len(labels) == _BATCH and {int}.issuperset(map(type, labels))
    return right and min(labels) >= 0 and max(labels) < len(CIFAR_CLASSES)


def _as_images(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _true_labels(repository: Path, dataset: str, given: Mapping[str, NDArray[np.int64]]) -> NDArray[np.int64]:
    count = _LENGTHS[dataset]
    path = repository / "datasets" / f"{dataset.replace('-', '_')}_labels.npy"
    if dataset in given:
        labels = np.asarray(given[dataset], dtype=np.int64)
    elif path.is_file():
        labels = _array(path, np.int32).astype(np.int64)
    else:
        labels = np.full(count, -1, dtype=np.int64)
    if labels.shape != (count,):
        raise InputError(f"{labels.size} labels for {count} images", item=dataset, remedy="Give the labels of the same data set")
    return labels


def _prediction_list(path: Path, count: int) -> NDArray[np.int64]:
    try:
        values = json.loads(path.read_bytes())
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"is not valid JSON ({error})", item=str(path), remedy="Download it again") from error
    if not isinstance(values, list) or not {int}.issuperset(map(type, values)) or len(values) != count:
        raise InputError(f"is not a list of {count} integers", item=str(path), remedy="Use the published file")
    if min(values) < 0 or max(values) >= len(CIFAR_CLASSES):
        raise InputError(f"holds classes from {min(values)} to {max(values)}", item=str(path), remedy="Use the published file")
    return np.asarray(values, dtype=np.int64)
