"""Stratified matching: equal to the histogram strategy on bins, CIFAR-10.1's published counts, policies."""

from __future__ import annotations

import json
import math
import random
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from literal_sampling import bin_of
from sampling_studies import REVIEWED, facts, original_facts, revision, studies

from retest.errors import InputError
from retest.sampling import (
    CIFAR101_V4,
    CIFAR101_V6,
    CandidateFacts,
    SamplingParameters,
    StratifiedParameters,
    reference_distribution,
    revision_from_published,
    revision_text,
    sample_stratified,
    sample_wnid_histogram,
    stratum_targets,
)
from retest.sampling.stratified import redistribute

# Keywords' image counts in CIFAR-10, the 25 most frequent per class: metadata/v4_keyword_counts.txt of the published
# CIFAR-10.1 repository (MIT licence), in its order (frog, truck, deer, automobile, bird, horse, ship, cat, dog, airplane).
PUBLISHED_COUNTS = """
384 378 345 315 280 276 273 263 261 259 258 253 208 193 180 164 159 154 142 131 118 111 106 99 96
532 455 389 368 361 350 331 319 316 203 200 194 183 166 165 161 161 153 148 145 107 70 68 66 60
459 426 378 367 359 359 308 303 298 295 216 214 212 210 195 145 143 139 130 126 115 107 94 90 77
759 707 586 539 499 486 458 376 357 303 267 238 97 80 65 52 43 41 39 32 20 19 18 17 15
512 502 443 410 313 305 305 300 293 282 222 220 178 165 159 157 146 127 122 121 84 78 73 63 62
674 610 585 438 430 415 314 275 272 270 261 250 226 165 119 107 82 80 66 65 52 49 47 43 36
465 381 235 221 194 192 187 186 184 184 176 175 172 152 148 134 126 126 122 122 114 114 108 104 92
1069 910 800 748 471 415 380 301 294 285 178 68 32 29 26 23 20 18 17 16 14 14 13 13 12
732 557 523 484 400 395 360 296 280 258 230 217 208 190 185 179 165 162 105 77 37 34 30 22 21
553 534 479 454 442 402 366 338 330 312 309 281 209 166 119 119 92 86 82 52 46 33 31 31 27
"""
"""Spot checks of the published v4 counts below name keywords by their place in these rows."""


def published_reference() -> dict[str, dict[str, int]]:
    rows = [[int(count) for count in line.split()] for line in PUBLISHED_COUNTS.split("\n") if line]
    return {f"class {k}": {f"keyword {k}.{i:02}": count for i, count in enumerate(row)} for k, row in enumerate(rows)}


def pool(reference: dict[str, dict[str, int]], spare: int) -> tuple[list[CandidateFacts], dict[str, list[str]]]:
    """``spare`` usable candidates per keyword."""
    candidates, strata = [], {}
    for wnid, counts in reference.items():
        for name in counts:
            for index in range(spare):
                image = f"{name} {index:03}"
                candidates.append(CandidateFacts(image, wnid, 1.0, 10, review_thresholds=REVIEWED))
                strata[image] = [name]
    return candidates, strata


def test_cifar_10_1_v4_targets():
    reference = published_reference()
    targets = stratum_targets(reference, reference, per_class=200, stratification=CIFAR101_V4)
    # The published set has images of v4's keywords: wagon 11 (303), english_toy_spaniel 7 (185), stealth_bomber 19 (553),
    # floatplane 2 (31); sports_car's 15 images give exactly 0.5, bedspread's 14 less.
    assert targets["class 3"]["keyword 3.09"] == 11
    assert targets["class 8"]["keyword 8.14"] == 7
    assert targets["class 9"]["keyword 9.00"] == 19
    assert targets["class 9"]["keyword 9.23"] == 2
    assert targets["class 3"]["keyword 3.24"] == 1
    assert targets["class 7"]["keyword 7.20"] == 0
    assert all(
        target == (-(-count // 30) if count >= 15 else 0)
        for k in reference
        for name, count in reference[k].items()
        for target in [targets[k][name]]
    )


def test_cifar_10_1_v4_keeps_only_the_most_frequent_keywords():
    reference = {"ship": {**{f"k{i:02}": 100 for i in range(25)}, "rare": 99}}
    targets = stratum_targets(reference, ["ship"], per_class=200, stratification=CIFAR101_V4)
    assert "rare" not in targets["ship"]
    assert len(targets["ship"]) == 25


def test_cifar_10_1_v6_starts_from_v4_and_is_balanced():
    reference = published_reference()
    candidates, strata = pool(reference, spare=40)
    lenient = SamplingParameters(per_class=200, seed=7)
    v4 = sample_stratified(candidates, reference, strata=strata, reference=reference, parameters=lenient, stratification=CIFAR101_V4)
    assert v4.is_valid
    v6 = sample_stratified(
        candidates,
        reference,
        strata=strata,
        reference=reference,
        parameters=lenient,
        stratification=CIFAR101_V6,
        starting_from=v4.to_revision("cifar10.1-v4"),
    )
    assert v6.is_valid
    assert Counter(wnid for _, wnid in v6.images) == dict.fromkeys(reference, 200)
    before, after = (Counter(strata[image][0] for image, _ in result.images) for result in (v4, v6))
    kept = Counter(strata[image][0] for image, _ in set(v4.images) & set(v6.images))
    # as many of v4's images as v6 has room for, keyword by keyword
    assert kept == +Counter({name: min(before[name], after[name]) for name in before})
    assert v6.starting_from == "cifar10.1-v4"


@settings(max_examples=150, deadline=None)
@given(studies(), st.booleans())
def test_bins_as_strata_give_the_histogram_strategy_draw_for_draw(study, upward):
    candidates, originals, classes, per_class, previous, seed = study
    start = revision(previous) if previous else None
    parameters = SamplingParameters(per_class=per_class, seed=seed, min_num_val_images_per_wnid=0, allow_upward_sampling=upward)
    histogram = sample_wnid_histogram(
        map(facts, candidates), map(original_facts, originals), classes, parameters=parameters, starting_from=start
    )
    reference = {}
    for wnid in classes:
        reference[wnid] = {f"bin {b}": 0 for b in range(5)}
        for o in originals:
            if o["wnid"] == wnid and o["n"] >= 10:
                reference[wnid][f"bin {bin_of(o['f'])}"] += 1
    stratified = sample_stratified(
        map(facts, candidates),
        classes,
        strata={c["id"]: f"bin {bin_of(c['f'])}" for c in candidates},
        reference=reference,
        parameters=parameters,
        stratification=StratifiedParameters(order="name", shortfall="upward" if upward else "fail"),
        starting_from=start,
    )
    assert stratified.images == histogram.images


# Strata


def test_an_image_with_several_keywords_counts_in_the_most_frequent_one_of_its_class():
    images = [("a", "auto"), ("b", "auto"), ("c", "auto"), ("d", "ship"), ("e", "ship"), ("f", "ship")]
    strata = {"a": ["cab", "cruiser"], "b": ["cab"], "c": ["cruiser", "cruiser"], "d": ["cruiser", "boat"], "e": ["boat"]}
    # auto: cab and cruiser have two votes each, the alphabetically last wins; f has no keyword
    assert reference_distribution(images, strata) == {"auto": {"cab": 1, "cruiser": 2}, "ship": {"boat": 2}}
    assert reference_distribution(images[::-1], strata) == reference_distribution(images, strata)
    # one stratum need not be wrapped in a list
    assert reference_distribution([("a", "auto")], {"a": "cab"}) == {"auto": {"cab": 1}}


def test_a_keyword_of_two_classes_is_a_stratum_in_each_or_in_one():
    reference = {"auto": {"cruiser": 5, "cab": 5}, "ship": {"cruiser": 5, "boat": 5}}
    each = stratum_targets(reference, reference, per_class=4, stratification=StratifiedParameters())
    assert each == {"auto": {"cab": 2, "cruiser": 2}, "ship": {"boat": 2, "cruiser": 2}}
    shared = StratifiedParameters(shared_strata="one_class")
    # as often in both: the smaller class name; and it counts the images of both
    assert stratum_targets(reference, reference, per_class=4, stratification=shared) == {
        "auto": {"cab": 1, "cruiser": 3},
        "ship": {"boat": 4},
    }
    reference["ship"]["cruiser"] = 10
    one = stratum_targets(reference, reference, per_class=4, stratification=shared)
    assert one == {"auto": {"cab": 4}, "ship": {"boat": 1, "cruiser": 3}}  # 5 + 15 reference images


def test_a_shared_keyword_counts_the_images_of_all_its_classes_in_cifar_10_1_v4():
    # Published: 52 automobiles have the keyword cruiser, which gives 2; with the ships it gave the 3 images of v4.
    reference = {"automobile": {"cruiser": 52}, "ship": {"cruiser": 12, "boat": 381}}
    targets = stratum_targets(reference, reference, per_class=200, stratification=CIFAR101_V4)
    assert targets == {"automobile": {"cruiser": 3}, "ship": {"boat": 13}}


def test_order_and_tie_break_are_declared():
    reference = {"c": {"a": 3, "b": 1, "d": 1, "e": 1}}
    for options, expected in (
        ({}, {"b": 0, "d": 1, "e": 1, "a": 2}),
        ({"tie_break": "lower"}, {"b": 1, "d": 1, "e": 0, "a": 2}),
        ({"order": "name"}, {"a": 2, "b": 0, "d": 1, "e": 1}),
        ({"order": "name", "tie_break": "lower"}, {"a": 2, "b": 1, "d": 1, "e": 0}),
    ):
        targets = stratum_targets(reference, ["c"], per_class=4, stratification=StratifiedParameters(**options))["c"]
        assert list(targets.items()) == list(expected.items()), options


@pytest.mark.parametrize("count", [-1, math.nan, math.inf, "3"])
def test_an_impossible_count_is_refused(count):
    with pytest.raises(InputError, match=f"c: stratum a has the reference count {count!r}, not a number of at least 0"):
        stratum_targets({"c": {"a": count}}, ["c"], per_class=1, stratification=StratifiedParameters())


def sample(reference, available, *, per_class=10, previous=None, seed=1, **options):
    """``available``: stratum -> number of usable candidates; the images that were taken, by stratum."""
    candidates, strata = [], {}
    for name, count in available.items():
        for index in range(count):
            candidates.append(CandidateFacts(f"{name}{index}", "c", 0.5, 10, review_thresholds=REVIEWED))
            strata[f"{name}{index}"] = [name]
    result = sample_stratified(
        candidates,
        ["c"],
        strata=strata,
        reference={"c": reference},
        parameters=SamplingParameters(per_class=per_class, seed=seed),
        stratification=StratifiedParameters(**options),
        starting_from=previous,
    )
    return result, Counter(strata[image][0] for image, _ in result.images)


def test_shortfall_policies():
    reference, available = {"a": 10, "b": 20, "c": 70}, {"a": 3, "b": 0, "c": 20, "elsewhere": 5}
    result, taken = sample(reference, available, shortfall="fail")
    assert not result.is_valid
    assert taken == {"a": 1, "c": 7}
    assert "b: 0 of 2" in str(result.shortfalls[0])
    assert result.classes[0].unusable == {"outside_strata": 5}
    result, taken = sample(reference, available, shortfall="upward")
    assert result.is_valid
    assert taken == {"a": 1, "c": 9}
    result, taken = sample(reference, available, shortfall="redistribute")
    assert result.is_valid
    assert taken == {"a": 1, "c": 9}
    result, taken = sample({"a": 40, "b": 20, "c": 40}, {"a": 9, "b": 0, "c": 9}, shortfall="redistribute")
    assert taken == {"a": 5, "c": 5}
    result, taken = sample(reference, {"a": 3, "b": 0, "c": 6}, shortfall="redistribute")
    assert (taken, result.is_valid) == ({"a": 3, "c": 6}, False)


def test_a_class_without_reference_is_reported():
    result, taken = sample({}, {"a": 10})
    assert not result.is_valid
    assert not taken
    assert result.classes[0].problems == ("no reference image has a stratum, so there is no distribution to match",)


def test_a_threshold_may_be_asked_for():
    result, taken = sample({"a": 1}, {"a": 20}, threshold=0.6)
    assert not taken
    assert result.classes[0].unusable == {"below_threshold": 20}


places = st.sampled_from([0, 0, 1, 2, 5, 20])
entries = st.tuples(places, places, st.sampled_from([0, 0, 1, 2, 50]))


@example([(5, 0, 0), (0, 5, 0)])
@example([(5, 0, 1), (0, 2, 3), (0, 9, 0)])
@given(st.lists(entries, min_size=1, max_size=8))
def test_redistribution_places_all_that_fits_and_never_too_much(rows):
    targets, capacities, weights = (list(column) for column in zip(*rows, strict=True))
    result = redistribute(targets, capacities, weights)
    assert all(got <= capacity for got, capacity in zip(result, capacities, strict=True))
    assert all(got >= min(target, capacity) for got, target, capacity in zip(result, targets, capacities, strict=True))
    room = sum(c if w > 0 else min(t, c) for t, c, w in rows)
    assert sum(result) == min(sum(targets), room)
    assert all(got <= target for got, target, weight in zip(result, targets, weights, strict=True) if weight == 0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["fail", "upward", "redistribute"]))
def test_carry_over_keeps_as_many_as_a_stratum_has_places(seed, shortfall):
    rng = random.Random(seed)
    reference = {name: rng.randint(0, 30) for name in "abcde"}
    available = {name: rng.randint(0, 12) for name in "abcde"}
    first, _ = sample(reference, available, per_class=rng.randint(1, 20), seed=seed, shortfall=shortfall)
    start = first.to_revision("r-0")
    per_class = rng.randint(1, 20)
    second, _ = sample(reference, available, per_class=per_class, previous=start, seed=seed + 1, shortfall="fail")
    targets = stratum_targets({"c": reference}, ["c"], per_class=per_class, stratification=StratifiedParameters())["c"]
    before = Counter(image[0] for image, _ in first.images)
    kept = Counter(image[0] for image, _ in set(first.images) & set(second.images))
    assert kept == +Counter({name: min(before[name], targets.get(name, 0)) for name in before})


def test_the_parameters_record_what_was_used():
    result, _ = sample({"a": 1, "b": 3}, {"a": 9, "b": 9}, per_class=4, tie_break="lower")
    assert result.parameters["stratum_targets"] == {"c": {"a": 1, "b": 3}}
    assert result.parameters["tie_break"] == "lower"
    stored = result.to_revision("digits-a-0")
    assert stored.sampling_function == "sample_stratified"
    assert revision_from_published(json.loads(revision_text(stored))) == stored
