"""Linear fits of new accuracy on original accuracy over models, with bootstrap intervals and prediction bands."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from retest.analysis._checks import check_open_fraction, check_whole
from retest.analysis.points import Metric, ModelPoint
from retest.analysis.scales import Scale, from_scale, to_scale
from retest.errors import InputError, UsageError

Floats = NDArray[np.float64]

_LEAST_MODELS = 3
_CHUNK_ENTRIES = 4_000_000


@dataclass(frozen=True, slots=True)
class LinearFit:
    """Ordinary least squares line ``y = slope * x + intercept`` over models.

    ``x`` and ``y`` are the accuracies on ``scale``: percent (linear), probit or logit of the fraction. ``models`` are
    the labels of the points, in order of ``x``, ``y`` and ``residuals`` (= y - fitted); ``r2`` is 1 where all y are
    equal. The interval ends are percentiles of a bootstrap over models at ``confidence``. ``n_models`` counts points,
    ``n_distinct_models`` model names (a table may hold one model at several image sizes; the bootstrap draws names,
    with all their points). ``bootstrap_degenerate`` counts the draws without two different x, for which there is no
    line; the percentiles are over the others. ``notes`` say openly what was left out or replaced.
    """

    slope: float
    intercept: float
    slope_low: float
    slope_high: float
    intercept_low: float
    intercept_high: float
    r2: float
    n_models: int
    n_distinct_models: int
    models: tuple[str, ...]
    scale: Scale
    metric: Metric
    original: str
    new: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    residuals: tuple[float, ...]
    confidence: float
    bootstrap: int
    bootstrap_degenerate: int
    seed: int
    excluded: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def predict(self, original: ArrayLike) -> Floats:
        """New accuracy (fraction) that the line gives for an original accuracy (fraction), any shape."""
        return from_scale(self.slope * to_scale(original, self.scale) + self.intercept, self.scale)


@dataclass(frozen=True, slots=True, eq=False)
class FitBand:
    """Fitted line and its interval at some original accuracies; all fractions, float64 (m,)."""

    original: Floats
    new: Floats
    low: Floats
    high: Floats


def fit_accuracies(
    points: Sequence[ModelPoint],
    *,
    scale: Scale = "linear",
    exclude: Collection[str] = (),
    metric: Metric = "top1",
    original: str = "original",
    new: str = "new",
    confidence: float = 0.95,
    bootstrap: int = 100_000,
    seed: int = 0,
) -> LinearFit:
    """Fit new accuracy on original accuracy by ordinary least squares (Recht et al. 2019, section 4, appendix).

    ``f(new) = slope * f(original) + intercept`` with f the percentage, the probit or the logit. Intervals: percentile
    bootstrap of pairs, drawing as many models with replacement as there are. Accuracies of exactly 0 or 1 on the probit
    and logit scales become ``(k + 0.5) / (n + 1)``, and a note says so.

    Args:
        points: one per model (and image size).
        scale: "linear" (percent), "probit" or "logit".
        exclude: models to leave out, by name (all its sizes) or label.
        metric: what the accuracies are; recorded in the result.
        original: name of the original test set; recorded in the result.
        new: name of the new test set; recorded in the result.
        confidence: coverage of the intervals.
        bootstrap: number of draws, at least 100.
        seed: of the bootstrap.

    Raises:
        UsageError: a parameter is out of range or ``exclude`` names an unknown model.
        InputError: fewer than three models, a label twice, no spread in x, an accuracy outside [0, 1], or one of 0 or 1
            whose test set's size is unknown where it is needed.
    """
    check_open_fraction("confidence", confidence)
    check_whole("bootstrap", bootstrap, 100)
    check_whole("seed", seed, 0)
    kept, excluded = _exclude(points, exclude)
    _check_points(kept)
    x, x_notes = _scaled(kept, scale, side="original")
    y, y_notes = _scaled(kept, scale, side="new")
    slope, intercept = _line(x, y)
    draws = _bootstrap_lines(x, y, _clusters(kept), draws=bootstrap, seed=seed)
    tail = 50.0 * (1.0 - confidence)
    ends = np.percentile(draws, (tail, 100.0 - tail), axis=0)
    residuals = y - (slope * x + intercept)
    total = float(((y - y.mean()) ** 2).sum())
    notes = (*((f"left out by name: {', '.join(excluded)}",) if excluded else ()), *x_notes, *y_notes)
    return LinearFit(
        slope=slope,
        intercept=intercept,
        slope_low=float(ends[0, 0]),
        slope_high=float(ends[1, 0]),
        intercept_low=float(ends[0, 1]),
        intercept_high=float(ends[1, 1]),
        r2=1.0 - float((residuals**2).sum()) / total if total > 0 else 1.0,
        n_models=len(kept),
        n_distinct_models=len({point.model for point in kept}),
        models=tuple(point.label for point in kept),
        scale=scale,
        metric=metric,
        original=original,
        new=new,
        x=tuple(x.tolist()),
        y=tuple(y.tolist()),
        residuals=tuple(residuals.tolist()),
        confidence=confidence,
        bootstrap=bootstrap,
        bootstrap_degenerate=bootstrap - len(draws),
        seed=seed,
        excluded=excluded,
        notes=notes,
    )


def prediction_band(fit: LinearFit, original: ArrayLike, *, confidence: float = 0.95) -> FitBand:
    """Band in which a further model of the same population falls: ``fit +- t s sqrt(1 + 1/n + (x - xbar)^2 / Sxx)``.

    t is Student's quantile with n - 2 degrees of freedom and s the residual standard deviation, on the scale of the
    fit; the result is back in fractions. Assumes independent, equally spread, normal residuals on that scale.

    Args:
        fit: the fit.
        original: original accuracies (fractions) at which to give the band, (m,).
        confidence: coverage of the band at each point.

    Raises:
        UsageError: the confidence is not between 0 and 1.
        InputError: the fit is over fewer than three models (``fit_accuracies`` makes none such).
    """
    return _band(fit, original, confidence, own_spread=1.0)


def mean_band(fit: LinearFit, original: ArrayLike, *, confidence: float = 0.95) -> FitBand:
    """Band of the line itself: ``fit +- t s sqrt(1/n + (x - xbar)^2 / Sxx)``.

    Arguments, result and errors are those of :func:`prediction_band`, which also counts the spread of a single model.
    """
    return _band(fit, original, confidence, own_spread=0.0)


def _band(fit: LinearFit, original: ArrayLike, confidence: float, *, own_spread: float) -> FitBand:
    check_open_fraction("confidence", confidence)
    at = np.atleast_1d(np.asarray(original, dtype=np.float64))
    x0, x = to_scale(at, fit.scale), np.array(fit.x)
    free = fit.n_models - 2
    if free < 1:
        problem = f"a line over {fit.n_models} models leaves nothing to tell their spread by"
        raise InputError(problem, item="fit", remedy=f"A band needs at least {_LEAST_MODELS} models.")
    s = np.sqrt((np.array(fit.residuals) ** 2).sum() / free)
    leverage = 1.0 / fit.n_models + (x0 - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum()
    half = stdtrit(free, 0.5 + confidence / 2.0) * s * np.sqrt(own_spread + leverage)
    centre = fit.slope * x0 + fit.intercept
    low, mid, high = (from_scale(v, fit.scale) for v in (centre - half, centre, centre + half))
    return FitBand(original=at, new=mid, low=low, high=high)


def _exclude(points: Sequence[ModelPoint], exclude: Collection[str]) -> tuple[list[ModelPoint], tuple[str, ...]]:
    names = (exclude,) if isinstance(exclude, str) else tuple(exclude)
    known = {name for point in points for name in (point.model, point.label)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(
            f"not among the {len(points)} models compared",
            item=f"exclude {', '.join(unknown)}",
            remedy="Check the spelling, and that both test sets have the model.",
        )
    out = [point.label for point in points if point.model in names or point.label in names]
    return [point for point in points if point.label not in out], tuple(out)


def _check_points(points: Sequence[ModelPoint]) -> None:
    if len(points) < _LEAST_MODELS:
        raise InputError(
            f"{len(points)} model(s) are too few for a fit", remedy=f"Evaluate at least {_LEAST_MODELS} models on both test sets."
        )
    seen: set[str] = set()
    for point in points:
        if point.label in seen:
            raise InputError("comes twice", item=point.label, remedy="Give each model (and image size) once.")
        seen.add(point.label)
        for value in (point.original, point.new):
            if not 0.0 <= value <= 1.0:
                raise InputError(f"accuracy {value} is no fraction", item=point.label, remedy="Give accuracies between 0 and 1.")
    if len({point.original for point in points}) < 2:
        raise InputError("all models have the same original accuracy", remedy="A line needs models of different accuracy.")


def _scaled(points: Sequence[ModelPoint], scale: Scale, *, side: str) -> tuple[Floats, tuple[str, ...]]:
    values = [point.original if side == "original" else point.new for point in points]
    if scale == "linear":
        return to_scale(values, scale), ()
    notes = []
    for i, point in enumerate(points):
        if values[i] in (0.0, 1.0):
            n = point.n_original if side == "original" else point.n_new
            if n is None:
                raise InputError(
                    f"{side} accuracy {values[i]:g} has no {scale} and the size of the test set is unknown",
                    item=point.label,
                    remedy=f"Give the number of images, use the linear scale, or exclude {point.label}.",
                )
            adjusted = (round(values[i] * n) + 0.5) / (n + 1)
            notes.append(f"{point.label}: {side} accuracy {values[i]:g} of {n} images taken as {adjusted:.6g} = (k + 0.5)/(n + 1)")
            values[i] = adjusted
    return to_scale(values, scale), tuple(notes)


def _line(x: Floats, y: Floats) -> tuple[float, float]:
    dx = x - x.mean()
    slope = float((dx * (y - y.mean())).sum() / (dx * dx).sum())
    return slope, float(y.mean() - slope * x.mean())


def _clusters(points: Sequence[ModelPoint]) -> NDArray[np.intp]:
    index: dict[str, int] = {}
    return np.array([index.setdefault(point.model, len(index)) for point in points], dtype=np.intp)


def _bootstrap_lines(x: Floats, y: Floats, cluster: NDArray[np.intp], *, draws: int, seed: int) -> Floats:
    """(slope, intercept) of the non-degenerate draws, (<= draws, 2).

    A draw enters the line only through five sums over its models, so it is a row of counts times a matrix of moments.
    """
    cx, cy = float(x.mean()), float(y.mean())
    dx, dy = x - cx, y - cy  # centred, so that the differences of moments below do not cancel
    n = int(cluster.max()) + 1
    columns = (np.ones_like(dx), dx, dy, dx * dx, dx * dy)
    moments = np.stack([np.bincount(cluster, weights=column, minlength=n) for column in columns], axis=1)
    return np.concatenate([_lines_of(counts @ moments, cx, cy) for counts in _draw_chunks(n, draws, seed)])


def _draw_chunks(n: int, draws: int, seed: int) -> Iterator[Floats]:
    """How often each of n items is in each draw of n with replacement: float64 (d, n) until ``draws`` rows are given.

    Counts instead of indices, because a sum over a draw is then a matrix product.
    """
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK_ENTRIES // n)
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        cells = rng.integers(0, n, size=(rows, n), dtype=np.int64)
        cells += np.arange(0, rows * n, n, dtype=np.int64)[:, None]
        yield np.bincount(cells.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def _lines_of(sums: Floats, cx: float, cy: float) -> Floats:
    count, sx, sy, sxx, sxy = sums.T
    spread = sxx - sx * sx / count
    # A draw of one model only has spread 0 but for rounding; relative to the sum of squares this tells it apart.
    ok = spread > 1e-12 * np.maximum(sxx, np.finfo(np.float64).tiny)
    slope = (sxy - sx * sy / count)[ok] / spread[ok]
    intercept = cy + (sy / count)[ok] - slope * (cx + (sx / count)[ok])
    return np.stack([slope, intercept], axis=1)
