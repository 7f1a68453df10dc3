"""The rule of eligibility, largest remainder, parameters, and properties that every strategy keeps."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from literal_sampling import bin_of, histogram_targets
from sampling_studies import REVIEWED, facts, original_facts, revision, studies

from retest.duplicates import PUBLISHED_TARGETS, sufficiently_reviewed
from retest.errors import ConfigError, InputError, SamplingError
from retest.sampling import (
    CIFAR101_V4,
    PUBLISHED_REVIEW_TARGETS,
    ByClass,
    CandidateFacts,
    DroppedImage,
    OriginalFacts,
    Reason,
    SamplingParameters,
    StratifiedParameters,
    ineligibility,
    largest_remainder,
    sample_above_threshold,
    sample_best,
    sample_stratified,
    sample_val_annotated,
    sample_val_dummy,
    sample_wnid_histogram,
)

GOOD = CandidateFacts("a", "n1", 0.7, 10, review_thresholds=REVIEWED)


# Eligibility


def reason_of(candidate: CandidateFacts, threshold: float | None = 0.7) -> Reason | None:
    return ineligibility(candidate, min_num_annotations=10, threshold=threshold, review_targets=PUBLISHED_REVIEW_TARGETS)


def test_the_first_failing_reason_is_recorded():
    candidate = CandidateFacts("a", "n1", 0.69, 9, excluded=True, near_duplicate=True)
    assert reason_of(candidate) == "blacklisted"
    candidate = replace(candidate, excluded=False)
    assert reason_of(candidate) == "few_assignments"
    candidate = replace(candidate, num_assignments=10)
    assert reason_of(candidate) == "below_threshold"
    assert reason_of(candidate, threshold=None) == "near_duplicate"
    candidate = replace(candidate, frequency=0.7)
    assert reason_of(candidate) == "near_duplicate"
    candidate = replace(candidate, near_duplicate=False)
    assert reason_of(candidate) == "unreviewed"
    assert reason_of(replace(candidate, review_thresholds=REVIEWED)) is None


thresholds = st.dictionaries(st.sampled_from(["l2", "dssim", "fc7", "sscd"]), st.sampled_from([0.0, 0.2205, 0.3, 1.2e8, 1.3e8, 1e100]))


@given(thresholds)
def test_the_review_rule_is_that_of_the_duplicates_room(reached):
    assert (reason_of(replace(GOOD, review_thresholds=reached)) is None) == sufficiently_reviewed(reached, PUBLISHED_TARGETS)
    assert PUBLISHED_REVIEW_TARGETS == PUBLISHED_TARGETS


# Largest remainder


@given(st.lists(st.integers(0, 60), min_size=5, max_size=5), st.integers(1, 40))
def test_histogram_targets_equal_the_literal_rule(counts, per_class):
    middles = [0.1, 0.3, 0.5, 0.7, 0.9]
    frequencies = [middle for middle, count in zip(middles, counts, strict=True) for _ in range(count)]
    assert largest_remainder(counts, per_class) == histogram_targets(frequencies, per_class)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=12), st.integers(0, 300))
def test_largest_remainder_keeps_the_quota_rule(counts, places):
    shares = largest_remainder(counts, places)
    total = sum(counts)
    assert sum(shares) == (places if total else 0)
    for count, share in zip(counts, shares, strict=True):
        quota = Fraction(count * places, total) if total else 0
        assert abs(share - quota) < 1


@given(st.lists(st.integers(0, 50), min_size=2, max_size=8), st.integers(0, 100))
def test_largest_remainder_is_exact_when_the_counts_divide(counts, factor):
    assume(sum(counts))
    assert largest_remainder(counts, factor * sum(counts)) == [factor * count for count in counts]


def test_computed_doubles_decide_between_mathematically_equal_remainders():
    # 90/14 and 20/14 have the remainder 3/7 both, so that the higher bin would win; as doubles the first is larger.
    assert 90 / 14 - 6 > 20 / 14 - 1
    assert largest_remainder([9, 3, 2], 10) == [7, 2, 1]
    # and here the other way round: 10/24 is larger than 130/24 - 5
    assert 10 / 24 - 0 < 130 / 24 - 5
    assert largest_remainder([1, 10, 13], 10) == [0, 4, 6]
    # bit-equal remainders: the higher bin first, or as the caller says
    assert largest_remainder([1, 1, 1], 10) == [3, 3, 4]
    assert largest_remainder([1, 1, 1], 11, priority=[1, 0, 2]) == [4, 4, 3]


def test_the_order_of_the_operations_matters():
    """(count * places) / n and count * (places / n) round differently; the rule fixes the first."""
    differing = [
        counts
        for counts in ([c, 30 - c - d, d] for c in range(31) for d in range(31 - c))
        if largest_remainder(counts, 10) != _share_in_the_wrong_order(counts, 10)
    ]
    assert differing, "the two orders of operations disagree somewhere"
    for counts in differing:
        quotas = np.array(counts, dtype=np.float64) * np.float64(10) / np.float64(30)
        shares = np.floor(quotas).astype(int)
        order = sorted(range(3), key=lambda b: (quotas[b] - shares[b], b), reverse=True)
        shares[order[: 10 - shares.sum()]] += 1
        assert largest_remainder(counts, 10) == shares.tolist()


def _share_in_the_wrong_order(counts, places):
    quotas = [count * (places / sum(counts)) for count in counts]
    shares = [int(quota) for quota in quotas]
    for b in sorted(range(len(counts)), key=lambda b: (quotas[b] - shares[b], b), reverse=True)[: places - sum(shares)]:
        shares[b] += 1
    return shares


def test_largest_remainder_refuses_nonsense():
    assert largest_remainder([0, 0], 5) == [0, 0]
    assert largest_remainder([], 5) == []
    with pytest.raises(InputError, match="must not be negative"):
        largest_remainder([1, -1], 5)
    with pytest.raises(InputError, match="must not be negative or infinite"):
        largest_remainder([1, float("nan")], 5)
    with pytest.raises(InputError, match=r"the tie-break order \[0, 0\] does not name each of 2 entries once"):
        largest_remainder([1, 1], 5, priority=[0, 0])


# Properties of every strategy

LENIENT = SamplingParameters(per_class=3, min_num_val_images_per_wnid=0)


def sample_all(study, *, by_class=False, **changes):
    """The result of every strategy for candidates, on one study; ``by_class``: asked for class by class."""
    candidates, originals, classes, per_class, previous, seed = study
    parameters = replace(LENIENT, per_class=per_class, seed=seed, **changes)
    start = revision(previous) if previous else None
    records, val = [facts(c) for c in candidates], [original_facts(o) for o in originals]
    strata = {c["id"]: [str(bin_of(c["f"]))] for c in candidates}
    reference = {wnid: dict(Counter(str(bin_of(o["f"])) for o in originals if o["wnid"] == wnid)) for wnid in classes}
    if by_class:
        whole = dict(strata)
        records, val, strata = (
            _by_class(records),
            _by_class(val),
            lambda wnid: {c["id"]: whole[c["id"]] for c in candidates if c["wnid"] == wnid},
        )
    for shortfall in ("fail", "upward", "redistribute"):
        settings_ = StratifiedParameters(shortfall=shortfall)
        yield sample_stratified(
            records, classes, strata=strata, reference=reference, parameters=parameters, stratification=settings_, starting_from=start
        )
    yield sample_above_threshold(records, classes, parameters=parameters, starting_from=start)
    yield sample_best(records, classes, parameters=parameters, starting_from=start)
    for upward in (False, True):
        yield sample_wnid_histogram(
            records, val, classes, parameters=replace(parameters, allow_upward_sampling=upward), starting_from=start
        )


def _by_class(images):
    return ByClass(lambda wnid: [image for image in images if image.wnid == wnid])


@settings(max_examples=50, deadline=None)
@given(studies())
def test_candidates_asked_for_class_by_class_give_the_same(study):
    assert list(sample_all(study, by_class=True)) == list(sample_all(study))
    originals, classes = [original_facts(o) for o in study[1]], study[2]
    for sampler in (sample_val_annotated, sample_val_dummy):
        results = []
        for images in (originals, _by_class(originals)):
            try:
                results.append(sampler(images, classes, parameters=SamplingParameters(per_class=1, seed=3)))
            except SamplingError as error:
                results.append(str(error))
        assert results[0] == results[1]


def test_classes_are_checked_one_by_one():
    def sample(found):
        return sample_best(ByClass(found), ["n1", "n2"], parameters=LENIENT)

    with pytest.raises(InputError, match=rf"{GOOD.id}.*given twice"):
        sample(lambda wnid: [GOOD, GOOD] if wnid == GOOD.wnid else [])
    with pytest.raises(InputError, match=rf"{GOOD.id}.*is of class n1, not n2"):
        sample(lambda wnid: [GOOD])
    with pytest.raises(InputError, match="is not a number from 0 to 1"):
        sample(lambda wnid: [replace(GOOD, frequency=1.5)])


@settings(max_examples=100, deadline=None)
@given(studies())
def test_quotas_eligibility_and_reports(study):
    candidates, _, classes, per_class, previous, _ = study
    by_id = {c["id"]: facts(c) for c in candidates}
    for result in sample_all(study):
        threshold = 0.7 if result.sampling_function == "sample_above_threshold" else None
        sizes = Counter(wnid for _, wnid in result.images)
        assert len({image for image, _ in result.images}) == len(result.images)
        for image, wnid in result.images:
            assert by_id[image].wnid == wnid
            assert reason_of(by_id[image], threshold) is None
        assert [report.wnid for report in result.classes] == sorted(classes)
        for report in result.classes:
            assert report.selected == sizes[report.wnid] <= report.target == per_class
            of_class = [c for c in by_id.values() if c.wnid == report.wnid]
            assert report.candidates == len(of_class) == report.usable + sum(report.unusable.values())
            reasons = Counter(reason for c in of_class if (reason := reason_of(c, threshold)) is not None)
            outside = {"outside_strata": report.unusable["outside_strata"]} if "outside_strata" in report.unusable else {}
            assert report.unusable == {**reasons, **outside}
            assert report.carried == sum(pair in result.images for pair in previous if pair[1] == report.wnid)
            assert report.carried + report.drawn == report.selected
            assert report.missing == per_class - sizes[report.wnid]
            if report.missing:
                assert f"{report.wnid}: {report.missing} of {per_class} missing" in str(report)
        assert result.is_valid == (not result.shortfalls)
        if result.is_valid:
            assert set(sizes.values()) == {per_class}
        assert {(d.id, d.wnid) for d in result.dropped} == set(previous) - set(result.images)
        for image in result.dropped:
            known = by_id.get(image.id)
            reason = "unknown" if known is None else reason_of(known, threshold) or "not_selected"
            assert image.reason == reason


@settings(max_examples=60, deadline=None)
@given(studies(), st.randoms(use_true_random=False))
def test_determinism_and_independence_of_the_input_order(study, rng):
    candidates, originals, classes, per_class, previous, seed = study
    expected = list(sample_all(study))
    assert list(sample_all(study)) == expected
    for items in (candidates, originals, classes):
        rng.shuffle(items)
    assert list(sample_all((candidates, originals, classes * 2, per_class, previous, seed))) == expected


@settings(max_examples=100, deadline=None)
@given(studies())
def test_carry_over_is_kept(study):
    candidates, _, _, per_class, previous, _ = study
    by_id = {c["id"]: facts(c) for c in candidates}
    for result in sample_all(study):
        if result.sampling_function == "sample_above_threshold":
            usable = {pair for pair in previous if pair[0] in by_id and reason_of(by_id[pair[0]]) is None}
            assert usable <= set(result.images)
    # A finished revision is its own successor: nothing is left to draw. (Not so of the other strategies once images stood in
    # for lower bins: they then belong to a bin with a surplus, of which a part is drawn.)
    records, parameters = [facts(c) for c in candidates], replace(LENIENT, per_class=per_class, seed=study[5])
    for sample in (sample_above_threshold, sample_best):
        first = sample(records, study[2], parameters=parameters)
        following = sample(records, study[2], parameters=parameters, starting_from=first.to_revision("r-0"))
        assert set(following.images) == set(first.images)
        assert following.dropped == ()


@settings(max_examples=100, deadline=None)
@given(studies())
def test_the_matched_histogram_is_exact_when_possible(study):
    _, originals, _, per_class, _, _ = study
    for result in sample_all(study):
        if result.sampling_function != "sample_wnid_histogram":
            continue
        by_id = {c["id"]: c["f"] for c in study[0]}
        for report in result.classes:
            targets = histogram_targets([o["f"] for o in originals if o["wnid"] == report.wnid and o["n"] >= 10], per_class)
            assert [s.target for s in report.strata] == targets
            got = Counter(bin_of(by_id[image]) for image, wnid in result.images if wnid == report.wnid)
            if all(s.usable >= s.target for s in report.strata):
                assert [got[b] for b in range(5)] == targets
            else:  # no bin gets more than its target but by standing in for lower ones
                surplus = sum(max(0, got[b] - targets[b]) for b in range(5))
                assert surplus == report.upward or report.upward > surplus
                assert [s.selected for s in report.strata if s.selected > s.target] == []


def test_another_seed_gives_another_set():
    candidates = [replace(GOOD, id=f"c{k:03}") for k in range(100)]
    first, second = (sample_above_threshold(candidates, ["n1"], parameters=SamplingParameters(seed=seed)).images for seed in (1, 2))
    assert first != second


# What is refused


def test_a_previous_revision_with_too_many_images_in_a_class_is_refused():
    previous = revision([(f"c{k}", "n1") for k in range(4)], "imagenetv2-a-7")
    with pytest.raises(
        SamplingError, match=r"imagenetv2-a-7: class n1 has 4 images, more than the 3 per class that are asked for\. Ask for more images"
    ):
        sample_above_threshold([GOOD], ["n1"], parameters=LENIENT, starting_from=previous)


def test_a_previous_revision_with_an_image_twice_is_refused():
    previous = revision([("a", "n1"), ("a", "n1")], "imagenetv2-c-7")
    with pytest.raises(SamplingError, match="imagenetv2-c-7: class n1 has image a more than once"):
        sample_best([GOOD], ["n1"], parameters=LENIENT, starting_from=previous)


def test_wrong_facts_are_refused():
    with pytest.raises(InputError, match="a: the image is given twice"):
        sample_best([GOOD, GOOD], ["n1"], parameters=LENIENT)
    with pytest.raises(InputError, match=r"a: its selection frequency 1\.5 is not a number from 0 to 1"):
        sample_best([replace(GOOD, frequency=1.5)], ["n1"], parameters=LENIENT)
    with pytest.raises(InputError, match="its selection frequency nan"):
        sample_val_dummy([OriginalFacts("o", "n1", float("nan"))], ["n1"], parameters=LENIENT)
    with pytest.raises(InputError, match="there are no classes to sample"):
        sample_best([GOOD], [], parameters=LENIENT)


def test_images_of_other_classes_are_left_out():
    other = replace(GOOD, id="b", wnid="n2")
    result = sample_best([GOOD, other], ["n1"], parameters=LENIENT, starting_from=revision([("b", "n2")]))
    assert result.images == (("a", "n1"),)
    assert result.dropped == (DroppedImage("b", "n2", "unknown"),)


def test_a_class_without_labelled_original_images_is_reported():
    result = sample_wnid_histogram([GOOD], [OriginalFacts("o", "n1", 1.0, 9)], ["n1"], parameters=SamplingParameters(per_class=1))
    assert not result.is_valid
    assert result.images == ()
    assert result.classes[0].problems == ("no original image has 10 or more assignments, so there is no histogram to match",)
    few = sample_wnid_histogram([GOOD], [OriginalFacts("o", "n1", 0.7, 10)], ["n1"], parameters=SamplingParameters(per_class=1))
    assert few.images == (("a", "n1"),)
    assert not few.is_valid
    assert str(few.shortfalls[0]) == (
        "n1: 1 of 1 candidates usable (none unusable); only 1 original images have 10 or more assignments, 20 are needed"
    )


@pytest.mark.parametrize(("labelled", "valid"), [(19, False), (20, True)])
def test_twenty_labelled_original_images_are_enough(labelled, valid):
    originals = [OriginalFacts(f"o{k}", "n1", 0.7, 10) for k in range(labelled)]
    originals += [OriginalFacts(f"p{k}", "n1", 0.7, 9) for k in range(5)]
    assert sample_wnid_histogram([GOOD], originals, ["n1"], parameters=SamplingParameters(per_class=1)).is_valid is valid


def test_the_report_says_what_is_missing_and_why():
    candidates = [
        GOOD,
        replace(GOOD, id="b", excluded=True),
        replace(GOOD, id="c", frequency=0.1),
        replace(GOOD, id="d", frequency=0.6),
        replace(GOOD, id="e", near_duplicate=True),
    ]
    result = sample_above_threshold(candidates, ["n1"], parameters=LENIENT)
    assert [str(report) for report in result.shortfalls] == [
        "n1: 2 of 3 missing; 1 of 5 candidates usable (1 blacklisted, 2 below_threshold, 1 near_duplicate)"
    ]
    assert result.unusable == {"blacklisted": 1, "below_threshold": 2, "near_duplicate": 1}
    originals = [OriginalFacts(f"o{k}", "n1", 0.9, 10) for k in range(20)]
    histogram = sample_wnid_histogram(candidates, originals, ["n1"], parameters=LENIENT)
    assert "[0.8, 1]: 0 of 3" in str(histogram.classes[0])


# Parameters


def test_defaults_are_the_published_values():
    assert SamplingParameters() == SamplingParameters(
        per_class=10,
        seed=0,
        threshold=0.7,
        class_thresholds={},
        min_num_annotations=10,
        min_num_annotations_val=10,
        histogram_edges=(0.2, 0.4, 0.6, 0.8),
        min_num_val_images_per_wnid=20,
        allow_upward_sampling=False,
        near_duplicate_review_targets={"l2": 1.2e8, "dssim": 0.2205, "fc7": 1.32e4},
    )
    assert SamplingParameters(histogram_edges=[0.5]).histogram_edges == (0.5,)
    assert (CIFAR101_V4.top_strata, CIFAR101_V4.divisor, CIFAR101_V4.min_quota) == (25, 30.0, 0.5)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("per_class", 0, "must be a whole number of at least 1, not 0"),
        ("seed", 1.5, "must be a whole number from -9223372036854775807 to 9223372036854775807, not 1.5"),
        ("seed", 2**63, "must be a whole number from -9223372036854775807 to 9223372036854775807, not 9223372036854775808"),
        ("threshold", 1.2, "the value must be a number from 0 to 1, not 1.2"),
        ("class_thresholds", {"n1": -0.1}, "the value of n1 must be a number from 0 to 1, not -0.1"),
        ("class_thresholds", 0.5, "must be a table of name = number, not 0.5"),
        ("min_num_annotations", -1, "must be a whole number of at least 0, not -1"),
        ("histogram_edges", (0.4, 0.2), "must be strictly ascending between 0 and 1"),
        ("histogram_edges", (0.0, 0.5), "must be strictly ascending between 0 and 1"),
        ("histogram_edges", "0.5", "must be a list of numbers, not '0.5'"),
        ("allow_upward_sampling", 1, "must be true or false, not 1"),
        ("near_duplicate_review_targets", {"l2": float("nan")}, "the value of l2 must be a number of at least 0, not nan"),
    ],
)
def test_parameters_are_validated(field, value, message):
    with pytest.raises(ConfigError) as error:
        SamplingParameters(**{field: value})
    assert f"{field}: {message}" in str(error.value)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("rule", "dhondt", "must be one of largest_remainder, ceiling, not 'dhondt'"),
        ("shortfall", "", "must be one of fail, upward, redistribute, not ''"),
        ("top_strata", 0, "must be a whole number of at least 1, not 0"),
        ("divisor", 0, "the value must be a number above 0, not 0"),
        ("threshold", 2, "the value must be a number from 0 to 1, not 2"),
    ],
)
def test_stratified_parameters_are_validated(field, value, message):
    with pytest.raises(ConfigError) as error:
        StratifiedParameters(**{field: value})
    assert f"{field}: {message}" in str(error.value)
