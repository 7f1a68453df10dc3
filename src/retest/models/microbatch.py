"""Batches in pieces that fit the memory: the largest piece is found, and running out of memory halves it and goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retest.errors import InputError
from retest.models.base import Float32Array

Scorer = Callable[[NDArray[Any]], Float32Array]

_WORDS = ("out of memory", "can't allocate memory", "failed to allocate", "bad_alloc", "cudnn_status_alloc_failed")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an engine's error says that memory ran out: PyTorch's own class, ONNX Runtime's and the allocators' messages."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _WORDS)


class MicroBatches:
    """Scores batches piece by piece.

    Args:
        item: what runs, for messages.
        size: images per piece at first.
        limit: with more than ``size``, the first batch finds the largest piece up to this: sizes are doubled while they fit.
        release: frees what a failed attempt holds (a GPU's cache).
    """

    def __init__(self, item: str, *, size: int, limit: int = 0, release: Callable[[], None] | None = None) -> None:
        self._item, self._limit, self._release = item, limit, release
        self.size = size
        self.halved = 0
        self._lock = threading.Lock()

    def __call__(self, score: Scorer, batch: NDArray[Any]) -> Float32Array:
        """float32 (n, classes) of a batch (n, ...).

        Raises:
            InputError: not even one image fits into the memory.
        """
        if self._limit > self.size:
            self._find(score, batch)
        pieces: list[Float32Array] = []
        start = 0
        while start < len(batch):
            size = self.size
            try:
                pieces.append(score(batch[start : start + size]))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(size, error)
                continue
            start += size
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _halve(self, failed: int, error: BaseException) -> None:
        if failed == 1:
            raise InputError("does not fit into the memory, not even with one image at a time", item=self._item, remedy=_REMEDY) from error
        with self._lock:
            if self.size >= failed:  # another thread may have halved it meanwhile
                self.size = max(1, failed // 2)
                self.halved += 1
        if self._release is not None:
            self._release()

    def _find(self, score: Scorer, batch: NDArray[Any]) -> None:
        limit, self._limit = self._limit, 0
        size = self.size
        while size < limit:
            size = min(2 * size, limit)
            trial = np.resize(batch, (size, *batch.shape[1:]))
            try:
                score(trial)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if self._release is not None:
                    self._release()
                return
            self.size = size


_REMEDY = "Use a smaller model, a machine with more memory, or --device cpu"
