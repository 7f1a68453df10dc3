"""Revisions as pure functions: names, the published form, differences, carried reviews, checks."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sampling_studies import REVIEWED, revision

from retest.errors import InputError
from retest.records import ClassReview, Revision
from retest.sampling import (
    CandidateFacts,
    ClassDiff,
    RevisionName,
    SamplingParameters,
    carry_over_reviews,
    check_revision,
    diff_revisions,
    next_revision_name,
    parse_revision_name,
    reviews_from_published,
    reviews_to_published,
    revision_from_published,
    revision_text,
    revision_to_published,
    sample_above_threshold,
    sample_wnid_histogram,
)

# Names


def test_names():
    assert parse_revision_name("imagenetv2-a-44") == RevisionName("imagenetv2-a", 44)
    assert str(RevisionName("imagenetv2-a", 44)) == "imagenetv2-a-44"
    existing = ["imagenetv2-a-9", "imagenetv2-a-10", "imagenetv2-b-33", "imagenet-validation-original", "imagenetv2-a-011"]
    assert next_revision_name("imagenetv2-a", existing) == "imagenetv2-a-11"
    assert next_revision_name("imagenetv2-c", existing) == "imagenetv2-c-0"


@pytest.mark.parametrize("name", ["imagenetv2", "imagenetv2-a", "imagenetv2-a-01", "../x-1", "-1", "a b-1", "imagenetv2-a-44.json"])
def test_wrong_names_are_refused(name):
    with pytest.raises(InputError, match="is not a revision name"):
        parse_revision_name(name)


def test_a_series_must_give_valid_names():
    with pytest.raises(InputError, match="is not a revision name"):
        next_revision_name("my set/", [])


# The published form


def test_a_sampled_revision_is_written_under_the_published_names_and_read_back_equal():
    candidates = [CandidateFacts(f"c{k}", "n1", 1.0, 10, review_thresholds=REVIEWED) for k in range(20)]
    parameters = SamplingParameters(per_class=2, seed=5, class_thresholds={"n1": 0.5})
    result = sample_above_threshold(candidates, ["n1"], parameters=parameters, starting_from=revision([], "imagenetv2-a-1"))
    stored = result.to_revision("imagenetv2-a-2", user="ada", time="2026-11-22T10:00:00+00:00")
    document = revision_to_published(stored)
    assert {key: value for key, value in document.items() if key != "image_filenames"} == {
        "sampling_function": "sample_above_threshold",
        "target_size": 2,
        "selection_frequency_threshold": 0.7,
        "min_num_annotations": 10,
        "near_duplicate_review_targets": {"l2": 1.2e8, "dssim": 0.2205, "fc7": 1.32e4},
        "time_string": "2026-11-22_10:00:00_UTC",
        "username": "ada",
        "seed": 5,
        "is_valid": True,
        "starting_from": "imagenetv2-a-1.json",
        "wnid_thresholds": {"n1": 0.5},
        "output_filename": "imagenetv2-a-2.json",
        "per_class": 2,
    }
    assert document["image_filenames"] == [list(pair) for pair in stored.images]
    assert revision_from_published(json.loads(revision_text(stored))) == stored


def test_the_histogram_parameters_have_the_published_names():
    result = sample_wnid_histogram([], [], ["n1"], parameters=SamplingParameters(allow_upward_sampling=True))
    assert result.parameters == {
        "per_class": 10,
        "target_size": 10,
        "histogram_bins": [0.2, 0.4, 0.6, 0.8],
        "min_num_annotations_candidates": 10,
        "min_num_annotations_val": 10,
        "min_num_val_images_per_wnid": 20,
        "near_duplicate_review_targets": {"l2": 1.2e8, "dssim": 0.2205, "fc7": 1.32e4},
        "allow_upward_sampling": True,
    }
    assert sample_wnid_histogram([], [], ["n1"], parameters=SamplingParameters()).parameters["allow_upward_sampling"] is None


def test_a_set_without_is_valid_is_valid_and_stays_without():
    document = {"sampling_function": "sample_val_dummy", "seed": 1, "image_filenames": [["a", "n1"]]}
    read = revision_from_published(document, name="imagenetv2-dummy-0")
    assert (read.is_valid, read.time, read.starting_from) == (True, "", None)
    assert revision_to_published(read) == document


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
times = st.sampled_from(["2018-12-13_10:26:51_UTC", "2018-12-13T10:26:51+00:00", "2018-12-13_10:26:51_PST", "yesterday", ""])
documents = st.fixed_dictionaries(
    {"image_filenames": st.lists(st.lists(st.text(max_size=4), min_size=2, max_size=2), max_size=4)},
    optional={
        "sampling_function": st.text(max_size=8),
        "seed": st.integers(-(2**63) + 1, 2**63 - 1),
        "is_valid": st.booleans(),
        "time_string": times,
        "username": st.text(max_size=5),
        "starting_from": st.none() | st.sampled_from(["imagenetv2-a-1.json", "imagenetv2-a-1", "", ".json"]) | st.integers(),
        "output_filename": st.sampled_from(["imagenetv2-a-2.json", "imagenetv2-a-2", "other.json"]),
        "histogram_bins": values,
        "something new": values,
    },
)


@given(documents, st.sampled_from([None, "imagenetv2-a-2"]))
def test_reading_and_writing_any_document_loses_nothing(document, name):
    if name is None and "output_filename" not in document:
        with pytest.raises(InputError, match="the revision has no output_filename"):
            revision_from_published(document)
        return
    read = revision_from_published(document, name=name)
    written = revision_to_published(read)
    assert json.dumps(written, sort_keys=True) == json.dumps(document, sort_keys=True)
    assert revision_from_published(written, name=read.name) == read


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_filenames": None}, "r-1: the revision has no list image_filenames"),
        ({"image_filenames": [["a"]]}, r"r-1: image_filenames holds \['a'\], not a pair of image and class"),
        ({"seed": "1"}, "r-1: seed is '1', not of type int"),
        ({"is_valid": 1}, "r-1: is_valid is 1, not of type bool"),
        ({"username": 5}, "r-1: username is 5, not of type str"),
    ],
)
def test_broken_documents_are_refused_with_the_field(change, message):
    with pytest.raises(InputError, match=message):
        revision_from_published({"image_filenames": [], "output_filename": "r-1.json", **change})


def test_reviews_are_read_and_written():
    document = {"n2": {"problematic": True, "reviewed": True}, "n1": {"problematic": False, "reviewed": False}}
    reviews = reviews_from_published("r-1", document)
    assert reviews == [ClassReview("r-1", "n1", False, False), ClassReview("r-1", "n2", True, True)]
    assert reviews_to_published(reviews) == document
    with pytest.raises(InputError, match=r"r-1: the review of class n1 is \{'reviewed': 1\}"):
        reviews_from_published("r-1", {"n1": {"reviewed": 1}})


# Differences and reviews

OLD = revision([("a", "n1"), ("b", "n1"), ("c", "n2"), ("d", "n3"), ("e", "n4"), ("f", "n5")], "r-1")
NEW = revision([("f", "n5"), ("b", "n1"), ("a", "n1"), ("x", "n2"), ("d", "n3"), ("y", "n3"), ("g", "n6")], "r-2")


def test_diff():
    diff = diff_revisions(OLD, NEW)
    assert diff.classes == (
        ClassDiff("n2", ("x",), ("c",)),
        ClassDiff("n3", ("y",), ()),
        ClassDiff("n4", (), ("e",)),
        ClassDiff("n6", ("g",), ()),
    )
    assert (diff.old, diff.new, diff.num_kept, diff.num_added, diff.num_removed, diff.same_order) == ("r-1", "r-2", 4, 3, 2, False)
    same = diff_revisions(OLD, replace(OLD, name="r-2"))
    assert (same.classes, same.num_kept, same.same_order) == ((), 6, True)


def test_reviews_carry_over_where_nothing_changed_and_nothing_was_problematic():
    reviews = [
        ClassReview("r-1", "n1", reviewed=True, problematic=False),
        ClassReview("r-1", "n2", reviewed=True, problematic=False),
        ClassReview("r-1", "n3", reviewed=True, problematic=False),
        ClassReview("r-1", "n5", reviewed=True, problematic=True),
    ]
    assert carry_over_reviews(reviews, OLD, NEW) == [
        ClassReview("r-2", "n1", reviewed=True, problematic=False),
        ClassReview("r-2", "n2", reviewed=False, problematic=False),
        ClassReview("r-2", "n3", reviewed=False, problematic=False),
        ClassReview("r-2", "n5", reviewed=False, problematic=False),
        ClassReview("r-2", "n6", reviewed=False, problematic=False),
    ]
    with pytest.raises(InputError, match="r-1: the review of class n1 belongs to r-0"):
        carry_over_reviews([ClassReview("r-0", "n1", True, False)], OLD, NEW)


# Checks


def test_checks_warn_of_everything_that_is_wrong_today():
    good = CandidateFacts("good", "n1", 0.9, 10, review_thresholds=REVIEWED)
    candidates = [
        good,
        replace(good, id="twice"),
        replace(good, id="moved", wnid="n2"),
        replace(good, id="out", excluded=True),
        replace(good, id="copy", near_duplicate=True),
        replace(good, id="few", num_assignments=9),
        replace(good, id="elsewhere", excluded=True),
    ]
    images = [
        ("twice", "n1"),
        ("good", "n1"),
        ("twice", "n1"),
        ("moved", "n1"),
        ("out", "n1"),
        ("copy", "n3"),
        ("few", "n1"),
        ("who", "n1"),
    ]
    found = check_revision(
        Revision("r-1", "sample_best", tuple(images), True, 1),
        candidates,
        component_of={"good": "k1", "copy": "k1", "few": "k2", "elsewhere": "k2", "who": "k1"},
        per_class=7,
    )
    assert [(str(w.check), w.wnid, w.image, w.message) for w in found] == [
        ("duplicate_image", "n1", "twice", "twice stands 2 times in the revision"),
        ("unknown_image", "n1", "who", "who is not a candidate of the study"),
        ("wrong_class", "n1", "moved", "moved stands under n1 but is a candidate of n2"),
        ("wrong_class", "n3", "copy", "copy stands under n3 but is a candidate of n1"),
        ("excluded", "n1", "out", "out of n1 is excluded"),
        ("near_duplicate", "n3", "copy", "copy of n3 is a near-duplicate"),
        ("near_duplicates_inside", "n1", "good", "good of n1 is a near-duplicate of copy of n3, which is in the revision too"),
        ("near_duplicates_inside", "n1", "who", "who of n1 is a near-duplicate of copy of n3, which is in the revision too"),
        ("few_assignments", "n1", "few", "few of n1 has 9 valid assignments, fewer than 10"),
        ("class_size", "n3", None, "class n3 has 1 images, not 7"),
    ]
    assert check_revision(revision([("good", "n1")]), candidates, component_of={"good": "k1"}, per_class=1) == []


def test_an_image_under_two_classes_is_a_duplicate():
    found = check_revision(revision([("a", "n2"), ("a", "n1")]), [CandidateFacts("a", "n1", 0.9, 10)])
    assert [(str(w.check), w.wnid) for w in found] == [("duplicate_image", "n1"), ("wrong_class", "n2")]
