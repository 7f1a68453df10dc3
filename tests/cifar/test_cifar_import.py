"""Importing the published predictions: the paper's figures come out, and what cannot be used is said."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from cifar_repository import SETS, golden
from click.testing import CliRunner

from retest.analysis import fit_accuracies, pair_models
from retest.cli import cli
from retest.errors import InputError
from retest.stages import cifar, evaluate
from retest.stages.report import study_report
from retest.study import StudyConfig, create_study


def retest(*arguments):
    done = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert done.exit_code == 0, (done.output, done.exception)
    return done


@pytest.fixture(scope="module")
def imported(published_cifar, tmp_path_factory):
    folder = tmp_path_factory.mktemp("imported") / "study"
    retest("import", "cifar10.1", published_cifar, "--cifar10", published_cifar / "cifar10-test-labels.npy", "--study", folder)
    return folder


def test_every_accuracy_is_the_published_one(imported):
    rows = json.loads(retest("accuracy", "--study", imported, "--json").stdout)["rows"]
    assert len(rows) == 90
    expected = {(dataset, model): counts[dataset] / SETS[dataset][1] for model, counts in golden().items() for dataset in SETS}
    assert {(row["dataset"], row["model"]): row["top1"] for row in rows} == expected


def test_the_paper_s_table(imported):
    """Recht et al. 2018, table 1: accuracy with interval on both sets, gap, new rank, change of rank."""
    rows = {(row.dataset, row.model): row for row in evaluate.accuracy(_study(imported))}
    best, preact = "shake_shake_26_2x64d_SSI_cutout16", "resnet_preact_basic_110"
    old, new = rows["cifar10", best], rows["cifar10.1-v4", best]
    assert [round(100 * value, 1) for value in (old.top1, old.top1_low, old.top1_high)] == [97.1, 96.8, 97.4]
    assert [round(100 * value, 1) for value in (new.top1, new.top1_low, new.top1_high)] == [93.0, 91.8, 94.0]
    assert round(100 * (old.top1 - new.top1), 1) == 4.1
    assert (old.top1_rank, new.top1_rank) == (1, 1)
    assert rows["cifar10", preact].top1_rank != 1


@pytest.mark.parametrize(("new", "slope", "intercept"), [("cifar10.1-v4", 1.6166, -65.51), ("cifar10.1-v6", 1.5952, -63.18)])
def test_the_fit_over_30_models(imported, new, slope, intercept):
    """v4: as published. v6: numpy.polyfit on the published counts is the independent judge, of both."""
    points = pair_models(evaluate.accuracy(_study(imported)), original="cifar10", new=new).points
    found = fit_accuracies(points, bootstrap=100)
    assert found.n_models == 30
    assert (round(found.slope, 4), round(found.intercept, 2)) == (slope, intercept)
    size = SETS[new][1]
    pairs = np.array([(100 * counts["cifar10"] / 10_000, 100 * counts[new] / size) for counts in golden().values()])
    np.testing.assert_allclose(np.polyfit(*pairs.T, 1), [found.slope, found.intercept], rtol=1e-9)


def test_again_adds_nothing(imported, published_cifar):
    arguments = ("import", "cifar10.1", published_cifar, "--cifar10", published_cifar / "cifar10-test-labels.npy", "--study", imported)
    done = json.loads(retest(*arguments, "--json").stdout)
    assert done == {"classes": 0, "predictions": dict.fromkeys(SETS, 0), "left_out": []}


def test_what_comes_next_is_to_look_at_the_models(imported):
    assert json.loads(retest("status", imported, "--json").stdout)["next"].startswith("retest accuracy")


def test_the_report_shows_imported_sets_as_it_shows_revisions(imported):
    """The paper's figure: new against original accuracy with the fitted line, for sets that no sampling of this study made."""
    study = _study(imported)
    report = study_report(study, evaluate.stored_predictions(study))
    assert [(scatter.new, scatter.fit.n_models) for scatter in report.scatters] == [("cifar10.1-v4", 30), ("cifar10.1-v6", 30)]
    assert [round(scatter.fit.slope, 4) for scatter in report.scatters] == [1.6166, 1.5952]
    assert [(facts.name, facts.n_images) for facts in report.datasets] == [
        ("cifar10", 10_000),
        ("cifar10.1-v4", 2_021),
        ("cifar10.1-v6", 2_000),
    ]


def test_the_report_compares_with_the_original(imported, tmp_path):
    out = tmp_path / "report.html"
    retest("report", "--study", imported, "--out", out)
    text = out.read_text(encoding="utf-8")
    assert "shake_shake_26_2x64d_SSI_cutout16" in text
    assert "cifar10.1-v6" in text


def test_without_labels_the_original_is_left_out_and_said_to_be(published_cifar, tmp_path):
    done = retest("import", "cifar10.1", published_cifar, "--study", tmp_path / "study")
    assert "Left out: 30 models on cifar10: the true classes are unknown; give the original's labels with --cifar10" in done.stderr
    assert {row.dataset for row in evaluate.accuracy(_study(tmp_path / "study"))} == {"cifar10.1-v4", "cifar10.1-v6"}
    shutil.copytree(published_cifar / "model_predictions", tmp_path / "alone" / "model_predictions")
    done = retest("import", "cifar10.1", tmp_path / "alone", "--study", tmp_path / "none")
    assert done.stderr.count("Left out: 30 models") == 3


@pytest.mark.parametrize("change", ["text", "float", "short", "unbalanced"])
def test_labels_that_are_none_are_refused(change, tmp_path):
    path = tmp_path / "labels.npy"
    labels = np.repeat(np.arange(10), 1000)
    if change == "text":
        path.write_text("no labels")
    elif change == "unbalanced":
        labels[0] = 1
        np.save(path, labels)
    else:
        np.save(path, labels.astype(float) if change == "float" else labels[1:])
    with pytest.raises(InputError, match="labels"):
        cifar.read_test_labels(path)


def test_damaged_predictions_change_nothing_that_was_there(imported, published_cifar, tmp_path):
    copy = shutil.copytree(published_cifar, tmp_path / "clone")
    (copy / "model_predictions/v4_predictions/darc_predictions.json").write_text("[1, 2]")
    study = create_study(tmp_path / "study", StudyConfig())
    with pytest.raises(InputError, match=r"darc_predictions.json: is not a list of 2021 integers"):
        cifar.import_cifar101(study, copy)
    study.close()


def _study(folder):
    from retest.study import open_study

    return open_study(folder)
