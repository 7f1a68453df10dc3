"""What an import does to the settings of a study that was made before, and under which names it keeps annotators."""

from __future__ import annotations

from contextlib import closing

import pytest
from click.testing import CliRunner

from retest.cli import cli
from retest.crowd import hash_worker
from retest.duplicates import PUBLISHED_TARGETS
from retest.neighbors import NeighborParameters
from retest.study import CONFIG_FILE, open_study, read_config

KEY = "a key for tests only, 32 bytes.."


def run(*arguments, **environment):
    done = CliRunner().invoke(cli, [str(argument) for argument in arguments], env=environment)
    assert done.exit_code == 0, (done.output, done.exception)
    return done


@pytest.fixture
def new_study(tmp_path, layout_tree):
    layout_tree.write_tree(tmp_path / "tree")
    run("init", tmp_path / "study")
    return tmp_path / "study"


def import_into(study, **environment):
    return run("import", "imagenetv2", study.parent / "tree", "--study", study, **environment).stderr


def test_the_settings_of_a_new_study_ask_for_the_published_reviews(new_study):
    before = (new_study / CONFIG_FILE).read_text().splitlines()
    assert "asks for the published reviews now: l2, dssim, fc7" in import_into(new_study)
    config = read_config(new_study / CONFIG_FILE)
    assert config.review.targets == PUBLISHED_TARGETS
    after = (new_study / CONFIG_FILE).read_text().splitlines()
    assert [line for line, was in zip(after, before, strict=True) if line != was] == [
        line for line in after if line.removeprefix("# ").startswith("targets = ")
    ]
    assert "review] targets" not in import_into(new_study)  # nothing left to change


def test_targets_that_somebody_has_chosen_stay(new_study):
    path = new_study / CONFIG_FILE
    (line,) = [line for line in path.read_text().splitlines() if line.removeprefix("# ").startswith("targets = ")]
    path.write_text(path.read_text().replace(line, "targets = { l2 = 5.0 }"))
    assert "review] targets" not in import_into(new_study)
    assert read_config(path).review.targets == {"l2": 5.0}


def test_a_file_that_was_rewritten_is_not_touched_but_people_are_told(new_study):
    path = new_study / CONFIG_FILE
    (line,) = [line for line in path.read_text().splitlines() if line.removeprefix("# ").startswith("targets = ")]
    path.write_text(path.read_text().replace(line, line.replace("{ ", "{").replace(" }", "}")))
    assert "Warning: the published data was reviewed in l2, dssim, fc7; [review] targets" in import_into(new_study)
    assert set(read_config(path).review.targets) == set(NeighborParameters().metrics)


def workers_of(study):
    with closing(open_study(study)) as opened, opened.database.read() as tables:
        return {answer.worker for answer in tables.assignments.all()}


def test_with_a_key_annotators_have_the_names_under_which_answers_are_collected(tmp_path, layout_tree):
    layout_tree.write_tree(tmp_path / "tree")
    import_into(tmp_path / "keyed", RETEST_WORKER_KEY=KEY)
    import_into(tmp_path / "plain", RETEST_WORKER_KEY="")
    raw = {"W1", "W2", "W3"}  # those whose answers are to known HITs
    assert workers_of(tmp_path / "keyed") == {hash_worker(KEY.encode(), worker) for worker in raw}
    plain = workers_of(tmp_path / "plain")
    assert len(plain) == len(raw)
    assert not plain & {*raw, *workers_of(tmp_path / "keyed")}


def test_a_key_that_is_too_short_is_refused(tmp_path, layout_tree):
    layout_tree.write_tree(tmp_path / "tree")
    arguments = ["import", "imagenetv2", str(tmp_path / "tree"), "--study", str(tmp_path / "study")]
    done = CliRunner().invoke(cli, arguments, env={"RETEST_WORKER_KEY": "short"})
    assert done.exception is not None
    assert "RETEST_WORKER_KEY: has 5 bytes" in str(done.exception)
