"""SSIM in float32: three times as fast, and never off by more than a derived margin.

The formula of _ssim.py, ``S / 4 = A B / (C D)``, with ``A = sa sb + c1``, ``B = n p - sa sb + c2``, ``C = sa² + sb² + 2 c1``,
``D = n qa - sa² + n qb - sb² + 2 c2``. Sums are exact integers in int32; s < 2²⁴ and n < 2²⁴ also are in float32. With
u = 2⁻²⁴ and to first order in u (1 % on top covers the rest):

- A, rounded once and with a rounded c1, is off by 2u A; C, from a rounded ``sa² + 2 c1``, by 2u C; D, the sum of two terms
  that were computed in float64 and rounded, by 2u D.
- B, as ``n p + (c2 - sa sb)`` with the product, the difference, p, c2 and the result rounded (a compiler that fuses some of
  it only rounds less often), is off by u |B| + u (n p + 2 sa sb + 3 c2) ≤ u |B| + u (3M + 3 c2), M = 255² n², since no
  sum of products exceeds n 255².
- The products A B and C D and the quotient add 3u. ``|A / C| ≤ 1/2`` and, by Cauchy-Schwarz, ``|B / D| ≤ 1/2``, while
  ``D ≥ 2 c2``; so S / 4 is off by ``u (3M + 3 c2) / (4 c2) + 10u / 4``. And M / c2 = 2 · 255² (n - 1)⁻¹ n / C2 ≤ 1.125 · 2222.3
  for n ≥ 9.
- A row of w' windows is summed up in float32, which adds at most w' u times the sum of the magnitudes, each at most 1 / 4;
  the rows in float64.

So the mean S of float32 differs from the exact one by at most ``1.01 u (7503 + 13 + w')``, about 4.6·10⁻⁴: an SSIM that is
farther than that below the k-th best need not be computed in float64.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from retest.neighbors import _threads
from retest.neighbors._ssim import Queries, Scale, aligned

LANES = 16
_TILE = 32
_PADDING = 48


def margin(scale: Scale) -> float:
    """The most by which a mean of SSIM from float32 can be off."""
    return 1.01 * 2.0**-24 * (7503 + 13 + scale.windows[2])


class SingleLanes(threading.local):
    """Sixteen references at a time; every thread keeps its own room to work. Only for pixels (``scale.side`` 1)."""

    def __init__(self, scale: Scale) -> None:
        self.scale = scale
        self._planes = np.zeros((3, scale.height, scale.width * LANES), np.uint8)
        self._columns = aligned((_TILE + 1, scale.width * LANES + _PADDING), np.dtype(np.int32)).view(np.int32)

    def ssim(self, queries: Queries, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """SSIM (q, n) within ``margin`` of all queries with up to sixteen images uint8 (n, h, w, 3)."""
        from retest.neighbors import _dssim_single_kernels as kernels  # imports numba, which costs a third of a second

        filled = images[np.minimum(np.arange(LANES), len(images) - 1)]
        kernels.to_wide(filled.reshape(LANES, -1), self._planes.reshape(3, -1))
        windows = float(np.prod(self.scale.windows))
        mean = np.empty((len(queries), LANES), np.float64)
        for part in _threads.cut(len(queries), _TILE):
            out = np.empty((part.stop - part.start + 1, LANES), np.float64)
            kernels.ssim_sums(
                queries.pairs[part],
                queries.sums[part],
                queries.squares[part],
                self._planes,
                self.scale.constants,
                self.scale.window,
                self._columns,
                out,
            )
            mean[part] = 4.0 * out[:-1] / windows
        return mean[:, : len(images)]
