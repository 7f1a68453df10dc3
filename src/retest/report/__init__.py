"""Tables, figures and one self-contained HTML report of a study: info first, plot second.

Fill a :class:`StudyReport` and give it to :func:`render_html`; figures for papers come from :func:`figure_svg`,
:func:`figure_pdf` and :func:`figure_png`, tables for terminals and machines from :func:`accuracy_text` and its siblings.
"""

from retest.report.describe import parameters_of, plain_value, revision_facts
from retest.report.figure_records import Band, FrequencyHistogram, Scatter, ScatterPoint, TargetComparison
from retest.report.figures import figure_pdf, figure_png, figure_svg
from retest.report.html import render_html
from retest.report.image_records import DuplicateExample, MetricDistance, PlantedCheck, PlantedKind, ReportImage, SampleImage
from retest.report.pivot import AccuracyCell, AccuracyLine, AccuracyTable, accuracy_table, fit_band, scatter_from_points, scatter_from_rows
from retest.report.records import (
    Column,
    DatasetFacts,
    ExclusionCount,
    ExtraTable,
    Fact,
    MethodPart,
    Notice,
    Parameter,
    RevisionFacts,
    Section,
    StageSize,
    StudyReport,
)
from retest.report.styles import SetStyles, set_styles
from retest.report.summary import SetChange, set_changes, summary_sentences
from retest.report.tables import (
    ACCURACY_COLUMNS,
    accuracy_csv,
    accuracy_json_rows,
    accuracy_text,
    fit_text,
    robustness_text,
)

__all__ = [
    "ACCURACY_COLUMNS",
    "AccuracyCell",
    "AccuracyLine",
    "AccuracyTable",
    "Band",
    "Column",
    "DatasetFacts",
    "DuplicateExample",
    "ExclusionCount",
    "ExtraTable",
    "Fact",
    "FrequencyHistogram",
    "MethodPart",
    "MetricDistance",
    "Notice",
    "Parameter",
    "PlantedCheck",
    "PlantedKind",
    "ReportImage",
    "RevisionFacts",
    "SampleImage",
    "Scatter",
    "ScatterPoint",
    "Section",
    "SetChange",
    "SetStyles",
    "StageSize",
    "StudyReport",
    "TargetComparison",
    "accuracy_csv",
    "accuracy_json_rows",
    "accuracy_table",
    "accuracy_text",
    "figure_pdf",
    "figure_png",
    "figure_svg",
    "fit_band",
    "fit_text",
    "parameters_of",
    "plain_value",
    "render_html",
    "revision_facts",
    "robustness_text",
    "scatter_from_points",
    "scatter_from_rows",
    "set_changes",
    "set_styles",
    "summary_sentences",
]
