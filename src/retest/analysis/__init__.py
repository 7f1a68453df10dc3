"""The numbers of a replication study, computed on plain records: pure functions, no input or output.

``docs/statistics.md`` explains each quantity with its formula, assumptions and source.
"""

from retest.analysis.accuracy import AccuracyRow, ClassAccuracy, accuracy_rows, class_accuracies, competition_ranks, top_correct
from retest.analysis.fits import FitBand, LinearFit, fit_accuracies, mean_band, prediction_band
from retest.analysis.intervals import INTERVAL_METHODS, IntervalMethod, clopper_pearson, proportion_interval, wilson
from retest.analysis.points import METRICS, Metric, ModelPoint, PairedModels, pair_models
from retest.analysis.scales import SCALES, Scale, from_scale, to_scale

__all__ = [
    "INTERVAL_METHODS",
    "METRICS",
    "SCALES",
    "AccuracyRow",
    "ClassAccuracy",
    "FitBand",
    "IntervalMethod",
    "LinearFit",
    "Metric",
    "ModelPoint",
    "PairedModels",
    "Scale",
    "accuracy_rows",
    "class_accuracies",
    "clopper_pearson",
    "competition_ranks",
    "fit_accuracies",
    "from_scale",
    "mean_band",
    "pair_models",
    "prediction_band",
    "proportion_interval",
    "to_scale",
    "top_correct",
    "wilson",
]
