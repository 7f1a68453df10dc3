"""Components and resolution: worked examples, a literal transcription of the rule, properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from literal_resolution import resolve_literally
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from retest.duplicates import (
    Component,
    DuplicateCandidate,
    ResolutionParameters,
    components,
    duplicate_stats,
    find_components,
    resolve,
)
from retest.errors import ConfigError, InputError


def is_original(image: str) -> bool:
    return image.endswith(".JPEG")


def candidate(id: str, wnid: str = "n1", frequency: float | None = None, *, excluded: bool = False, photo: str = "") -> DuplicateCandidate:
    return DuplicateCandidate(id, wnid, "flickr", photo, frequency, excluded)


def outcome(candidates, pairs, **options) -> dict[str, bool]:
    return {r.candidate_id: r.near_duplicate for r in resolve(candidates, pairs, is_original=is_original, **options)}


def reasons(candidates, pairs, **options) -> dict[str, str]:
    return {r.candidate_id: r.reason for r in resolve(candidates, pairs, is_original=is_original, **options)}


# Components


def test_components_join_in_any_direction_and_skip_self_loops_and_singles():
    assert components([("b", "a"), ("c", "c"), ("d", "e"), ("e", "f"), ("a", "b")]) == [
        Component("a", ("a", "b")),
        Component("d", ("d", "e", "f")),
    ]
    assert components([]) == []


def test_equal_photos_join_also_without_a_pair():
    found = find_components(
        [candidate("a", photo="7"), candidate("b", "n2", photo="7"), candidate("c", photo="8"), candidate("d"), candidate("e")],
        [],
        is_original=is_original,
    )
    assert found == [Component("a", ("a", "b"))]


def test_the_same_photo_number_of_another_source_is_another_photo():
    one = DuplicateCandidate("a", "n1", "flickr", "7")
    other = DuplicateCandidate("b", "n1", "commons", "7")
    assert find_components([one, other], [], is_original=is_original) == []


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=60))
def test_components_equal_scipy(edges):
    found = components([(f"{a:02}", f"{b:02}") for a, b in edges])
    rows, columns = (np.array([e[i] for e in edges], dtype=int) for i in (0, 1))
    _, labels = connected_components(coo_array((np.ones(len(edges)), (rows, columns)), shape=(41, 41)), directed=False)
    groups = [tuple(f"{i:02}" for i in np.flatnonzero(labels == label)) for label in np.unique(labels)]
    assert [c.members for c in found] == sorted(group for group in groups if len(group) > 1)
    assert [c.name for c in found] == [min(c.members) for c in found]


# Resolution: worked examples


def test_every_candidate_with_an_original_is_a_near_duplicate_whatever_the_override_says():
    pairs = [("a", "ILSVRC2012_val_00000001.JPEG"), ("b", "a"), ("a", "n1_5.JPEG")]
    result = resolve([candidate("a", frequency=1.0), candidate("b")], pairs, is_original=is_original, overrides={"a", "b"})
    assert [(r.candidate_id, r.near_duplicate) for r in result] == [("a", True), ("b", True)]
    assert [r.component for r in result] == ["ILSVRC2012_val_00000001.JPEG"] * 2
    assert result[0].reason == "near-duplicate of original ILSVRC2012_val_00000001.JPEG"
    assert result[1].reason == "near-duplicate of original ILSVRC2012_val_00000001.JPEG, through others in the component"


def test_the_override_stays_even_if_excluded():
    candidates = [candidate("a", frequency=1.0), candidate("b", frequency=0.1, excluded=True)]
    assert outcome(candidates, [("a", "b")], overrides={"b"}) == {"a": True, "b": False}
    assert reasons(candidates, [("a", "b")], overrides={"b"}) == {
        "a": "near-duplicate of b, which is kept: on the override list",
        "b": "kept: on the override list",
    }


def test_two_listed_members_of_a_component_are_an_error_that_names_them():
    with pytest.raises(InputError, match=r"a: 2 images of one near-duplicate component are on the override list: b, c\. Leave at most one"):
        resolve([candidate("a")], [("a", "b"), ("b", "c")], is_original=is_original, overrides={"c", "b", "elsewhere"})


def test_the_eligible_class_with_the_fewest_good_candidates_keeps_its_best():
    candidates = [
        candidate("a", "n1", 0.9),
        candidate("b", "n2", 0.8),
        candidate("c", "n2", 0.7),
        candidate("d", "n3", 0.65),
        candidate("e", "n1", 1.0),  # outside the component, but good: n1 has two, n2 two -> the smaller wnid
    ]
    pairs = [("a", "b"), ("b", "c"), ("c", "d")]
    assert outcome(candidates, pairs) == {"a": False, "b": True, "c": True, "d": True}
    fewer = [*candidates, candidate("f", "n1", 0.7)]
    assert outcome(fewer, pairs) == {"a": True, "b": False, "c": True, "d": True}
    assert reasons(fewer, pairs)["b"] == "kept: smallest class n2, frequency 0.8"
    assert reasons(fewer, pairs)["d"] == "near-duplicate of b, which is kept: smallest class n2, frequency 0.8"


def test_excluded_or_unlabelled_candidates_are_never_good():
    more = [candidate("x", "n2", 0.9, excluded=True), candidate("y", "n2", None), candidate("z", "n2", 0.69)]
    candidates = [candidate("a", "n1", 0.9), candidate("b", "n2", 0.7), candidate("c", "n1", 0.7), *more]
    assert outcome(candidates, [("a", "b")]) == {"a": True, "b": False}


def test_second_threshold_then_highest_score_then_larger_wnid():
    assert outcome([candidate("a", "n1", 0.6), candidate("b", "n2", 0.59)], [("a", "b")]) == {"a": False, "b": True}
    assert outcome([candidate("a", "n1", 0.59), candidate("b", "n2", 0.5)], [("a", "b")]) == {"a": False, "b": True}
    assert outcome([candidate("a", "n1"), candidate("b", "n2", 0.0)], [("a", "b")]) == {"a": True, "b": False}
    assert reasons([candidate("a", "n1"), candidate("b", "n2")], [("a", "b")])["b"] == (
        "kept: class of the highest score n2, no selection frequency"
    )


def test_within_the_class_excluded_count_as_zero_and_ties_go_to_the_larger_id():
    candidates = [candidate("a", "n1", 0.7), candidate("b", "n1", 1.0, excluded=True), candidate("c", "n1", 0.7)]
    assert outcome(candidates, [("a", "b"), ("b", "c")]) == {"a": True, "b": True, "c": False}
    zeros = [candidate("a", "n1", 0.0), candidate("b", "n1", 1.0, excluded=True)]
    assert outcome(zeros, [("a", "b")]) == {"a": True, "b": False}
    assert reasons(zeros, [("a", "b")])["b"] == "kept: only class n1, frequency 1, excluded"


def test_ids_known_by_reference_take_part_as_unlabelled_candidates():
    assert outcome([candidate("b", "n1")], [("a", "b"), ("a", "c")]) == {"a": True, "b": False, "c": True}


def test_candidates_outside_every_component_do_not_appear():
    assert outcome([candidate("a", frequency=1.0), candidate("b")], [("a", "a")]) == {}


def test_wrong_input_names_the_candidate():
    with pytest.raises(InputError, match="a: the candidate is given twice"):
        resolve([candidate("a"), candidate("a", "n2")], [], is_original=is_original)
    with pytest.raises(InputError, match=r"a\.JPEG: the candidate has the id of an original image"):
        find_components([candidate("a.JPEG")], [], is_original=is_original)


@pytest.mark.parametrize(
    ("field", "value"), [("class_threshold", 1.1), ("good_threshold", "0.7"), ("fallback_class_threshold", float("nan"))]
)
def test_resolution_parameters_are_validated(field, value):
    with pytest.raises(ConfigError, match=f"{field}: the value must be a number from 0 to 1"):
        ResolutionParameters(**{field: value})
    with pytest.raises(ConfigError, match=r"fallback_class_threshold: 0\.8 lies above class_threshold 0\.7"):
        ResolutionParameters(fallback_class_threshold=0.8)


# Resolution: against the literal transcription

FREQUENCIES = st.sampled_from([None, 0.0, 0.3, 0.5, 0.59, 0.6, 0.65, 0.69, 0.7, 0.75, 0.9, 1.0])


@st.composite
def studies(draw):
    ids = [f"c{i}" for i in range(draw(st.integers(1, 12)))]
    candidates = [
        {
            "id": i,
            "wnid": draw(st.sampled_from(["n1", "n2", "n3"])),
            "photo": draw(st.sampled_from([None, None, None, ("flickr", "1"), ("flickr", "2"), ("commons", "2")])),
            "frequency": draw(FREQUENCIES),
            "excluded": draw(st.booleans()),
        }
        for i in ids
    ]
    originals = {"o1.JPEG", "o2.JPEG"}
    nodes = [*ids, "by-reference"]
    pairs = draw(st.lists(st.tuples(st.sampled_from(nodes), st.sampled_from(nodes)), max_size=10))
    pairs += draw(st.lists(st.tuples(st.sampled_from(nodes), st.sampled_from(sorted(originals))), max_size=1))
    overrides = set(draw(st.lists(st.sampled_from(ids), max_size=2)))
    return candidates, pairs, originals, overrides


@settings(max_examples=400, deadline=None)
@given(studies(), st.randoms(use_true_random=False))
def test_resolution_equals_the_literal_rule_in_any_order_of_the_input(study, rng):
    candidates, pairs, originals, overrides = study
    expected = resolve_literally(candidates, pairs, originals, overrides)
    records = [DuplicateCandidate(c["id"], c["wnid"], *(c["photo"] or ("flickr", "")), c["frequency"], c["excluded"]) for c in candidates]
    if expected == "error":
        with pytest.raises(InputError, match="override list"):
            resolve(records, pairs, is_original=originals.__contains__, overrides=overrides)
        return
    result = resolve(records, pairs, is_original=originals.__contains__, overrides=overrides)
    assert {r.candidate_id: (r.near_duplicate, r.component) for r in result} == {
        candidate_id: (near_duplicate, members[0]) for candidate_id, (near_duplicate, members) in expected.items()
    }
    assert all(r.reason.startswith("near-duplicate of " if r.near_duplicate else "kept: ") for r in result)

    shuffled, turned = list(records), [pair if rng.random() < 0.5 else pair[::-1] for pair in pairs]
    rng.shuffle(shuffled)
    rng.shuffle(turned)
    assert resolve(shuffled, turned, is_original=originals.__contains__, overrides=overrides) == result

    found = find_components(records, pairs, is_original=originals.__contains__)
    for component in found:
        inside = [r for r in result if r.component == component.name]
        kept = sum(not r.near_duplicate for r in inside)
        assert kept == (0 if originals.intersection(component.members) else 1)
    stats = duplicate_stats(found, result, is_original=originals.__contains__)
    assert stats.components == len({tuple(members) for _, members in expected.values()})
    assert stats.candidates == len(expected)
    assert stats.marked == sum(near_duplicate for near_duplicate, _ in expected.values())
    assert stats.components - stats.components_with_original == stats.candidates - stats.marked
    assert sum(size * count for size, count in stats.sizes.items()) == sum(len(c.members) for c in found)


def test_two_originals_alone_are_a_component_without_candidates():
    found = find_components([], [("a.JPEG", "b.JPEG")], is_original=is_original)
    stats = duplicate_stats(found, resolve([], [("a.JPEG", "b.JPEG")], is_original=is_original), is_original=is_original)
    assert (stats.components, stats.components_with_original, stats.candidates, stats.marked, dict(stats.sizes)) == (1, 1, 0, 0, {2: 1})
