"""Published data is sampled by the published review targets, whether or not `retest init` made the study first."""

import pytest
from click.testing import CliRunner
from layout_tree import write_tree

from retest.cli import cli
from retest.duplicates import PUBLISHED_TARGETS
from retest.study import CONFIG_FILE
from retest.study.config import read_config


def run(*arguments):
    done = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done


@pytest.mark.parametrize("init_first", [False, True])
def test_all_published_metrics_are_asked_for(tmp_path, init_first):
    study = tmp_path / "study"
    if init_first:
        run("init", study)
    run("import", "imagenetv2", write_tree(tmp_path / "tree"), "--study", study)
    assert read_config(study / CONFIG_FILE).review.targets == PUBLISHED_TARGETS


def test_targets_that_somebody_chose_stay(tmp_path):
    study = tmp_path / "study"
    run("init", study)
    path = study / CONFIG_FILE
    path.write_text(path.read_text().replace("120000000.0", "5.0"))
    text = path.read_text()
    run("import", "imagenetv2", write_tree(tmp_path / "tree"), "--study", study)
    assert path.read_text() == text


def test_a_threshold_for_an_unknown_class_is_not_passed_over_in_silence(tmp_path):
    study, limits = tmp_path / "study", tmp_path / "limits.json"
    run("import", "imagenetv2", write_tree(tmp_path / "tree"), "--study", study)
    limits.write_text('{"n00000009": 0.5, "n01440764": 0.6}')
    arguments = ("sample", "threshold", "--study", study, "--class-thresholds", limits, "--dry-run")
    done = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert "classes that the study does not have: n00000009\n" in done.stderr
