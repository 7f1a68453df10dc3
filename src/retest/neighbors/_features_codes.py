"""Feature vectors as int16 codes: what they prove about distances.

A vector is ``a = s A + e``, with integers A whose inner products are exact in int32, and a length of e that is computed. With
``D̂ = ‖sA - tB‖`` the distance of a and b lies within ``‖e_a‖ + ‖e_b‖`` of D̂. For any 0 < θ < 1, from ``2xy ≤ θx² + y²/θ`` and
``(x + y)² ≤ 2x² + 2y²``,

    (1 - θ) D̂² - 2 (‖e_a‖² + ‖e_b‖²) / θ  ≤  ‖a - b‖²  ≤  (1 + θ) D̂² + 2 (1 + 1/θ) (‖e_a‖² + ‖e_b‖²),

and ``D̂² = s²‖A‖² + t²‖B‖² - 2 s t A·B``: sums of a term of each side and a multiple of the product. θ = 2⁻¹⁰ suits errors of about
10⁻³ of the distance. The float64 rounding of these terms is covered by the slack of features.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_THETA = 2.0**-10


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """Codes of n vectors.

    Attributes:
        packed: int32 (blocks, pairs * width), see ``_features_products``.
        scales: float64 (n,).
        above: float64 (n,), their terms of the upper bound.
        below: float64 (n,), of the lower bound.
    """

    packed: NDArray[np.int32]
    scales: NDArray[np.float64]
    above: NDArray[np.float64]
    below: NDArray[np.float64]


def room_for(count: int, dimensions: int, width: int) -> NDArray[np.int32]:
    """Room for the packed codes of so many vectors: int32 (blocks, pairs * width)."""
    return np.empty((-(-count // width), -(-dimensions // 2) * width), np.int32)


def encode(
    vectors: NDArray[np.float32],
    places: NDArray[np.int64],
    norms: NDArray[np.float64],
    *,
    width: int,
    slack: float,
    packed: NDArray[np.int32] | None = None,
) -> Codes:
    """Codes of the vectors float32 (r, d) at ``places``, whose squared lengths are ``norms``.

    ``width`` is ``_features_products.ROWS`` or ``COLUMNS``; ``slack`` what rounding may add, relative to the squared lengths;
    ``packed`` room for the codes, from :func:`room_for`.
    """
    from retest.neighbors import _features_products as kernels  # imports numba, which costs a third of a second

    n, d = places.size, vectors.shape[1]
    codes = np.empty((n, d + d % 2), np.int16)
    scales, lengths, errors = np.empty(n, np.float64), np.empty(n, np.float64), np.empty(n, np.float64)
    kernels.quantize(vectors, places, norms, codes, scales, lengths, errors)
    packed = room_for(n, d, width) if packed is None else packed
    kernels.pack(codes.view(np.int32), packed.reshape(len(packed), -1, width))
    squares = errors * errors
    above = (1.0 + _THETA + slack) * lengths + 2.0 * (1.0 + 1.0 / _THETA) * squares
    below = (1.0 - _THETA - slack) * lengths - 2.0 / _THETA * squares
    return Codes(packed, scales, above, below)


def scales_of_products(codes: Codes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What a product with another code, times its scale, counts in the upper and in the lower bound."""
    return 2.0 * (1.0 + _THETA) * codes.scales, 2.0 * (1.0 - _THETA) * codes.scales
