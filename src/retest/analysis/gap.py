"""What the drop from an original to a new test set is made of, as far as the data can tell."""

from __future__ import annotations

from dataclasses import dataclass

from retest.analysis.intervals import Estimate, clopper_pearson, estimate_difference
from retest.analysis.matching import MatchedAccuracy
from retest.analysis.points import ModelPoint
from retest.errors import InputError

_ASSUMED = (
    "The original images are a random sample of the original distribution, and the new images of theirs.",
    "No model was chosen or tuned on the new images, so the generalisation part has mean zero and is chance alone.",
)
_ASSUMED_MATCHED = (
    "Part of the distribution shift is explained by selection frequency; its size comes from the corrected accuracy and shares "
    "that estimate's assumptions.",
    "The remainder holds adaptivity and every other difference of the distributions; it bounds adaptivity only if the new "
    "images are, at equal selection frequency, not easier than the original ones.",
    "The accuracies on original and new images are treated as independent; images used for both make the intervals too wide.",
)
_UNMATCHED = ("Without selection frequencies of both sets, adaptivity and distribution shift cannot be told apart.",)


@dataclass(frozen=True, slots=True)
class GapDecomposition:
    """Parts of one model's accuracy drop, in percentage points; positive parts lower the new accuracy.

    With L the error, S and S' the original and new test sets, D and D' their distributions (Recht et al. 2019, section 2):
    ``L_S' - L_S = (L_D - L_S) + (L_D' - L_D) + (L_S' - L_D')`` = adaptivity + distribution + generalisation.

    * ``drop_points``: accuracy on S - accuracy on S'; equals the sum of the three.
    * ``generalisation_points``: 0, within the interval of the new accuracy.
    * ``original_chance_points``: what chance in the choice of S alone would do to the adaptivity term, for a model that
      was not adapted to S: 0, within the interval of the original accuracy.
    * ``frequency_points``: part of the distribution shift that selection frequencies explain (accuracy at the original's
      frequencies - accuracy on S'); None without frequencies.
    * ``remainder_points``: drop - frequency part: adaptivity plus unexplained shift plus chance; None without frequencies.
    """

    model: str
    drop_points: Estimate
    generalisation_points: Estimate
    original_chance_points: Estimate
    frequency_points: Estimate | None
    remainder_points: Estimate | None
    assumptions: tuple[str, ...]


def decompose_gap(point: ModelPoint, *, matched: MatchedAccuracy | None = None, confidence: float = 0.95) -> GapDecomposition:
    """Decompose the drop of one model into the parts that the data allow (Recht et al. 2019, section 2).

    Intervals of differences combine the intervals of their two terms (Zou & Donner 2008), those of accuracies being
    Clopper-Pearson.

    Args:
        point: the model's accuracies, with the numbers of images.
        matched: its accuracy corrected to the original's selection frequencies (:func:`retest.analysis.matching_bias`),
            with an interval of the same ``confidence``.
        confidence: coverage of the intervals.

    Raises:
        InputError: the numbers of images are missing.
        UsageError: ``confidence`` is out of range.
    """
    if point.n_original is None or point.n_new is None:
        raise InputError("the numbers of images are unknown", item=point.label, remedy="Give n_original and n_new.")
    original, new = (_accuracy(value, n, confidence) for value, n in ((point.original, point.n_original), (point.new, point.n_new)))
    frequency = remainder = None
    if matched is not None:
        frequency = _points(estimate_difference(matched.corrected, new))
        remainder = _points(estimate_difference(original, matched.corrected))
    return GapDecomposition(
        model=point.label,
        drop_points=_points(estimate_difference(original, new)),
        generalisation_points=_points(Estimate(0.0, new.low - new.value, new.high - new.value)),
        original_chance_points=_points(Estimate(0.0, original.value - original.high, original.value - original.low)),
        frequency_points=frequency,
        remainder_points=remainder,
        assumptions=_ASSUMED + (_UNMATCHED if matched is None else _ASSUMED_MATCHED),
    )


def _accuracy(value: float, n: int, confidence: float) -> Estimate:
    low, high = clopper_pearson(round(value * n), n, confidence=confidence)
    return Estimate(value, float(low), float(high))


def _points(estimate: Estimate) -> Estimate:
    return Estimate(100.0 * estimate.value, 100.0 * estimate.low, 100.0 * estimate.high)
