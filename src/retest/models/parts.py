"""Partial results of an evaluation: small files that survive a kill and are never mixed up.

The parts of one model lie in a folder named after :func:`part_key`, the hash of what decides the numbers besides the image:
classifier fingerprint, preprocessing and k. A changed one of these leads to another folder, so that old rows are never reused.
Inside, every row is known by the content of its image, so that an image that several test sets hold is classified once,
whichever sets a run has.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retest.files import open_atomic
from retest.models.base import Classifier, Float32Array, Int64Array
from retest.records import Predictions

_FORMAT = 2


def image_list_hash(images: Iterable[tuple[str, str]]) -> str:
    """SHA-256 over (image id, content version) in order, as hex."""
    digest = hashlib.sha256()
    for image, version in images:
        digest.update(json.dumps([image, version]).encode())
    return digest.hexdigest()


def content_key(dataset: str, image: str, version: str) -> bytes:
    """What a row is known by, 32 bytes: the content version where there is one, else the image's id in its data set."""
    return hashlib.sha256(json.dumps([version] if version else [dataset, image]).encode()).digest()


def run_key(classifier: Classifier, *, dataset: str, images_sha256: str, k: int) -> str:
    """The completion key of one classifier on one image list: equal keys mean equal results."""
    content = [_FORMAT, dataset, images_sha256, classifier.fingerprint, classifier.preprocessing, k]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:40]


def part_key(classifier: Classifier, *, k: int) -> str:
    """The key of one classifier's rows: equal keys mean equal rows for equal images."""
    content = [_FORMAT, classifier.fingerprint, classifier.preprocessing, k]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:40]


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that are done: content keys uint8 (m, 32), ``top`` int64 (m, k) and ``scores`` float32 (m, k)."""

    keys: NDArray[np.uint8]
    top: Int64Array
    scores: Float32Array


class PartFolder:
    """The parts of one classifier.

    Args:
        folder: where the parts of all classifiers lie.
        key: see :func:`part_key`.
        description: what the key stands for; written beside the parts for people who look.
    """

    def __init__(self, folder: Path, key: str, description: dict[str, object]) -> None:
        self._folder = folder / key
        self._description = description
        self.unreadable: list[str] = []

    def save(self, part: Part) -> None:
        """Keep one batch; on return it is on the disk.

        Raises:
            StoreError: the file cannot be written.
        """
        name = f"{hashlib.sha256(part.keys.tobytes()).hexdigest()[:32]}-{len(part.keys)}.npz"
        self._describe()
        with open_atomic(self._folder / name, durable=True) as file:
            np.savez(file, keys=part.keys, top=part.top, scores=part.scores)

    def _describe(self) -> None:
        path = self._folder / "run.json"
        if not path.exists():
            text = json.dumps(self._description, indent=1, sort_keys=True) + "\n"
            with open_atomic(path, durable=True) as file:
                file.write(text.encode())

    def load(self, *, k: int) -> list[Part]:
        """All readable parts; a damaged one is listed in ``unreadable`` and its rows will be computed again."""
        parts = []
        for path in sorted(self._folder.glob("*.npz")):
            try:
                with np.load(path, allow_pickle=False) as arrays:
                    part = Part(arrays["keys"], arrays["top"], arrays["scores"])
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
                self.unreadable.append(str(path))
                continue
            if _fits(part, k):
                parts.append(part)
            else:
                self.unreadable.append(str(path))
        return parts


def _fits(part: Part, k: int) -> bool:
    m = len(part.keys) if part.keys.ndim == 2 else -1
    return (
        m > 0
        and (part.keys.dtype, part.keys.shape) == (np.dtype(np.uint8), (m, 32))
        and (part.top.dtype, part.top.shape) == (np.dtype(np.int64), (m, k))
        and (part.scores.dtype, part.scores.shape) == (np.dtype(np.float32), (m, k))
    )


def discard_parts(folder: Path | str, predictions: Iterable[Predictions]) -> None:
    """Remove the parts behind finished predictions, once these are stored; later calls can be given the predictions instead."""
    for record in predictions:
        key = str(record.provenance.get("part_key", ""))
        if re.fullmatch("[0-9a-f]{40}", key):
            shutil.rmtree(Path(folder) / key, ignore_errors=True)
