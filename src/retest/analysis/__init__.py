"""The numbers of a replication study, computed on plain records: pure functions, no input or output.

``docs/statistics.md`` explains each quantity with its formula, assumptions and source.
"""

from retest.analysis.accuracy import AccuracyRow, ClassAccuracy, accuracy_rows, class_accuracies, competition_ranks, top_correct
from retest.analysis.agreement import Consensus, ModelAgreement, MultiLabelAccuracy, consensus, model_agreement, multilabel_accuracy
from retest.analysis.comparison import Comparison, ComparisonRow, compare_test_sets, newcombe_difference
from retest.analysis.correctness import Correctness, correctness_table
from retest.analysis.fits import FitBand, LinearFit, fit_accuracies, mean_band, prediction_band
from retest.analysis.frequency import (
    FREQUENCY_EDGES,
    AnnotationCounts,
    BinAccuracy,
    FrequencyHistogram,
    ReweightedAccuracy,
    accuracy_by_frequency,
    annotation_counts,
    frequency_histogram,
    reweighted_accuracy,
)
from retest.analysis.intervals import INTERVAL_METHODS, IntervalMethod, clopper_pearson, proportion_interval, wilson
from retest.analysis.paired import PairedComparison, compare_all_pairs, compare_models, holm, mcnemar
from retest.analysis.points import METRICS, Metric, ModelPoint, PairedModels, pair_models
from retest.analysis.robustness import EffectiveRobustness, RobustnessRow, effective_robustness
from retest.analysis.scales import SCALES, Scale, from_scale, to_scale
from retest.analysis.tables import UNITS, TableRow, Unit, join_tables, parse_number, read_table_rows

__all__ = [
    "FREQUENCY_EDGES",
    "INTERVAL_METHODS",
    "METRICS",
    "SCALES",
    "UNITS",
    "AccuracyRow",
    "AnnotationCounts",
    "BinAccuracy",
    "ClassAccuracy",
    "Comparison",
    "ComparisonRow",
    "Consensus",
    "Correctness",
    "EffectiveRobustness",
    "FitBand",
    "FrequencyHistogram",
    "IntervalMethod",
    "LinearFit",
    "Metric",
    "ModelAgreement",
    "ModelPoint",
    "MultiLabelAccuracy",
    "PairedComparison",
    "PairedModels",
    "ReweightedAccuracy",
    "RobustnessRow",
    "Scale",
    "TableRow",
    "Unit",
    "accuracy_by_frequency",
    "accuracy_rows",
    "annotation_counts",
    "class_accuracies",
    "clopper_pearson",
    "compare_all_pairs",
    "compare_models",
    "compare_test_sets",
    "competition_ranks",
    "consensus",
    "correctness_table",
    "effective_robustness",
    "fit_accuracies",
    "frequency_histogram",
    "from_scale",
    "holm",
    "join_tables",
    "mcnemar",
    "mean_band",
    "model_agreement",
    "multilabel_accuracy",
    "newcombe_difference",
    "pair_models",
    "parse_number",
    "prediction_band",
    "proportion_interval",
    "read_table_rows",
    "reweighted_accuracy",
    "to_scale",
    "top_correct",
    "wilson",
]
