"""Short codes of images whose distances bound the pixel distance, and by how much rounding can spoil that.

**The map.** Cut the image into blocks of ``s`` x ``s`` pixels and cells of 2 x 2 blocks, and write it in the orthonormal
colours Y = (R+G+B)/√3, U = (R-B)/√2, V = (R-2G+B)/√6. Per cell keep the four block sums of Y divided by ``s`` and the
cell sums of U and V divided by ``2s``: these are the coordinates of the image along orthonormal vectors, so what is left of
the image in the cell (its *residual*) is orthogonal to them, and its squared norm is the cell's energy less the squares
of the six coordinates. The residual norm is the seventh number of the cell. A cell that reaches over the right or bottom
border keeps only its norm. Call the vector of all these numbers φ(x). The codes use s = 4u (rough), 2u (middle), u (fine),
where the unit u is 4 for images of 256 x 256.

**The bounds.** For two images a, b, Pythagoras in each cell and the triangle inequality |‖r‖-‖r'‖| ≤ ‖r-r'‖ ≤ ‖r‖+‖r'‖ for
the residuals give ``‖φ(a)-φ(b)‖² ≤ ‖a-b‖² ≤ ‖φ(a)-φ(b)‖² + 4 Σ_cells ‖r‖·‖r'‖``. The same holds for any part of the cells
and the pixels in it.

**Middle and fine codes.** Numbers are divided by a step q and rounded to int16, each with an error of at most q/2 plus the
float64 error of computing it: that starts from exact integers (``24 s²`` times a residual energy is one) and takes at most
five correctly rounded operations, so it is below 2⁻⁵⁰ of a number below 2¹³ q. With m numbers the code c(x) therefore
satisfies ``‖q c(x) - φ(x)‖ ≤ e = q/2·√m·(1+10⁻⁶)``; differences and squares of codes are computed in integers without error,
and ``‖a-b‖ ≤ t`` implies ``‖c(a)-c(b)‖ ≤ (t + 2e)/q``. Likewise each sum of two norms in the upper bound is off by at most q, and
``‖a-b‖ ≤ q·‖(differences of coordinates, sums of norms)‖ + 2e``. Roots and squares of limits are computed in float64, whose
relative error (below 10⁻¹⁴) is covered by a factor of 1 ± 10⁻¹².

No sum overflows: the number of a white cell, the largest, is L steps (L ≤ 8,000, so differences fit into int16), the
squared code distance of a strip of n cells is at most (L√n + √(7n))² by the first bound and the rounding, and L is chosen
so that this is below 2³¹.

**Rough codes.** φ, less a fixed vector c (mid-grey), is rounded to float32: f = φ - c + δ with ``‖δ‖ ≤ η = 2⁻²³·max ‖f‖`` (half of
which is for float32, half more than covers float64), so ``‖a-b‖ ≤ t`` implies ``‖f_a-f_b‖ ≤ t + 2η``. With v = 2⁻²⁴ and m
numbers, a matrix product ĝ in float32 in any order of summation, with or without fused operations, satisfies
``|ĝ - f_a·f_b| ≤ γ Σ|f_a f_b| ≤ γ/2 (A + B)``, γ = mv/(1-mv), A = ‖f_a‖², B = ‖f_b‖² (Higham, Accuracy and Stability of Numerical
Algorithms, section 3.1; then Cauchy-Schwarz). Hence ``‖f_a-f_b‖² = A + B - 2 f_a·f_b ≥ (1-γ)A + (1-γ)B - 2ĝ``: subtracting the slack
from the norms once makes the computed expression a true lower bound. The norms are computed in float64, multiplied by
1 - γ - 4v and rounded to float32 (an error of at most v of each, covered by the 4v); the rest is evaluated in float64.
Products below the smallest normal float32 lose at most m·2⁻¹²⁶ together, covered by the 1 that is added to the squared limit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retest.neighbors import _threads

_AT_ONCE = 64
_STRIPS = 16
_LARGEST_CODE = 8000
_FLOAT32_UNIT = 2.0**-24


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes, steps and slacks of the codes with blocks of ``side`` pixels for images of one size.

    A code is one row of numbers per row of cells: two rows of Y, one of U, one of V, then the residual norms.
    """

    height: int
    width: int
    side: int
    strips: int

    @property
    def rows(self) -> int:
        """Rows of cells, including one that reaches over the border."""
        return -(-self.height // (2 * self.side))

    @property
    def columns(self) -> int:
        """Columns of cells, including one that reaches over the border."""
        return -(-self.width // (2 * self.side))

    @property
    def length(self) -> int:
        """Numbers per row of cells."""
        return 6 * (self.width // (2 * self.side)) + self.columns

    @property
    def numbers(self) -> int:
        """Numbers per image."""
        return self.rows * self.length

    @property
    def strip_rows(self) -> int:
        """Rows of cells per strip."""
        return -(-self.rows // self.strips)

    @property
    def step(self) -> float:
        """Unit of the int16 codes."""
        cells = self.strip_rows * self.columns
        largest = min(float(_LARGEST_CODE), math.sqrt(2.0**31 / cells) - math.sqrt(7.0) - 1.0)
        return 255.0 * math.sqrt(3.0) * 2 * self.side / largest

    @property
    def slack(self) -> float:
        """Largest distance between an image's numbers and its code times the step."""
        return self.step / 2.0 * math.sqrt(self.numbers) * (1.0 + 1e-6)


@dataclass(frozen=True, slots=True)
class Scheme:
    """The three codes of images of one size."""

    rough: Layout
    middle: Layout
    fine: Layout

    @classmethod
    def of(cls, height: int, width: int) -> Scheme:
        """Blocks so that the fine code of a square image has about 64 x 64."""
        unit = max(1, min(height, width) // 64)
        return cls(*(Layout(height, width, side * unit, strips) for side, strips in ((4, 1), (2, 2), (1, _STRIPS))))

    @property
    def strip_pixels(self) -> int:
        """Values of the image per strip of the fine code."""
        return self.fine.strip_rows * 2 * self.fine.side * self.fine.width * 3


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """Codes of n images.

    Attributes:
        rough: float32 (n, numbers).
        rough_norms: float32 (n,), squared lengths of the rough codes less the slack of the matrix product.
        middle: int16 (n, numbers).
        fine: int16 (n, numbers).
        longest: largest length of a rough code.
    """

    rough: NDArray[np.float32]
    rough_norms: NDArray[np.float32]
    middle: NDArray[np.int16]
    fine: NDArray[np.int16]
    longest: float


def encode(images: NDArray[np.uint8], positions: NDArray[np.int64], scheme: Scheme, *, threads: int = 1) -> Codes:
    """Codes of the images uint8 (n, h * w * 3) at ``positions``, in that order."""
    from retest.neighbors import _l2_encoding  # imports numba, which costs a third of a second

    count, (m, middle_length, fine_length) = positions.size, (layout.numbers for layout in (scheme.rough, scheme.middle, scheme.fine))
    rough, norms = np.empty((count, m), np.float32), np.empty(count, np.float64)
    middle, fine = np.empty((count, middle_length), np.int16), np.empty((count, fine_length), np.int16)
    shape = (scheme.fine.height, scheme.fine.width, scheme.fine.side)
    steps = (scheme.middle.step, scheme.fine.step)

    def encode_part(part: slice) -> None:
        _l2_encoding.encode(images, positions[part], shape, steps, rough[part], middle[part], fine[part], norms[part])

    _threads.run(encode_part, _threads.cut(count, _AT_ONCE), threads=threads)
    gamma = m * _FLOAT32_UNIT / (1.0 - m * _FLOAT32_UNIT)
    lower_norms = (norms * (1.0 - gamma - 4.0 * _FLOAT32_UNIT)).astype(np.float32)
    return Codes(rough, lower_norms, middle, fine, math.sqrt(float(norms.max(initial=0.0))))
