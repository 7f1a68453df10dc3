"""What a benchmark's folder holds, split by split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from retest.benchmarks.folder import ImageFolder, existing_split
from retest.records import ClassInfo, OriginalImage, Split

__all__ = ["available_splits", "list_split"]


def available_splits(root: Path | str) -> tuple[Split, ...]:
    """The splits that have a folder of their own below ``root``, in the order train, val, test.

    Empty when class folders lie directly in ``root``: such a folder is one split, and only its owner knows which.
    """
    return tuple(split for split in Split if existing_split(Path(root), split) is not None)


def list_split(
    root: Path | str, split: Split, *, classes: Sequence[ClassInfo] | None = None, labels_file: Path | str | None = None
) -> list[OriginalImage]:
    """The images of a split as records, in the order of :class:`ImageFolder`, whose arguments these are.

    Raises:
        InputError: as :class:`ImageFolder`.
    """
    return list(ImageFolder(root, split=split, classes=classes, labels_file=labels_file).originals())
