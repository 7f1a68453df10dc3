"""Every published strategy, image for image, against the literal transcription of the rules."""

from __future__ import annotations

import random

import literal_sampling as literal
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sampling_studies import facts, original_facts, plain_candidates, plain_originals, plain_previous, revision, studies

from retest.errors import SamplingError
from retest.sampling import (
    SamplingParameters,
    sample_above_threshold,
    sample_best,
    sample_val_annotated,
    sample_val_dummy,
    sample_wnid_histogram,
)

MANY = settings(max_examples=250, deadline=None)


def started(previous):
    return revision(previous) if previous else None


@MANY
@given(studies(), st.sampled_from([0.0, 0.5, 0.7, 1.0]))
def test_above_threshold(study, threshold):
    candidates, _, classes, per_class, previous, seed = study
    own = {"n00": 0.3, "n99": 0.1}
    parameters = SamplingParameters(per_class=per_class, seed=seed, threshold=threshold, class_thresholds=own)
    result = sample_above_threshold(map(facts, candidates), classes, parameters=parameters, starting_from=started(previous))
    expected = literal.above_threshold(candidates, classes, per_class, seed, threshold, own, 10, literal.TARGETS, previous)
    assert (list(result.images), result.is_valid) == expected


@MANY
@given(studies(), st.booleans(), st.sampled_from([0, 5, 20]))
def test_wnid_histogram(study, upward, least_images):
    candidates, originals, classes, per_class, previous, seed = study
    parameters = SamplingParameters(
        per_class=per_class, seed=seed, allow_upward_sampling=upward, min_num_val_images_per_wnid=least_images, min_num_annotations=9
    )
    result = sample_wnid_histogram(
        map(facts, candidates), map(original_facts, originals), classes, parameters=parameters, starting_from=started(previous)
    )
    expected = literal.wnid_histogram(
        candidates, originals, classes, per_class, seed, 9, 10, least_images, literal.TARGETS, upward, previous
    )
    images, valid = expected
    # A class without any labelled original is reported, and is not valid even where no minimum is asked for.
    assert list(result.images) == images
    assert result.is_valid == valid


def test_wnid_histogram_with_a_previous_revision_of_more_than_per_class_images():
    """Only the threshold strategy refuses such a revision: here a bin's surplus is drawn from."""
    rng = random.Random(5)
    classes = ["n1", "n2"]
    candidates, originals = plain_candidates(rng, classes, 60), plain_originals(rng, classes, 50)
    previous = plain_previous(rng, candidates, 30)
    parameters = SamplingParameters(seed=9, min_num_val_images_per_wnid=0, allow_upward_sampling=True)
    result = sample_wnid_histogram(
        map(facts, candidates), map(original_facts, originals), classes, parameters=parameters, starting_from=revision(previous)
    )
    assert (list(result.images), result.is_valid) == literal.wnid_histogram(
        candidates, originals, classes, 10, 9, 10, 10, 0, literal.TARGETS, True, previous
    )
    assert max(sum(w == wnid for _, w in previous) for wnid in classes) > 10


@MANY
@given(studies())
def test_best(study):
    candidates, _, classes, per_class, previous, seed = study
    parameters = SamplingParameters(per_class=per_class, seed=seed)
    result = sample_best(map(facts, candidates), classes, parameters=parameters, starting_from=started(previous))
    expected = literal.best(candidates, classes, per_class, seed, 10, literal.TARGETS, previous)
    assert (list(result.images), result.is_valid) == expected


@MANY
@given(studies())
def test_original_images(study):
    _, originals, classes, per_class, _, seed = study
    parameters = SamplingParameters(per_class=per_class, seed=seed)
    for sample, expected in (
        (sample_val_annotated, literal.val_annotated(originals, classes, per_class, seed, 10)),
        (sample_val_dummy, literal.val_dummy(originals, classes, per_class, seed)),
    ):
        if isinstance(expected, str):
            with pytest.raises(SamplingError, match=f"{expected}: has [0-9]+ original validation images.*, {per_class} are asked for"):
                sample(map(original_facts, originals), classes, parameters=parameters)
        else:
            result = sample(map(original_facts, originals), classes, parameters=parameters)
            assert list(result.images) == expected
            assert result.is_valid


@pytest.mark.parametrize("letter", "abc")
def test_a_study_of_a_hundred_classes(letter):
    """Large pools reach the other branch of ``random.sample`` (a set of indices instead of a list)."""
    rng = random.Random(11)
    classes = [f"n{k:03}" for k in range(100)]
    candidates, originals = plain_candidates(rng, classes, 150), plain_originals(rng, classes, 50)
    previous = plain_previous(rng, candidates, 10)
    parameters = SamplingParameters(seed=3, allow_upward_sampling=True, threshold=0.2)
    records, begin = [facts(c) for c in candidates], revision(previous)
    if letter == "a":
        result = sample_above_threshold(records, classes, parameters=parameters, starting_from=begin)
        expected = literal.above_threshold(candidates, classes, 10, 3, 0.2, {}, 10, literal.TARGETS, previous)
    elif letter == "b":
        result = sample_wnid_histogram(records, map(original_facts, originals), classes, parameters=parameters, starting_from=begin)
        expected = literal.wnid_histogram(candidates, originals, classes, 10, 3, 10, 10, 20, literal.TARGETS, True, previous)
    else:
        result = sample_best(records, classes, parameters=parameters, starting_from=begin)
        expected = literal.best(candidates, classes, 10, 3, 10, literal.TARGETS, previous)
    assert (list(result.images), result.is_valid) == expected
