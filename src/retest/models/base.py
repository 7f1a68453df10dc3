"""The seam behind which every engine works: what a classifier and a featuriser are, and how scores become ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retest.errors import UsageError

UInt8Array = NDArray[np.uint8]
Float32Array = NDArray[np.float32]
Int64Array = NDArray[np.int64]


@runtime_checkable
class Classifier(Protocol):
    """An image classifier with its own preprocessing.

    Contract: ``preprocess`` and ``predict`` are pure functions of their argument and of what the fingerprint pins;
    ``preprocess`` gives every image the same shape and type; row i of ``predict`` depends on row i of the batch only.
    ``preprocess`` may be an attribute: where images are prepared in other processes, a small callable that can be pickled
    travels better than a method that drags the weights along.
    """

    @property
    def name(self) -> str:
        """The name under which results are reported."""

    @property
    def fingerprint(self) -> str:
        """Text that changes whenever weights, architecture or preprocessing change: the key of stored results."""

    @property
    def preprocessing(self) -> str:
        """Text that pins the preprocessing alone; classifiers that share it share the work."""

    @property
    def num_classes(self) -> int:
        """Length of a row of scores."""

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What is recorded with the predictions: library versions, device, source and hash of the weights (JSON values)."""

    def preprocess(self, rgb: UInt8Array) -> NDArray[Any]:
        """Turn one upright RGB image, uint8 (height, width, 3), into the model's input."""

    def predict(self, batch: NDArray[Any]) -> Float32Array:
        """Score a batch of preprocessed images, (n, ...): float32 (n, num_classes), higher is better."""


@runtime_checkable
class Featuriser(Protocol):
    """Images to vectors whose Euclidean distance says how alike they look."""

    @property
    def name(self) -> str:
        """Name that pins weights and preprocessing: equal names give equal features."""

    @property
    def dimensions(self) -> int:
        """Length of a feature vector."""

    def features(self, images: UInt8Array) -> Float32Array:
        """Features of RGB images of one size, uint8 (n, height, width, 3): float32 (n, dimensions)."""


def top_k(scores: ArrayLike, k: int) -> tuple[Int64Array, Float32Array]:
    """The k best classes of each row, best first; equal scores in the order of the class index.

    Args:
        scores: (n, classes), no NaN.
        k: at least 1; more than there are classes means all of them.

    Returns:
        Class indices int64 and their scores float32, both (n, min(k, classes)).

    Raises:
        UsageError: the scores are no such table or hold NaN, or k is below 1.
    """
    table = np.asarray(scores, dtype=np.float32)
    if table.ndim != 2:
        raise UsageError(f"must be a table (n, classes), not of shape {table.shape}", item="scores", remedy="Pass one row per image.")
    if k < 1:
        raise UsageError(f"must be at least 1, not {k}", item="k", remedy="5 is usual.")
    if np.isnan(table).any():
        raise UsageError("hold NaN", item="scores", remedy="Check the weights and the preprocessing of the model.")
    order = np.argsort(-table, axis=1, kind="stable")[:, :k].astype(np.int64)
    return order, np.take_along_axis(table, order, axis=1)
