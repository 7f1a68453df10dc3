"""The distance of one pair of images or feature vectors, by the same definitions as the searches."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retest.errors import UsageError
from retest.neighbors.dssim import nearest_dssim
from retest.neighbors.features import nearest_features
from retest.neighbors.hashes import nearest_hashes, perceptual_hashes
from retest.neighbors.l2 import nearest_l2


def pair_distance(metric: str, a: NDArray[Any], b: NDArray[Any], *, window: int = 35) -> float:
    """Distance of ``a`` and ``b``: squared l2, dssim, bits of perceptual hashes, or the squared distance of two feature vectors.

    Args:
        metric: ``l2``, ``dssim`` or ``phash`` for uint8 (h, w, 3); any other name for float32 (d,).
        a: the one image or vector.
        b: the other one.
        window: SSIM window of ``dssim``.

    Raises:
        UsageError: the arrays are not what the metric needs, or differ in shape; or ``window`` is even or larger than the images.
        InputError: a feature vector is not finite.
    """
    for name, value in (("a", a), ("b", b)):
        if not isinstance(value, np.ndarray):
            raise UsageError(f"{type(value).__name__} is not an array", item=name, remedy="Give a NumPy array.")
    if metric == "l2":
        found = nearest_l2(a[None], b[None], k=1)
    elif metric == "dssim":
        found = nearest_dssim(a[None], b[None], k=1, window=window)
    elif metric == "phash":
        found = nearest_hashes(perceptual_hashes(a[None]), perceptual_hashes(b[None]), k=1)
    else:
        found = nearest_features(a[None], b[None], k=1)
    return float(found.distances[0, 0])
