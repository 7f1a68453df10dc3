from __future__ import annotations

import dataclasses

import pytest
import report_fixture

from retest.analysis import AccuracyRow, clopper_pearson
from retest.report import (
    DatasetFacts,
    PlantedCheck,
    PlantedKind,
    StudyReport,
    accuracy_table,
    scatter_from_rows,
    set_changes,
    summary_sentences,
)


def rows(counts, n=1000):
    """{set: {model: correct of n}} as accuracy rows."""
    made = []
    for dataset, models in counts.items():
        for model, k in models.items():
            low, high = (float(v[0]) for v in clopper_pearson([k], [n]))
            rank = 1 + sum(other > k for other in models.values())
            made.append(AccuracyRow(dataset, model, n, k / n, low, high, rank, None, None, None, None))
    return tuple(made)


def report(counts, **parts):
    sets = (DatasetFacts("val", "the original validation set"), DatasetFacts("b", "MatchedFrequency"))
    return StudyReport(title="t", original="val", datasets=sets, accuracy=rows(counts), **parts)


def test_the_mean_difference_is_said_in_words():
    counts = {"val": {"a": 900, "b": 800, "c": 700}, "b": {"a": 850, "b": 798, "c": 665}}
    assert summary_sentences(report(counts)) == (
        "Across 3 models, top-1 accuracy on MatchedFrequency is 2.9 points lower than on the original validation set (mean); "
        "the difference exceeds what the choice of images explains for 1 of 3 models.",
        "The order of the models is the same on every set.",
    )


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ({"a": 930, "b": 830}, "3.0 points higher than"),
        ({"a": 910, "b": 810}, "1.0 point higher than"),
        ({"a": 900, "b": 800}, "the same as"),
        ({"a": 890, "b": 790}, "1.0 point lower than"),
    ],
)
def test_directions(new, words):
    first = summary_sentences(report({"val": {"a": 900, "b": 800}, "b": new}))[0]
    assert f"is {words} on the original" in first


def test_all_and_none_beyond_chance():
    all_models = summary_sentences(report({"val": {"a": 900, "b": 800}, "b": {"a": 500, "b": 400}}))[0]
    assert all_models.endswith("explains for all 2 models.")
    no_model = summary_sentences(report({"val": {"a": 900, "b": 800}, "b": {"a": 899, "b": 799}}))[0]
    assert no_model.endswith("explains for no model.")


def test_one_model_has_no_mean_and_no_order():
    sentences = summary_sentences(report({"val": {"a": 900}, "b": {"a": 850}}))
    assert sentences == ("Across 1 model, top-1 accuracy on MatchedFrequency is 5.0 points lower than on the original validation set.",)


def test_changes_are_over_the_models_that_both_sets_have():
    table = accuracy_table(rows({"val": {"a": 900, "b": 800}, "b": {"a": 850, "c": 100}}), original="val")
    (change,) = set_changes(table)
    assert (change.n_models, change.lowest, change.highest) == (1, pytest.approx(-5), pytest.approx(-5))
    assert set_changes(accuracy_table(rows({"val": {"a": 900}, "b": {"c": 850}}), original="val")) == ()
    assert set_changes(accuracy_table(rows({"val": {"a": 900}, "b": {"a": 850}}))) == ()


def test_rank_changes_and_the_best_model():
    counts = {"val": {"a": 900, "b": 890, "c": 700}, "b": {"a": 800, "b": 850, "c": 660}, "d": {"a": 990, "b": 900, "c": 910}}
    assert (
        summary_sentences(report(counts))[2] == "No model moves by more than 1 rank; the best model on the original is also the best on d."
    )
    none = {"val": {"a": 900, "b": 890}, "b": {"a": 800, "b": 850}}
    assert summary_sentences(report(none))[1].endswith("is also the best on none of the new sets.")


def test_slopes_are_read_out_and_interpreted():
    counts = {"val": {f"m{i}": 600 + 50 * i for i in range(6)}, "b": {f"m{i}": 400 + 80 * i for i in range(6)}}
    made = rows(counts)
    fit = report_fixture.fit(made, "b", original="val")
    scatter = scatter_from_rows(made, original="val", new="b", fit=fit)
    sentence = summary_sentences(report(counts, scatters=(scatter,)))[-1]
    line = "A model that is one point better on the original validation set is, by the fitted line, better by 1.60 on MatchedFrequency"
    assert sentence.startswith(f"{line} [1.60, 1.60].")
    assert sentence.endswith("A slope above 1 means that better models lose less.")
    flat = {"val": counts["val"], "b": {f"m{i}": 400 + 20 * i for i in range(6)}}
    made = rows(flat)
    scatter = scatter_from_rows(made, original="val", new="b", fit=report_fixture.fit(made, "b", original="val"))
    assert "A slope above 1" not in summary_sentences(report(flat, scatters=(scatter,)))[-1]


def test_fits_on_other_scales_are_read_out_only_where_there_is_none_in_percent():
    made = rows({"val": {f"m{i}": 600 + 50 * i for i in range(6)}, "b": {f"m{i}": 400 + 80 * i for i in range(6)}})
    scatters = [
        scatter_from_rows(made, original="val", new="b", fit=report_fixture.fit(made, "b", original="val", scale=s))
        for s in ("probit", "linear")
    ]
    base = StudyReport(title="t", scatters=tuple(scatters))
    assert [s for s in summary_sentences(base) if "unit" in s] == []
    (only,) = summary_sentences(dataclasses.replace(base, scatters=(scatters[0],)))
    assert only.startswith("A model that is one probit unit better on val is")


def test_planted_copies():
    check = PlantedCheck((PlantedKind("copy", 20, 19),), 21, 20)
    assert summary_sentences(StudyReport(title="t", planted=check)) == (
        "The near-duplicate search found 19 of 20 planted copies; of the 21 candidates it marked, 20 are marked rightly.",
    )
    assert summary_sentences(StudyReport(title="t", planted=PlantedCheck((PlantedKind("copy", 20, 0),), 0, 0))) == (
        "The near-duplicate search found 0 of 20 planted copies.",
    )
    assert summary_sentences(StudyReport(title="t", planted=PlantedCheck((), 0, 0))) == ()
