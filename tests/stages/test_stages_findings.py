"""Tables of further findings: their numbers are those of independent, plain recomputation."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from retest.analysis import AnnotationCounts, accuracy_rows
from retest.records import Predictions
from retest.report import Section
from retest.stages._findings import FindingInputs, ImageFeatures, findings

MODELS = ("a", "b", "c", "d")
SETS = {"original": 300, "new": 200}


def _predictions(seed=0):
    rng = np.random.default_rng(seed)
    for dataset, n in SETS.items():
        labels = np.arange(n) % 5
        hard = rng.random(n)
        for place, model in enumerate(MODELS):
            right = hard < 0.95 - 0.08 * place - (0.05 if dataset == "new" else 0.0)
            first = np.where(right, labels, (labels + 1 + rng.integers(0, 4, n)) % 5)
            top = np.stack([first, (first + 1) % 5], axis=1).astype(np.int64)
            yield Predictions(dataset, model, tuple(f"{dataset}-{i}" for i in range(n)), labels.astype(np.int64), top)


@pytest.fixture(scope="module")
def inputs():
    predictions = list(_predictions())
    rng = np.random.default_rng(1)
    counts = {name: AnnotationCounts(np.full(n, 10), rng.binomial(10, rng.beta(6, 2, n))) for name, n in SETS.items()}
    pool = AnnotationCounts(np.full(500, 10), rng.binomial(10, rng.beta(4, 2, 500)))
    return FindingInputs(
        original="original",
        rows=accuracy_rows(predictions),
        predictions=predictions,
        labels={"original": "Original", "new": "Matched"},
        counts=counts,
        pool=pool,
        matched=["new"],
        class_names={0: "zero"},
    )


@pytest.fixture(scope="module")
def found(inputs):
    return findings(inputs)


def _table(found, title):
    return next(table for table in found.tables if table.title.startswith(title))


def _correct(inputs, dataset):
    return np.stack([one.top[:, 0] == one.labels for one in inputs.predictions if one.dataset == dataset])


def test_fits_are_least_squares_of_the_probits(inputs, found):
    x, y = (norm.ppf(_correct(inputs, name).mean(axis=1)) for name in SETS)
    slope, intercept = np.polyfit(x, y, 1)
    row = next(row for row in _table(found, "Fits").rows if row[1] == "probit")
    assert row[0] == "Matched"
    assert row[2] == pytest.approx(slope)
    assert row[5] == pytest.approx(intercept)
    assert row[-1] == 4


def test_what_these_data_do_not_allow_is_said_with_the_reason(inputs, found):
    assert all(table.title != "Not computed" for table in found.tables)
    tables = findings(replace(inputs, rows=[row for row in inputs.rows if row.model == "a"])).tables
    missing = next(table for table in tables if table.title == "Not computed")
    assert {what for what, _ in missing.rows} == {f"fit of Matched on the {scale} scale" for scale in ("probit", "logit")} | {
        "effective robustness on Matched"
    }
    assert all("model" in why for _, why in missing.rows)
    assert all(not table.title.startswith(("Fits", "Effective")) for table in tables)


def test_models_without_an_image_in_common_leave_the_rest_of_the_findings(inputs):
    strange = [replace(one, image_ids=tuple(f"{one.model} {image}" for image in one.image_ids)) for one in inputs.predictions]
    tables = findings(replace(inputs, predictions=strange)).tables
    missing = next(table for table in tables if table.title == "Not computed")
    assert [what for what, _ in missing.rows] == [f"comparisons image by image on {name}" for name in ("Original", "Matched")]
    assert any(table.title.startswith("Fits") for table in tables)


def _missing(tables):
    return dict(next((table.rows for table in tables if table.title == "Not computed"), ()))


def test_the_bias_of_matching_that_cannot_be_computed_is_said_with_the_reason(inputs):
    one_answer = {name: AnnotationCounts(np.ones(n, int), np.arange(n) % 2) for name, n in SETS.items()}
    pool = AnnotationCounts(np.ones(500, int), np.arange(500) % 2)
    cases = {
        "1 annotators per image are too few": replace(inputs, counts=one_answer, pool=pool),
        "no answers about images of Original": replace(inputs, counts={"new": inputs.counts["new"]}),
        "no answers about images of Matched": replace(inputs, counts={"original": inputs.counts["original"]}),
    }
    for reason, changed in cases.items():
        found = findings(changed)
        assert reason in _missing(found.tables)["bias of matching on Matched"]
        assert found.warnings == ()


def test_sets_that_cannot_be_told_apart_by_lack_of_features_or_images_are_named(inputs):
    whole = ImageFeatures("f", np.random.default_rng(5).normal(0, 1, (300, 6)).astype(np.float32), ("x",) * 300)
    few = ImageFeatures("f", whole.values[:2], ("x",) * 2)
    what = "telling Matched from the original by features"
    assert "too few" in _missing(findings(replace(inputs, features={"original": whole, "new": few})).tables)[what]
    assert "no features of f of all images of Matched" in _missing(findings(replace(inputs, features={"original": whole})).tables)[what]
    assert "no features of f of all images of Original" in _missing(findings(replace(inputs, features={"new": whole})).tables)[what]


def test_accuracy_that_cannot_be_reweighted_is_said_with_the_reason(inputs):
    never, always = (AnnotationCounts(np.full(SETS[name], 10), np.full(SETS[name], k)) for name, k in (("original", 0), ("new", 10)))
    tables = findings(replace(inputs, counts={"original": never, "new": always}, matched=[])).tables
    assert "no image lies in a bin of the target" in _missing(tables)["accuracy of Matched re-weighted to the original's frequencies"]
    rows = {row[0]: row for row in next(table for table in tables if table.title.startswith("Accuracy re-weighted")).rows}
    assert set(rows) == {"Original"}


def test_accuracy_by_frequency_is_a_plain_mean(inputs, found):
    correct = _correct(inputs, "new").mean(axis=0)
    frequency = inputs.counts["new"].selected / 10
    for name, label, n, mean in _table(found, "Accuracy by selection frequency").rows:
        low, high = (float(end) for end in label.split(" to "))
        inside = (frequency >= low) & ((frequency < high) | (high == 1.0))
        if name == "Matched":
            assert n == inside.sum()
            assert mean is None if not n else mean == pytest.approx(correct[inside].mean())


def test_consensus_and_classes(inputs, found):
    rows = {row[0]: row for row in _table(found, "Images that all").rows}
    correct = _correct(inputs, "new")
    assert rows["Matched"][2] == pytest.approx(correct.all(axis=0).mean())
    assert rows["Matched"][3] == pytest.approx((~correct.any(axis=0)).mean())
    classes = {row[0]: row for row in _table(found, "Accuracy by class").rows}
    labels = np.arange(200) % 5
    assert classes["zero"][2] == pytest.approx(correct[:, labels == 0].mean())


def test_classes_without_a_new_set_are_those_of_the_lowest_accuracy(inputs):
    predictions = [one for one in inputs.predictions if one.dataset == "original"]
    alone = FindingInputs(original="original", rows=accuracy_rows(predictions), predictions=predictions, labels={"original": "Original"})
    table = _table(findings(alone), "Accuracy by class")
    assert [row[1] for row in table.rows] == sorted(row[1] for row in table.rows)
    assert table.note == "The 5 classes of the lowest accuracy; mean over models."


def test_classes_are_compared_over_the_models_that_all_sets_have(inputs):
    """A better model that only one set has is no drop of the other."""
    left = [one for one in inputs.predictions if (one.dataset, one.model) != ("new", "a")]
    table = _table(findings(replace(inputs, predictions=left, rows=accuracy_rows(left))), "Accuracy by class")
    for column, name in enumerate(SETS, start=1):
        expected = _correct(inputs, name)[1:, np.arange(SETS[name]) % 5 == 0].mean()
        assert next(row for row in table.rows if row[0] == "zero")[column] == pytest.approx(expected)
    assert table.note == "The 5 classes of the largest drop; mean over the 3 models that all these sets have."


def test_classes_of_sets_without_a_model_in_common(inputs):
    apart = [one for one in inputs.predictions if (one.dataset == "original") == (one.model in ("a", "b"))]
    table = _table(findings(replace(inputs, predictions=apart, rows=accuracy_rows(apart))), "Accuracy by class")
    assert table.note == "The 5 classes of the largest drop; mean over each set's own models: no model has all these sets."
    expected = _correct(inputs, "new")[2:, np.arange(200) % 5 == 0].mean()
    assert next(row for row in table.rows if row[0] == "zero")[2] == pytest.approx(expected)


def test_a_matched_set_is_warned_of_with_the_size_of_the_bias(found):
    (warning,) = found.warnings
    assert "expected bias" in warning.text
    assert Section.FREQUENCIES in warning.sections
    assert _table(found, "Matched: accuracy at the original's true").rows


def test_parts_of_the_drop_add_up(found):
    for _, drop, from_frequencies, remainder in _table(found, "Parts of the drop").rows:
        assert from_frequencies + remainder == pytest.approx(drop)


def test_without_answers_and_without_the_original_set(inputs):
    predictions = [one for one in inputs.predictions if one.dataset == "new"]
    alone = FindingInputs(original="original", rows=accuracy_rows(predictions), predictions=predictions, labels={"new": "New"})
    titles = [table.title for table in findings(alone).tables]
    assert not any(title.startswith(("Fits", "Accuracy by selection")) for title in titles)
    assert any(title.startswith("Images that all") for title in titles)


def test_without_predictions_there_is_nothing():
    nothing = findings(FindingInputs(original="original", rows=[], predictions=[], labels={}))
    assert (nothing.tables, nothing.warnings) == ((), ())


def test_sets_of_other_features_are_told_apart(inputs):
    rng = np.random.default_rng(5)
    sets = {"original": rng.normal(0, 1, (300, 6)), "new": rng.normal(0, 1, (200, 6)) + np.array([1.5, 0, 0, 0, 0, 0])}
    features = {
        name: ImageFeatures("f", values.astype(np.float32), tuple("xy"[i % 2] for i in range(len(values)))) for name, values in sets.items()
    }
    row = _table(findings(replace(inputs, features=features)), "Can a classifier tell").rows[0]
    assert row[:3] == ("Matched", 300, 200)
    assert row[3] > 0.75
    assert row[5] < 0.01
