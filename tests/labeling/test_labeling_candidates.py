import pytest
from hypothesis import given
from hypothesis import strategies as st

from retest.errors import InputError, UsageError
from retest.labeling import HitParameters, candidates_needing_labels, outstanding_assignments
from retest.records import Candidate, Hit


def candidate(name, wnid="n01", search_key="tench"):
    return Candidate(id=name, wnid=wnid, source="folder", photo_id=name, url="", search_key=search_key)


def select(candidates, parameters=None, **options):
    return candidates_needing_labels(candidates, parameters=parameters or HitParameters(), **{"num_assignments": {}, **options})


def reasons(selection):
    return {item.candidate_id: (item.code, item.reason) for item in selection.skipped}


def test_each_rule_has_its_reason():
    everyone = [
        candidate("new"),
        candidate("labelled"),
        candidate("half"),
        candidate("bought"),
        candidate("bad"),
        candidate("copy"),
        candidate("drawn", search_key="cartoon"),
        candidate("class", wnid="n02"),
        candidate("late", wnid="n09"),
    ]
    selection = select(
        everyone,
        HitParameters(max_classes=2, skip_search_keys=("cartoon", "n02")),
        num_assignments={("labelled", "n01"): 10, ("half", "n01"): 9, ("bought", "n01"): 4, ("new", "n02"): 10},
        outstanding={("bought", "n01"): 6, ("half", "n02"): 10},
        excluded=["bad"],
        near_duplicates_of_originals=["copy"],
    )
    assert [item.id for item in selection.selected] == ["half", "new"]
    assert reasons(selection) == {
        "labelled": ("labelled", "has 10 valid assignments, needs 10"),
        "bought": ("outstanding", "has 4 valid assignments and open HITs still wait for 6, needs 10"),
        "bad": ("excluded", "on the exclusion list"),
        "copy": ("near_duplicate_of_original", "near-duplicate of an original image"),
        "drawn": ("skipped_search_key", "'cartoon' is on the list skip_search_keys"),
        "class": ("skipped_search_key", "'n02' is on the list skip_search_keys"),
        "late": ("class_limit", "class n09 is not among the first 2 classes"),
    }
    assert selection.counts == {
        "selected": 2,
        "labelled": 1,
        "outstanding": 1,
        "excluded": 1,
        "near_duplicate_of_original": 1,
        "skipped_search_key": 2,
        "class_limit": 1,
    }
    assert selection.by_class() == {"n01": ("half", "new")}


def test_outstanding_answers_can_be_left_out_of_account():
    one = [candidate("bought")]
    outstanding = {("bought", "n01"): 10}
    assert select(one, outstanding=outstanding).selected == ()
    assert select(one, HitParameters(count_outstanding=False), outstanding=outstanding).selected == tuple(one)


def test_the_class_limit_counts_the_benchmarks_classes():
    one = [candidate("a", wnid="n05")]
    assert select(one, HitParameters(max_classes=1)).selected == tuple(one)
    assert reasons(select(one, HitParameters(max_classes=1), wnids=["n05", "n01"]))["a"][0] == "class_limit"
    assert reasons(select(one, wnids=["n01"]))["a"] == ("class_limit", "class n05 is not among the benchmark's classes")


def test_a_candidate_given_twice_is_refused():
    with pytest.raises(InputError, match="a: appears twice in the candidates"):
        select([candidate("a"), candidate("a")])


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["n01", "n02", "n03"])), unique_by=lambda pair: pair[0]),
    st.dictionaries(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["n01", "n02", "n03"])), st.integers(0, 12)),
    st.dictionaries(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["n01", "n02", "n03"])), st.integers(0, 12)),
    st.sets(st.sampled_from("abcdefgh")),
    st.sets(st.sampled_from("abcdefgh")),
    st.one_of(st.none(), st.integers(1, 3)),
    st.booleans(),
)
def test_selection_equals_the_rule_stated_plainly(pairs, labelled, open_answers, excluded, copies, limit, counting):
    candidates = [candidate(name, wnid) for name, wnid in pairs]
    selection = select(
        candidates,
        HitParameters(max_classes=limit, count_outstanding=counting),
        num_assignments=labelled,
        outstanding=open_answers,
        excluded=excluded,
        near_duplicates_of_originals=copies,
        wnids=["n03", "n01", "n02"],
    )
    expected = {
        name
        for name, wnid in pairs
        if wnid in ["n01", "n02", "n03"][:limit]
        and name not in excluded | copies
        and labelled.get((name, wnid), 0) + (open_answers.get((name, wnid), 0) if counting else 0) < 10
    }
    assert {item.id for item in selection.selected} == expected
    assert len(selection.selected) + len(selection.skipped) == len(candidates)


def test_outstanding_assignments_add_up_over_open_hits():
    hits = [
        Hit("u1", "n01", ("a",), ("p",), (), ("p", "a")),
        Hit("u2", "n01", ("a", "b"), (), (), ("a", "b")),
        Hit("u3", "n02", ("a",), (), (), ("a",)),
        Hit("closed", "n01", ("z",), (), (), ("z",)),
    ]
    assert outstanding_assignments(hits, {"u1": 3, "u2": 10, "u3": 1}) == {
        ("p", "n01"): 3,
        ("a", "n01"): 13,
        ("b", "n01"): 10,
        ("a", "n02"): 1,
    }
    with pytest.raises(UsageError, match="HIT u1: -1 missing assignments"):
        outstanding_assignments(hits, {"u1": -1})
