"""What featurisers have in common, whatever engine runs them: a name that pins them, checked images, batches."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod

import numpy as np

from retest.errors import UsageError
from retest.models.base import Float32Array, UInt8Array


def check_images(images: UInt8Array) -> None:
    """Refuse what is no stack of RGB images.

    Raises:
        UsageError: it is not uint8 (n, height, width, 3).
    """
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        problem = f"must be uint8 (n, height, width, 3), not {images.dtype} {images.shape}"
        raise UsageError(problem, item="images", remedy="Stack RGB images.")


class BatchedFeaturiser(ABC):
    """A featuriser that runs images in batches. A subclass makes itself able to :meth:`_run` before it calls this constructor.

    Args:
        label: what the name begins with.
        pinned: text that names weights and preprocessing; its hash is the rest of the name.
        batch: images that are run at once.
    """

    def __init__(self, *, label: str, pinned: str, batch: int = 32) -> None:
        self._name = f"{label}-{hashlib.sha256(f'1 {pinned}'.encode()).hexdigest()[:16]}"
        self._batch = batch
        self._dimensions = int(self._run(np.zeros((1, 8, 8, 3), np.uint8)).shape[1])

    @property
    def name(self) -> str:
        """Pins weights and preprocessing."""
        return self._name

    @property
    def dimensions(self) -> int:
        """Length of a feature vector."""
        return self._dimensions

    def features(self, images: UInt8Array) -> Float32Array:
        """Features of RGB images, uint8 (n, height, width, 3): float32 (n, dimensions).

        Raises:
            UsageError: the images are no such array.
        """
        check_images(images)
        parts = [self._run(images[start : start + self._batch]) for start in range(0, len(images), self._batch)]
        return np.concatenate(parts) if parts else np.zeros((0, self._dimensions), np.float32)

    @abstractmethod
    def _run(self, images: UInt8Array) -> Float32Array:
        """Features float32 (n, dimensions) of a batch of at least one image."""
