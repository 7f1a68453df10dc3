"""Checks of arguments that the searches share."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from retest.errors import InputError, UsageError

Number = TypeVar("Number", bound=np.generic)


def check_images(name: str, images: NDArray[np.uint8]) -> None:
    """Require uint8 (n, h, w, 3)."""
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise UsageError(f"{_describe(images)} is not an array of RGB images", item=name, remedy="Give uint8 (n, height, width, 3).")
    if images.shape[1] < 1 or images.shape[2] < 1:
        raise UsageError(f"images of {images.shape[1]}x{images.shape[2]} pixels", item=name, remedy="Give images with pixels.")


def check_image_pair(queries: NDArray[np.uint8], references: NDArray[np.uint8]) -> None:
    """Require two arrays of RGB images of one size."""
    check_images("queries", queries)
    check_images("references", references)
    if queries.shape[1:] != references.shape[1:]:
        raise UsageError(
            f"queries are {queries.shape[1]}x{queries.shape[2]}, references {references.shape[1]}x{references.shape[2]} pixels",
            item="references",
            remedy="Compare images of one size; the stored variant scaled_256 is 256x256.",
        )


def read_only(array: NDArray[Number]) -> NDArray[Number]:
    """A contiguous read-only view (a copy where need be); always of one type, so that kernels compile once."""
    view = np.asarray(np.ascontiguousarray(array)).view()
    view.flags.writeable = False
    return view


def check_features(name: str, features: NDArray[np.float32]) -> None:
    """Require float32 (n, d)."""
    if not isinstance(features, np.ndarray) or features.dtype != np.float32 or features.ndim != 2:
        raise UsageError(f"{_describe(features)} is not a table of features", item=name, remedy="Give float32 (n, d).")


def check_finite(name: str, squared_norms: NDArray[np.float64], positions: NDArray[np.int64]) -> None:
    """Require that the lengths of the features at ``positions`` are finite: they are, in float64, exactly when all features are."""
    finite = np.isfinite(squared_norms)
    if not finite.all():
        place = int(positions[np.argmin(finite)])
        raise InputError("the features are not finite", item=f"{name}[{place}]", remedy="Check the featuriser's input.")


def check_count(name: str, value: int, *, least: int = 1) -> None:
    """Require a whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise UsageError(f"is {value!r}, not a whole number of at least {least}", item=name, remedy=f"Give {least} or more.")


def check_subset(subset: NDArray[np.int64] | None, count: int) -> NDArray[np.int64]:
    """The references to search, ascending, as positions: all of them when ``subset`` is None."""
    if subset is None:
        return np.arange(count, dtype=np.int64)
    positions = np.asarray(subset)
    if positions.ndim != 1 or not np.issubdtype(positions.dtype, np.integer):
        raise UsageError(f"{_describe(subset)} is not a list of positions", item="subset", remedy="Give integers (m,).")
    positions = positions.astype(np.int64)
    if positions.size and (np.any(np.diff(positions) <= 0) or positions[0] < 0 or positions[-1] >= count):
        raise UsageError(
            "the positions are not strictly ascending within the references",
            item="subset",
            remedy=f"Give each once, ascending, from 0 to {count - 1}.",
        )
    return positions


def _describe(value: Any) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
