"""Partial results of an evaluation: small files that survive a kill and are never mixed up.

The parts of one run lie in a folder named after :func:`run_key`, the hash of everything that decides the numbers: data
set, image list, classifier fingerprint, preprocessing and k. A changed one of these leads to another folder, so that old
rows are never reused; equal ones lead to the same folder, so that nothing is done twice.
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
from typing import BinaryIO

import numpy as np

from retest.errors import StoreError
from retest.models.base import Classifier, Float32Array, Int64Array
from retest.models.files import write_atomically
from retest.records import Predictions

_FORMAT = 1


def image_list_hash(images: Iterable[tuple[str, str]]) -> str:
    """SHA-256 over (image id, content version) in order, as hex."""
    digest = hashlib.sha256()
    for image, version in images:
        digest.update(json.dumps([image, version]).encode())
    return digest.hexdigest()


def run_key(classifier: Classifier, *, dataset: str, images_sha256: str, k: int) -> str:
    """The completion key of one classifier on one image list: equal keys mean equal results."""
    content = [_FORMAT, dataset, images_sha256, classifier.fingerprint, classifier.preprocessing, k]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:40]


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that are done: indices into the image list, int64 (m,), ``top`` int64 (m, k) and ``scores`` float32 (m, k)."""

    rows: Int64Array
    top: Int64Array
    scores: Float32Array


class PartFolder:
    """The parts of one run.

    Args:
        folder: where the parts of all runs lie.
        key: see :func:`run_key`.
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
        name = f"{int(part.rows[0]):09d}-{int(part.rows[-1]):09d}-{len(part.rows)}.npz"

        def write(file: BinaryIO) -> None:
            np.savez(file, rows=part.rows, top=part.top, scores=part.scores)

        try:
            self._describe()
            write_atomically(self._folder / name, write)
        except OSError as error:
            raise StoreError(
                f"partial results cannot be written ({error})",
                item=str(self._folder / name),
                remedy="Free some space or choose another folder.",
            ) from error

    def _describe(self) -> None:
        path = self._folder / "run.json"
        if not path.exists():
            text = json.dumps(self._description, indent=1, sort_keys=True) + "\n"
            write_atomically(path, lambda file: _write_text(file, text))

    def load(self, *, images: int, k: int) -> list[Part]:
        """All readable parts; a damaged one is listed in ``unreadable`` and its rows will be computed again."""
        parts = []
        for path in sorted(self._folder.glob("*.npz")):
            try:
                with np.load(path, allow_pickle=False) as arrays:
                    part = Part(arrays["rows"], arrays["top"], arrays["scores"])
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
                self.unreadable.append(str(path))
                continue
            if _fits(part, images, k):
                parts.append(part)
            else:
                self.unreadable.append(str(path))
        return parts


def _write_text(file: BinaryIO, text: str) -> None:
    file.write(text.encode())


def _fits(part: Part, images: int, k: int) -> bool:
    m = len(part.rows) if part.rows.ndim == 1 else -1
    return (
        part.rows.dtype == np.int64
        and (part.top.dtype, part.top.shape) == (np.dtype(np.int64), (m, k))
        and (part.scores.dtype, part.scores.shape) == (np.dtype(np.float32), (m, k))
        and m > 0
        and int(part.rows.min()) >= 0
        and int(part.rows.max()) < images
    )


def discard_parts(folder: Path | str, predictions: Iterable[Predictions]) -> None:
    """Remove the parts behind finished predictions, once these are stored; later calls can be given the predictions instead."""
    for record in predictions:
        key = str(record.provenance.get("run_key", ""))
        if re.fullmatch("[0-9a-f]{40}", key):
            shutil.rmtree(Path(folder) / key, ignore_errors=True)
