"""Stage: bring the published CIFAR-10.1 repository's predictions, of 30 models on three test sets, into a study (method, section 8).

With them the paper's tables and fits are those of any study: ``retest accuracy``, ``retest fit``, ``retest report``.
"""

from __future__ import annotations

import json
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retest.benchmarks import CIFAR10, CIFAR_CLASSES, read_cifar_predictions
from retest.errors import InputError
from retest.records import ClassInfo, Predictions
from retest.stages._common import Progress, completion_key, silent
from retest.stages._prediction_files import store_predictions
from retest.study import Study

ORIGINAL = "cifar10"
"""Name of the data set of the original test images."""
_TEST_IMAGES = 10_000


@dataclass(frozen=True, slots=True)
class CifarImport:
    """What one import added: classes, and models per data set; ``left_out`` says what could not be used and why."""

    classes: int
    predictions: Mapping[str, int] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def import_cifar101(study: Study, path: Path, *, cifar10: Path | None = None, progress: Progress = silent) -> CifarImport:
    """Store the published predictions as the data sets ``cifar10``, ``cifar10.1-v4`` and ``cifar10.1-v6``; idempotent.

    Args:
        study: the study.
        path: a clone of the CIFAR-10.1 repository.
        cifar10: where the true classes of the original test images come from: a folder with the unpacked CIFAR-10 archive, or a
            ``.npy`` file of its 10,000 labels. Without it the predictions on the original images are left out, and said to be.
        progress: shows the work.

    Raises:
        InputError: there are no predictions at ``path``, a file is damaged, or ``cifar10`` holds no labels of CIFAR-10.
    """
    labels = {} if cifar10 is None else {ORIGINAL: read_test_labels(cifar10)}
    added: dict[str, int] = {}
    unlabelled: dict[str, int] = {}
    with study.database.write() as tables:
        known = {info.wnid for info in tables.classes.all()}
        classes = [info for info in cifar_classes() if info.wnid not in known]
        tables.classes.put(classes)
    with progress("Read published predictions", total=None) as advance:
        for record in read_cifar_predictions(path, labels=labels):
            if (record.labels < 0).any():
                unlabelled[record.dataset] = unlabelled.get(record.dataset, 0) + 1
            else:
                added[record.dataset] = added.get(record.dataset, 0) + _store(study, record)
            advance(1)
    return CifarImport(len(classes), added, tuple(_left_out(unlabelled)))


def cifar_classes() -> list[ClassInfo]:
    """The ten classes; the class names serve as wnids."""
    return [ClassInfo(wnid=name, cid=cid, synset=(name,)) for cid, name in enumerate(CIFAR_CLASSES)]


def read_test_labels(path: Path) -> NDArray[np.int64]:
    """The true classes of CIFAR-10's test images, int64 (10000,), 1,000 of each class.

    Raises:
        InputError: they cannot be read, or are others.
    """
    if path.is_dir():
        return np.asarray(CIFAR10(path).labels, dtype=np.int64)
    remedy = "Give a folder with the unpacked CIFAR-10 archive, or a .npy file of the 10,000 test labels"
    try:
        found = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError, tokenize.TokenError, MemoryError) as error:  # what its header can bring about
        raise InputError(f"holds no labels ({error})", item=str(path), remedy=remedy) from error
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "iu" or found.shape != (_TEST_IMAGES,):
        raise InputError(f"does not hold {_TEST_IMAGES} whole numbers", item=str(path), remedy=remedy)
    labels = found.astype(np.int64)
    counts = np.array([np.count_nonzero(labels == number) for number in range(len(CIFAR_CLASSES))])  # whatever the values are
    if counts.tolist() != [_TEST_IMAGES // len(CIFAR_CLASSES)] * len(CIFAR_CLASSES):
        raise InputError("does not hold 1,000 labels of each of the classes 0 to 9", item=str(path), remedy=remedy)
    return labels


def _store(study: Study, record: Predictions) -> bool:
    """Store one model's predictions; False when the same are there."""
    content = sha256(json.dumps([record.labels.tolist(), record.top.tolist()]).encode()).hexdigest()
    key = completion_key("published-cifar", record.dataset, record.model, content)
    with study.database.read() as tables:
        known = tables.predictions.get(record.dataset, record.model)
    if known is not None and known.fingerprint == key and (study.folder / known.blob_key).is_file():
        return False
    store_predictions(study, record, fingerprint=key)
    return True


def _left_out(unlabelled: Mapping[str, int]) -> list[str]:
    remedies = {ORIGINAL: "give the original's labels with --cifar10"}
    return [
        f"{number} models on {dataset}: the true classes are unknown; {remedies.get(dataset, 'the clone lacks its labels in datasets/')}"
        for dataset, number in unlabelled.items()
    ]
