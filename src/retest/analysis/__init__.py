"""The numbers of a replication study, computed on plain records: pure functions, no input or output.

``docs/statistics.md`` explains each quantity with its formula, assumptions and source.
"""

from retest.analysis.accuracy import AccuracyRow, ClassAccuracy, accuracy_rows, class_accuracies, competition_ranks, top_correct
from retest.analysis.agreement import Consensus, ModelAgreement, MultiLabelAccuracy, consensus, model_agreement, multilabel_accuracy
from retest.analysis.comparison import Comparison, ComparisonRow, compare_test_sets, newcombe_difference
from retest.analysis.correctness import Correctness, correctness_table
from retest.analysis.curves import AccuracyCurve
from retest.analysis.disagreement import Disagreement, DisputedImage, disagreement_table
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
from retest.analysis.gap import GapDecomposition, decompose_gap
from retest.analysis.intervals import (
    INTERVAL_METHODS,
    Estimate,
    IntervalMethod,
    clopper_pearson,
    estimate_difference,
    proportion_interval,
    wilson,
)
from retest.analysis.matching import MatchedAccuracy, MatchingBias, MatchingParameters, matching_bias
from retest.analysis.matching_simulation import EstimatorCheck, MatchingScenario, SimulatedStudy, check_estimators, simulate_study
from retest.analysis.mixture import BetaMixture, fit_beta_mixture
from retest.analysis.paired import PairedComparison, compare_all_pairs, compare_models, holm, mcnemar
from retest.analysis.parameters import AnalysisParameters
from retest.analysis.planning import (
    LabellingCost,
    PlanParameters,
    StudyPlan,
    drop_power,
    images_for_half_width,
    images_for_power,
    interval_half_width,
    labelling_cost,
    paired_power,
    plan_study,
)
from retest.analysis.points import METRICS, Metric, ModelPoint, PairedModels, pair_models
from retest.analysis.robustness import EffectiveRobustness, RobustnessRow, effective_robustness
from retest.analysis.scales import SCALES, Scale, from_scale, to_scale
from retest.analysis.subsampling import held_out_gap, thin_counts
from retest.analysis.tables import UNITS, TableRow, Unit, join_tables, parse_number, read_table_rows
from retest.analysis.two_sample import TwoSampleParameters, TwoSampleTest, two_sample_test

__all__ = [
    "FREQUENCY_EDGES",
    "INTERVAL_METHODS",
    "METRICS",
    "SCALES",
    "UNITS",
    "AccuracyCurve",
    "AccuracyRow",
    "AnalysisParameters",
    "AnnotationCounts",
    "BetaMixture",
    "BinAccuracy",
    "ClassAccuracy",
    "Comparison",
    "ComparisonRow",
    "Consensus",
    "Correctness",
    "Disagreement",
    "DisputedImage",
    "EffectiveRobustness",
    "Estimate",
    "EstimatorCheck",
    "FitBand",
    "FrequencyHistogram",
    "GapDecomposition",
    "IntervalMethod",
    "LabellingCost",
    "LinearFit",
    "MatchedAccuracy",
    "MatchingBias",
    "MatchingParameters",
    "MatchingScenario",
    "Metric",
    "ModelAgreement",
    "ModelPoint",
    "MultiLabelAccuracy",
    "PairedComparison",
    "PairedModels",
    "PlanParameters",
    "ReweightedAccuracy",
    "RobustnessRow",
    "Scale",
    "SimulatedStudy",
    "StudyPlan",
    "TableRow",
    "TwoSampleParameters",
    "TwoSampleTest",
    "Unit",
    "accuracy_by_frequency",
    "accuracy_rows",
    "annotation_counts",
    "check_estimators",
    "class_accuracies",
    "clopper_pearson",
    "compare_all_pairs",
    "compare_models",
    "compare_test_sets",
    "competition_ranks",
    "consensus",
    "correctness_table",
    "decompose_gap",
    "disagreement_table",
    "drop_power",
    "effective_robustness",
    "estimate_difference",
    "fit_accuracies",
    "fit_beta_mixture",
    "frequency_histogram",
    "from_scale",
    "held_out_gap",
    "holm",
    "images_for_half_width",
    "images_for_power",
    "interval_half_width",
    "join_tables",
    "labelling_cost",
    "matching_bias",
    "mcnemar",
    "mean_band",
    "model_agreement",
    "multilabel_accuracy",
    "newcombe_difference",
    "pair_models",
    "paired_power",
    "parse_number",
    "plan_study",
    "prediction_band",
    "proportion_interval",
    "read_table_rows",
    "reweighted_accuracy",
    "simulate_study",
    "thin_counts",
    "to_scale",
    "top_correct",
    "two_sample_test",
    "wilson",
]
