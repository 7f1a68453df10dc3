"""Which splits a benchmark's folder holds."""

from __future__ import annotations

from pathlib import Path

from retest.datasets.folder import _existing
from retest.records import Split

__all__ = ["available_splits"]


def available_splits(root: Path | str) -> tuple[Split, ...]:
    """The splits that have a folder of their own below ``root``, in the order train, val, test.

    Empty when class folders lie directly in ``root``: such a folder is one split, and only its owner knows which.
    """
    return tuple(split for split in Split if _existing(Path(root), split) is not None)
