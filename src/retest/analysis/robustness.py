"""Effective and relative robustness (Taori et al. 2020)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from retest.analysis.fits import LinearFit, fit_accuracies, prediction_band
from retest.analysis.points import ModelPoint
from retest.analysis.scales import Scale
from retest.errors import UsageError


@dataclass(frozen=True, slots=True)
class RobustnessRow:
    """Robustness of one model beyond what its original accuracy predicts.

    ``original``, ``new`` and ``expected`` are fractions. ``rho_points`` = new - expected in percentage points, with the
    ends from the prediction band of the baseline: outside of [low, high] containing 0 the model does not follow the
    baseline. ``tau_points`` = new accuracy minus that of the model without the intervention, where one is named.
    """

    model: str
    in_baseline: bool
    original: float
    new: float
    expected: float
    rho_points: float
    rho_low_points: float
    rho_high_points: float
    relative_to: str | None = None
    tau_points: float | None = None


@dataclass(frozen=True, slots=True)
class EffectiveRobustness:
    """Rows by decreasing rho, and the fit ``beta`` over the baseline models that gave the expectation."""

    fit: LinearFit
    rows: tuple[RobustnessRow, ...]


def effective_robustness(
    points: Sequence[ModelPoint],
    *,
    baseline: Collection[str],
    without_intervention: Mapping[str, str] | None = None,
    scale: Scale = "logit",
    confidence: float = 0.95,
    bootstrap: int = 100_000,
    seed: int = 0,
) -> EffectiveRobustness:
    """Effective robustness ``rho = new - beta(original)`` of each model (Taori et al. 2020, section 2).

    beta is the line through the models of a declared baseline set (standard training, no extra data), fitted on the
    logit scale as there, or on another. Relative robustness ``tau = new(model) - new(model without intervention)``. A
    training method that makes models more robust has rho > 0 and tau > 0. What counts as baseline decides the result,
    so there is no default.

    Args:
        points: models on both test sets.
        baseline: names or labels of the standard models, at least three.
        without_intervention: label of a model -> label of the same model without the robustness intervention.
        scale: of the fit.
        confidence: coverage of the fit's intervals and of the prediction band.
        bootstrap: draws for the fit's intervals.
        seed: of the bootstrap.

    Raises:
        UsageError: a name is unknown or a parameter out of range.
        InputError: the baseline does not determine a line; see :func:`retest.analysis.fit_accuracies`.
    """
    pairs = dict(without_intervention or {})
    baseline = dict.fromkeys([baseline] if isinstance(baseline, str) else baseline)  # a text is one name, not its letters
    by_label = {point.label: point for point in points}
    _check_names({name for point in points for name in (point.model, point.label)}, baseline, "baseline")
    _check_names(set(by_label), (*pairs, *pairs.values()), "without_intervention")
    standard = [point for point in points if point.model in baseline or point.label in baseline]
    fit = fit_accuracies(standard, scale=scale, confidence=confidence, bootstrap=bootstrap, seed=seed)
    band = prediction_band(fit, [point.original for point in points], confidence=confidence)
    inside = {point.label for point in standard}
    plain = {label: by_label[without] for label, without in pairs.items()}
    rows = [
        _row(point, point.label in inside, plain.get(point.label), expected=float(new), low=float(low), high=float(high))
        for point, new, low, high in zip(points, band.new, band.low, band.high, strict=True)
    ]
    return EffectiveRobustness(fit, tuple(sorted(rows, key=lambda row: (-row.rho_points, row.model))))


def _row(point: ModelPoint, in_baseline: bool, plain: ModelPoint | None, *, expected: float, low: float, high: float) -> RobustnessRow:
    """``plain``: the same model without the intervention; ``expected``, ``low`` and ``high``: of the baseline, fractions."""
    return RobustnessRow(
        model=point.label,
        in_baseline=in_baseline,
        original=point.original,
        new=point.new,
        expected=expected,
        rho_points=100.0 * (point.new - expected),
        rho_low_points=100.0 * (point.new - high),
        rho_high_points=100.0 * (point.new - low),
        relative_to=None if plain is None else plain.label,
        tau_points=None if plain is None else 100.0 * (point.new - plain.new),
    )


def _check_names(known: set[str], names: Collection[str], parameter: str) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(
            f"unknown model(s): {', '.join(unknown)}", item=parameter, remedy=f"Choose among the {len(known)} names of the points."
        )
