"""Multi-label accuracy from the judgements of predicted labels (Beyer et al. 2020; Shankar et al. 2020)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from retest.analysis import MultiLabelAccuracy, multilabel_accuracy
from retest.records import Predictions
from retest.report import Column, ExtraTable, Section
from retest.stages._review_predictions import judged_labels, valid_classes
from retest.store import Tables


def multilabel_accuracies(tables: Tables, predictions: Iterable[Predictions]) -> list[MultiLabelAccuracy]:
    """Multi-label accuracy of every model on every test set, over the images that count for it; models without such images are absent."""
    judged = judged_labels(tables)
    found = []
    for one in predictions if judged else ():
        valid = valid_classes(one, judged)
        if any(valid.values()):
            found.append(multilabel_accuracy(one, valid))
    return found


def multilabel_table(found: Iterable[MultiLabelAccuracy], labels: Mapping[str, str]) -> tuple[ExtraTable, ...]:
    """The report's table; nothing without judgements."""
    rows = tuple(
        (labels.get(one.dataset, one.dataset), one.model, one.n, one.accuracy, one.low, one.high, one.n_unreviewed) for one in found
    )
    columns = (
        Column("set"), Column("model"), Column("images that count", "count"), Column("multi-label accuracy", "percent"),
        Column("from", "percent"), Column("to", "percent"), Column("other images", "count"),
    )  # fmt: skip
    note = (
        "Judgements of the review: an image counts for a model whose predicted class was judged correct or wrong; the image's own label is "
        "taken as correct unless judged otherwise; unclear and don't know decide nothing. Only images that somebody judged count, so this "
        "is no accuracy of the whole set unless all were judged. 95 % Clopper-Pearson."
    )
    return (ExtraTable("Multi-label accuracy from the review", columns, rows, Section.ACCURACY, note),) if rows else ()
