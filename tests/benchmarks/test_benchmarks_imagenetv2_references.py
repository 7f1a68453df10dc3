"""What one published file says about what is in another."""

from __future__ import annotations

import json

import pytest
from layout_tree import (
    B2,
    ONLY_EXCLUDED,
    ONLY_IN_HIT,
    ONLY_IN_REVISION,
    WNIDS,
    A,
    B,
    C,
    D,
    hit_row,
    plain_id,
    reference_id,
    search_row,
    val,
    write_tree,
)
from reading_published import SECTIONS, everything, read_with, warned

from retest.benchmarks.imagenetv2 import PublishedData, is_candidate_id, original_of
from retest.records import Candidate, OriginalImage, Split
from unreadable import make_unreadable


def test_candidates_known_by_reference(data):
    found = {row.id: row for row in data.referenced_candidates()}
    assert not {A, B, B2, C, D} & found.keys()
    assert (found[ONLY_IN_HIT].wnid, found[ONLY_IN_HIT].learnt_from) == (WNIDS[0], "hit")
    assert (found[ONLY_IN_REVISION].wnid, found[ONLY_IN_REVISION].learnt_from) == (WNIDS[1], "revision")
    assert (found[ONLY_EXCLUDED].wnid, found[ONLY_EXCLUDED].learnt_from) == (None, "exclusions")
    assert (found[reference_id("additional")].wnid, found[reference_id("additional")].learnt_from) == (WNIDS[0], "additional")
    assert list(found) == sorted(found)
    first, second = (found[ONLY_IN_HIT].as_candidate(), found[ONLY_IN_REVISION].as_candidate())
    assert (first.source, first.photo_id) != (second.source, second.photo_id)  # else resolution would join them


def test_classes_that_contradict_each_other_are_told(data):
    data.check()
    assert ("several_classes", A) in {(warning.kind, warning.item) for warning in data.warnings}  # in HITs of two classes
    assert {(warning.item, warning.message) for warning in warned(data, "class_differs")} == {
        (B, f"was searched for class {WNIDS[0]} but is used for class {WNIDS[1]} (revision)"),
    }


def test_original_images_with_split_and_class(data):
    found = {image.id: image for image in data.original_images()}
    assert found[val(1)] == OriginalImage(val(1), Split.VAL, WNIDS[0])
    assert found[val(5)] == OriginalImage(val(5), Split.VAL, None)  # only in a near-duplicate pair
    assert found["n01440764_10026.JPEG"] == OriginalImage("n01440764_10026.JPEG", Split.TRAIN, "n01440764")
    assert found["ILSVRC2012_test_00000007.JPEG"].split is Split.TEST


def test_a_revision_tells_a_class_better_than_a_hit_and_a_hit_better_than_a_plan(tmp_path):
    plan = {WNIDS[2]: {"pos_control": [], "candidates": [ONLY_IN_REVISION, ONLY_IN_HIT], "neg_control": []}}
    hit = hit_row("v1", WNIDS[3], [ONLY_IN_REVISION], [], [])
    data = read_with(tmp_path, metadata__additional_pos_val_images_for_20_per_wnid=plan, mturk__hit_data_live__x=[hit])
    found = {row.id: (row.wnid, row.learnt_from) for row in data.referenced_candidates()}
    assert found[ONLY_IN_REVISION] == (WNIDS[1], "revision")
    assert found[ONLY_IN_HIT] == (WNIDS[0], "hit")


def test_an_original_image_to_label_is_not_of_the_class_it_is_asked_about(tmp_path):
    data = read_with(tmp_path, mturk__hit_data_live__x=[hit_row("v1", WNIDS[2], [val(40), val(1)], [], [])])
    found = {image.id: image.wnid for image in data.original_images()}
    assert (found[val(40)], found[val(1)]) == (None, WNIDS[0])
    assert val(1) not in {warning.item for warning in data.check() if warning.kind == "several_classes"}


def test_a_control_of_another_class_is_told(tmp_path):
    hit = hit_row("v1", WNIDS[0], [], [val(11)], [])
    data = read_with(tmp_path, mturk__hit_data_live__x=[hit])
    told = [warning for warning in data.check() if warning.kind == "several_classes" and warning.item == val(11)]
    assert [warning.message for warning in told] == [f"is of class {WNIDS[1]} and of class {WNIDS[0]} (original)"]


@pytest.mark.parametrize(
    ("image_id", "candidate", "original"),
    [
        (A, True, None),
        (A.upper(), False, None),
        (A[:-1], False, None),
        (val(3), False, (Split.VAL, None)),
        ("n01440764_10026.JPEG", False, (Split.TRAIN, "n01440764")),
        ("n01440764_10026.jpeg", False, None),
        ("val/cat/1.jpg", False, (Split.VAL, None)),
        ("train/cat/1.jpg", False, (Split.TRAIN, None)),
        ("validation/cat/1.jpg", False, None),
    ],
)
def test_ids(image_id, candidate, original):
    assert is_candidate_id(image_id) is candidate
    assert original_of(image_id) == original


def test_a_misspelt_candidate_id_is_seen_and_makes_no_original_image(tmp_path):
    """As an original image it would make every candidate that it is paired with a near-duplicate."""
    misspelt = {"cut": A[:-1], "capital": A.upper(), "letter": "z" + A[1:]}
    pairs = {B: [misspelt["cut"], val(7)], C: [val(8)[:-1]]}
    hit = hit_row("v1", WNIDS[0], [misspelt["letter"]], [val(1)], [])
    revision = {"sampling_function": "sample_best", "seed": 1, "image_filenames": [[misspelt["capital"], WNIDS[0]]]}
    data = read_with(tmp_path, metadata__near_duplicates=pairs, mturk__hit_data_live__x=[hit], datasets__x=revision)
    originals = {image.id for image in data.original_images()}
    assert not originals & set(misspelt.values())
    assert not {row.id for row in data.referenced_candidates()} & set(misspelt.values())
    told = {warning.item: warning.message for warning in data.check() if warning.kind == "unexpected_id"}
    assert "(near_duplicates); it stands for no image" in told[misspelt["cut"]]
    assert "(hit); it stands for no image" in told[misspelt["letter"]]
    assert "(revision); it stands for no image" in told[misspelt["capital"]]
    assert "is not named like the other original images (near_duplicates)" in told[val(8)[:-1]]
    assert val(8)[:-1] in originals
    assert len(told) == 4


def test_a_candidate_of_an_odd_id_is_no_original_image(tmp_path):
    row = {**search_row("101", WNIDS[0]), "id_ours": "photo-101.jpg"}
    data = read_with(tmp_path, search_results__x=[row], metadata__near_duplicates={"photo-101.jpg": [val(7)]})
    assert {image.id for image in data.original_images()}.isdisjoint({"photo-101.jpg"})
    assert "photo-101.jpg" not in {warning.item for warning in data.check() if warning.kind == "unexpected_id" and not warning.file}


def test_a_candidate_as_positive_control_is_a_candidate(tmp_path):
    data = read_with(tmp_path, mturk__hit_data_live__x=[hit_row("v1", WNIDS[0], [], [ONLY_IN_HIT], [])])
    assert ONLY_IN_HIT in {candidate.id for candidate in data.referenced_candidates()}
    assert ONLY_IN_HIT not in {image.id for image in data.original_images()}
    assert [warning for warning in data.check() if warning.item == ONLY_IN_HIT and warning.kind == "unexpected_id"] == []


def test_original_images_of_another_benchmark_may_have_any_file_name(tmp_path):
    """Named by split and path as retest does, or by their file names alone: nothing to warn of where all are alike."""
    for number, names in enumerate((["val/cat/1.png", "train/dog/2.png"], ["cat-1.png", "dog-2.png"])):
        place = tmp_path / str(number) / "data/metadata/near_duplicates.json"
        place.parent.mkdir(parents=True)
        place.write_text(json.dumps({A: names}))
        data = PublishedData(tmp_path / str(number))
        assert [image.id for image in data.original_images()] == sorted(names)
        assert data.check() == ()
    data = PublishedData(tmp_path / "0")
    assert {image.id: image.split for image in data.original_images()} == {"val/cat/1.png": Split.VAL, "train/dog/2.png": Split.TRAIN}


@pytest.mark.parametrize("big", [2**63, 10**30, -(10**30)])
def test_numbers_that_no_database_holds_are_warned_of(tmp_path, big):
    documents = {
        "metadata__class_info": [{"cid": 0, "wnid": WNIDS[0]}, {"cid": big, "wnid": WNIDS[1]}],
        "search_results__x": [search_row("big", WNIDS[0], width=big)],
        "datasets__x": {"sampling_function": "sample_best", "seed": big, "image_filenames": [[A, WNIDS[0]]]},
        "metadata__nearest_neighbor_results": {A: {"l2": [[A, 0], [B, big * 10**400]], "dssim": [[B, 0.5]]}},
    }
    data = read_with(tmp_path, **documents)
    assert [info.wnid for info in data.classes()] == [WNIDS[0]]
    assert {row.id: row.width for row in data.candidates() if isinstance(row, Candidate)}[plain_id("big")] is None
    assert {revision.name: revision.seed for revision in data.revisions()}["x"] == 0
    assert [row.metric for row in data.neighbors()] == ["dssim"]
    told = {(warning.kind, warning.file) for warning in data.warnings if warning.kind.startswith("malformed")}
    assert told >= {("malformed_record", f"{name.replace('__', '/')}.json") for name in documents if name != "search_results__x"}
    assert ("malformed_size", "search_results/x.json") in told


def test_characters_that_no_database_takes_are_replaced_and_told(tmp_path):
    row = search_row("text", WNIDS[0], title="half \ud83d", license="whole \U0001f600 \u00e4", tags=["\udfff", {"\ud800": 1}])
    reasons = {A: "broken \udc00", B: "gr\u00fcn"}
    data = read_with(tmp_path, search_results__x=[row], metadata__candidate_blacklist=reasons)
    found = next(one for one in data.candidates() if isinstance(one, Candidate) and one.query["file"] == "x.json")
    assert (found.title, found.license) == ("half \ufffd", "whole \U0001f600 \u00e4")
    assert found.query["tags"] == ["\ufffd", {"\ufffd": 1}]
    assert {one.candidate_id: one.reason for one in data.exclusions()} == {A: "broken \ufffd", B: "gr\u00fcn"}
    assert [(one.file, one.item) for one in warned(data, "unusable_text")] == [
        ("search_results/x.json", "0"),
        ("metadata/candidate_blacklist.json", A),
    ]


def test_a_folder_that_cannot_be_listed_is_told(tree, monkeypatch):
    make_unreadable(monkeypatch, "hit_candidates")
    data = PublishedData(tree)
    told = [(warning.kind, warning.file, warning.message) for warning in data.warnings]
    assert told == [("unusable_file", "hit_candidates", "cannot be read (Permission denied)")]
    assert list(data.hit_candidates()) == []


def test_links_to_folders_elsewhere_are_told_and_not_followed(tmp_path):
    tree = write_tree(tmp_path / "tree")
    (tree / "data/predictions").rename(tmp_path / "elsewhere")
    (tree / "data/predictions").symlink_to(tmp_path / "elsewhere")
    (tree / "data/metadata/back").symlink_to(tree / "data")
    (tree / "data/metadata/me").symlink_to("me")
    data = PublishedData(tree)
    told = [(warning.file, warning.message) for warning in data.warnings]
    assert ("predictions", "is a link that leads elsewhere") in told
    assert {file for file, _ in told} == {"predictions", "metadata/me"}
    assert list(data.predictions()) == []


def test_what_needs_other_files_can_be_asked_for_first(tree):
    first = list(PublishedData(tree).referenced_candidates())
    data = PublishedData(tree)
    for name in SECTIONS:
        list(getattr(data, name)())
    assert list(data.referenced_candidates()) == first


def test_reading_twice_warns_once(data):
    everything(data)
    data.check()
    before = data.warnings
    everything(data)
    assert data.check() == before
    assert sum(data.warning_counts.values()) == len(before)
