"""Tables, figures and the HTML report."""

from retest.report.describe import parameters_of, revision_facts
from retest.report.html import render_html
from retest.report.pivot import scatter_from_rows
from retest.report.records import (
    DatasetFacts,
    DuplicateExample,
    ExclusionCount,
    Fact,
    FrequencyHistogram,
    MethodPart,
    MetricDistance,
    Notice,
    PlantedCheck,
    PlantedKind,
    ReportImage,
    SampleImage,
    Scatter,
    Section,
    StageSize,
    StudyReport,
    TargetComparison,
)
from retest.report.tables import accuracy_csv, accuracy_json_rows, accuracy_text, fit_text

__all__ = [
    "DatasetFacts",
    "DuplicateExample",
    "ExclusionCount",
    "Fact",
    "FrequencyHistogram",
    "MethodPart",
    "MetricDistance",
    "Notice",
    "PlantedCheck",
    "PlantedKind",
    "ReportImage",
    "SampleImage",
    "Scatter",
    "Section",
    "StageSize",
    "StudyReport",
    "TargetComparison",
    "accuracy_csv",
    "accuracy_json_rows",
    "accuracy_text",
    "fit_text",
    "parameters_of",
    "render_html",
    "revision_facts",
    "scatter_from_rows",
]
