"""`retest sample` on a study in a database draws, image for image and in order, what a literal transcription of the rules draws."""

from __future__ import annotations

import json
import random

import literal_sampling as literal
import pytest
from sampling_studies import facts, original_facts, plain_candidates, plain_originals, plain_previous

from retest.testing.synthetic import SyntheticFacts

CLASSES = ["n00000000", "n00000001", "n00000002"]
PER_CLASS = 6


def random_study(seed, *, most=60):
    rng = random.Random(seed)
    candidates = plain_candidates(rng, CLASSES, most=most)
    originals = plain_originals(rng, CLASSES, most=60)
    previous = plain_previous(rng, candidates, PER_CLASS)
    return (
        SyntheticFacts(tuple(CLASSES), tuple(map(facts, candidates)), tuple(map(original_facts, originals))),
        candidates,
        originals,
        previous,
    )


def published(tmp_path, previous):
    document = {"sampling_function": "sample_best", "seed": 1, "time_string": "", "username": "", "is_valid": False}
    path = tmp_path / "earlier-0.json"
    path.write_text(json.dumps(document | {"image_filenames": previous}))
    return path


@pytest.mark.parametrize("start", [False, True], ids=["fresh", "starting-from"])
@pytest.mark.parametrize("seed", range(6))
def test_every_strategy_equals_the_literal_rules(make_study, tmp_path, seed, start):
    study, candidates, originals, previous = random_study(seed)
    cli = make_study(study)
    limits = {CLASSES[1]: 0.5}
    (tmp_path / "limits.json").write_text(json.dumps(limits))
    cli.run("revision", "import", published(tmp_path, previous))
    carried = previous if start else []
    common = (candidates, CLASSES, PER_CLASS, seed)
    histogram = (candidates, originals, CLASSES, PER_CLASS, seed, 10, 10, 20, literal.TARGETS)
    wanted = {
        ("threshold", "--class-thresholds", tmp_path / "limits.json"): literal.above_threshold(
            *common, 0.7, limits, 10, literal.TARGETS, carried
        ),
        ("threshold", "--threshold", 0.3): literal.above_threshold(*common, 0.3, {}, 10, literal.TARGETS, carried),
        ("matched-frequency",): literal.wnid_histogram(*histogram, False, carried),
        ("matched-frequency", "--allow-upward-sampling"): literal.wnid_histogram(*histogram, True, carried),
        ("top-images",): literal.best(*common, 10, literal.TARGETS, carried),
    }
    drawn = 0
    for number, (arguments, (images, valid)) in enumerate(wanted.items()):
        options = ["--per-class", PER_CLASS, "--seed", seed, "--name", f"new-{number}", "--allow-invalid"]
        options += ["--starting-from", "earlier-0"] if start else []
        done = cli.run("sample", *arguments, *options, "--json")
        shown = cli.run("revision", "show", f"new-{number}", "--json")
        assert shown["image_filenames"] == [list(pair) for pair in images], arguments
        assert (shown["is_valid"], done["is_valid"], done["stored"]) == (valid, valid, True), arguments
        assert shown["starting_from"] == ("earlier-0.json" if start else None)
        drawn += len(images)
    assert drawn > 0


@pytest.mark.parametrize("seed", range(4))
def test_samples_of_the_original_equal_the_literal_rules(make_study, seed):
    study, _, originals, _ = random_study(seed)
    cli = make_study(study)
    for strategy, wanted in (
        ("original-annotated", literal.val_annotated(originals, CLASSES, 3, seed, 10)),
        ("original", literal.val_dummy(originals, CLASSES, 3, seed)),
    ):
        arguments = ("sample", strategy, "--per-class", 3, "--seed", seed, "--name", f"{strategy}-0")
        if isinstance(wanted, str):  # the class that has too few images
            assert wanted in str(cli.failing(*arguments).exception)
            continue
        cli.run(*arguments)
        assert cli.run("revision", "show", f"{strategy}-0", "--json")["image_filenames"] == [list(pair) for pair in wanted]


def test_the_random_studies_meet_every_reason(make_study):
    study, *_ = random_study(1, most=200)
    unusable = make_study(study).run("sample", "threshold", "--dry-run", "--allow-invalid", "--json")["unusable"]
    assert set(unusable) == {"blacklisted", "few_assignments", "below_threshold", "near_duplicate", "unreviewed"}
