"""Reading the published layout: every known trap, on a tiny tree."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from layout_tree import (
    B2,
    ONLY_EXCLUDED,
    ONLY_IN_REVISION,
    WNIDS,
    A,
    B,
    C,
    D,
    answer,
    hit_row,
    reference_id,
    search_row,
    val,
    write_tree,
)
from reading_published import read_with, warned

from retest.benchmarks.imagenetv2 import Occurrence, PublishedData, submitter_of
from retest.records import AssignmentStatus, Candidate, Neighbor, NeighborReview

# Candidates


def test_first_record_in_sorted_file_order_is_the_candidate(data):
    records = list(data.candidates())
    candidates = {record.id: record for record in records if isinstance(record, Candidate)}
    occurrences = [record for record in records if isinstance(record, Occurrence)]
    assert set(candidates) == {A, B, B2, C, D}
    # 2018-09-01_a.json sorts before 2018-09-09_b.json, although it was written later into the tree.
    assert candidates[A].wnid == WNIDS[0]
    assert candidates[A].query["file"] == "2018-09-01_a.json"
    assert [(o.record.candidate_id, o.record.wnid, o.record.search_key, o.record.file) for o in occurrences] == [
        (A, WNIDS[1], "later", "2018-09-09_b.json"),
        (C, WNIDS[0], "tench", "2018-09-09_b.json"),
    ]
    assert len({o.key for o in occurrences}) == 2


def test_search_parameters_are_kept_under_their_published_names(data):
    candidate = next(record for record in data.candidates() if isinstance(record, Candidate))
    assert candidate.query == {
        "max_taken_date": "2013-07-11",
        "max_uploaded_date": "2013-07-11",
        "min_uploaded_date": "2012-07-11",
        "search_sort": "date-posted-asc",
        "max_images": 200,
        "batch": "b1",
        "file": "2018-09-01_a.json",
    }
    assert candidate.url_kind is None
    assert (candidate.date_found, candidate.date_taken, candidate.date_uploaded) == (
        "2018-09-09 13:52:42",
        "2012-07-14 10:00:00",
        "2012-08-01 05:38:27",
    )


def test_sizes_null_text_and_integer(data):
    sizes = {record.id: (record.width, record.height) for record in data.candidates() if isinstance(record, Candidate)}
    assert sizes == {A: (1024, 768), B: (500, 333), C: (None, None), B2: (1024, 768), D: (1024, 768)}


def test_the_day_before_the_epoch_is_an_unknown_date(data):
    dates = {record.id: record.date_uploaded for record in data.candidates() if isinstance(record, Candidate)}
    assert dates[B] is None
    assert [warning.item for warning in warned(data, "unknown_date")] == [B]


def test_uploads_outside_the_stated_window_are_warned_of(data):
    list(data.candidates())
    (warning,) = warned(data, "outside_upload_window")
    assert (warning.file, warning.item) == ("search_results/2018-09-09_b.json", C)
    assert warning.message == "uploaded 2012-01-01, outside the stated window 2012-07-11 to 2013-07-11"


@pytest.mark.parametrize(("day", "outside"), [("2012-07-10", 1), ("2012-07-11", 0), ("2013-07-11", 0), ("2013-07-12", 1)])
def test_both_bounds_of_the_window_are_inclusive_days(tmp_path, day, outside):
    row = search_row("500", WNIDS[0], date_upload_search_engine=f"{day} 23:59:59")
    data = read_with(tmp_path, search_results__x=[row])
    list(data.candidates())
    assert len([w for w in warned(data, "outside_upload_window") if w.file.endswith("/x.json")]) == outside


def test_ids_are_verified_in_both_forms(data):
    list(data.candidates())
    (warning,) = warned(data, "id_mismatch")
    assert warning.item == D
    assert "photo '999'" in warning.message


def test_other_engines_have_their_own_ids(tmp_path):
    own = reference_id("7commons")
    rows = [search_row("7", WNIDS[0], id_ours=own, search_engine="commons"), search_row("8", WNIDS[0], id_search_engine=8)]
    data = read_with(tmp_path, search_results__x=rows)
    found = {record.id: record for record in data.candidates() if isinstance(record, Candidate)}
    assert found[own].source == "commons"
    assert found[reference_id("8flickr")].photo_id == "8"  # a number instead of a text
    assert [warning.item for warning in warned(data, "id_mismatch")] == [D]


@pytest.mark.parametrize("bad", [[1], {"id_ours": A}, search_row("1", WNIDS[0], url=None), search_row("1", 5), None, "text"])
def test_records_that_are_none_are_left_out_with_a_warning(tmp_path, bad):
    data = read_with(tmp_path, search_results__x=[bad, search_row("77", WNIDS[0])])
    assert reference_id("77flickr") in {record.id for record in data.candidates() if isinstance(record, Candidate)}
    (warning,) = warned(data, "malformed_record")
    assert (warning.file, warning.item) == ("search_results/x.json", "0")


@pytest.mark.parametrize(("value", "size"), [("abc", None), (0, None), (-3, None), (True, None), (2.5, None), ("007", 7), ("²", None)])
def test_strange_sizes(tmp_path, value, size):
    data = read_with(tmp_path, search_results__x=[search_row("77", WNIDS[0], width=value)])
    found = {record.id: record for record in data.candidates() if isinstance(record, Candidate)}
    assert found[reference_id("77flickr")].width == size
    assert len(warned(data, "malformed_size")) == (size is None)


def test_unknown_classes_are_kept_and_warned_of(tmp_path):
    data = read_with(tmp_path, search_results__x=[search_row("77", "n99999999")])
    assert "n99999999" in {record.wnid for record in data.candidates() if isinstance(record, Candidate)}
    assert [warning.item for warning in warned(data, "unknown_class")] == [reference_id("77flickr")]


# Classes and hand-made lists


def test_classes_are_merged_from_three_files(data):
    tench, *_, crane = data.classes()
    assert (tench.wnid, tench.cid, tench.synset, tench.gloss) == (WNIDS[0], 0, ("tench", "Tinca tinca"), "freshwater fish")
    assert tench.most_similar[0] == WNIDS[0]
    assert tench.wikipedia_pages == (f"https://en.wikipedia.org/wiki/{WNIDS[0]}",)
    assert crane.name == "crane"
    (warning,) = warned(data, "ambiguous_name")
    assert (warning.item, warning.message) == (WNIDS[3], f"the name 'crane' is also that of {WNIDS[2]}")


def test_classes_without_class_info_are_numbered_in_sorted_order(tmp_path):
    data = read_with(tmp_path, metadata__class_info=None)
    assert [(info.cid, info.wnid) for info in data.classes()] == list(enumerate(sorted(WNIDS)))


def test_class_info_with_faults(tmp_path):
    rows = [
        {"cid": 0, "wnid": WNIDS[0], "synset": ["a"], "gloss": ""},
        {"cid": 0, "wnid": WNIDS[1], "synset": ["b"], "gloss": ""},
        {"cid": "2", "wnid": WNIDS[2], "synset": ["c"], "gloss": ""},
        {"cid": 3, "wnid": WNIDS[3], "synset": "d", "gloss": ""},
        {"cid": 5, "wnid": "n5", "synset": ["e"], "gloss": ""},
    ]
    data = read_with(tmp_path, metadata__class_info=rows)
    assert [info.wnid for info in data.classes()] == [WNIDS[0], "n5"]
    counts = Counter(warning.kind for warning in data.warnings)
    assert counts["duplicate_class"] == 1
    assert counts["malformed_record"] == 2
    assert counts["class_index_gap"] == 1
    assert counts["missing_class"] == 2  # n5 has neither similar classes nor pages
    assert counts["unknown_class"] == 6  # three classes in two lists


def test_negative_classes_and_additional_images(data):
    assert data.negative_classes() == {WNIDS[0]: WNIDS[1], WNIDS[1]: WNIDS[1]}
    assert [warning.item for warning in warned(data, "negative_is_target")] == [WNIDS[1]]
    (plan,) = data.additional_images()
    assert (plan.wnid, plan.pos_control, plan.neg_control) == (WNIDS[0], (val(1),), (val(11), val(12)))
    assert warned(data, "unequal_lists")[0].message == "the lists differ in length (1/1/2 positive/candidates/negative)"


def test_exclusions_and_thresholds(data, tmp_path):
    assert {row.candidate_id: row.reason for row in data.exclusions()} == {A: "composite image", ONLY_EXCLUDED: "drawing"}
    assert data.class_thresholds() == {"sampling_thresholds_a.json": {WNIDS[0]: 0.6, WNIDS[1]: 1}}
    other = read_with(tmp_path, dataset_metadata__x={WNIDS[0]: 1.2, WNIDS[1]: "0.6", WNIDS[2]: True, WNIDS[3]: 0.5})
    assert other.class_thresholds()["x.json"] == {WNIDS[3]: 0.5}
    assert len(warned(other, "malformed_record")) == 3


# HITs and answers


def test_hits_with_file_submitter_and_all_four_forms_of_time(data):
    hits = {hit.uuid: hit for hit in data.hits()}
    assert set(hits) == {"u1", "u2", "u3", "u4"}
    assert hits["u1"].user == "ubuntu"
    assert submitter_of(hits["u1"].file) == "vaishaal"
    assert submitter_of(hits["u3"].file) == "becca"
    assert submitter_of(hits["u4"].file) == "vaishaal"
    assert {len(hit.images_all) for hit in hits.values()} == {48, 25, 22}
    assert not warned(data, "malformed_date")
    assert [warning.item for warning in warned(data, "unusual_hit_size")] == ["u3"]


def test_hits_of_ignored_files_and_listed_hits_count_nowhere(data):
    assert {row.hit_uuid: row.reason for row in data.hit_exclusions()} == {
        "u3": "HIT with missing images",
        "nowhere": "HIT with missing images",
        "u4": "in a file that the main collection ignores",
    }
    assert [warning.item for warning in warned(data, "unknown_hit")] == ["nowhere"]


def test_a_listed_hit_of_an_ignored_file_is_excluded_once(tmp_path):
    data = read_with(tmp_path, mturk__hit_blacklist_live={"u4": "HIT with missing images"})
    assert [(row.hit_uuid, row.reason) for row in data.hit_exclusions()] == [("u4", "HIT with missing images")]


def test_the_ignore_list_can_be_changed(tree):
    data = PublishedData(tree, ignored_hit_files=())
    assert {row.hit_uuid for row in data.hit_exclusions()} == {"u3", "nowhere"}


def test_hits_with_faults(tmp_path):
    rows = [
        hit_row("v1", WNIDS[0], [A, B], [val(1)], [val(2)], images_all=[A, B, val(1), val(3)]),
        hit_row("v2", WNIDS[0], [A, A], [val(1)], [val(2)]),
        hit_row("v3", WNIDS[0], [A], [val(1)], [val(2)], time="yesterday"),
        hit_row("v3", WNIDS[1], [B], [], []),
        hit_row("v4", WNIDS[0], [A], [], [], surprise=1),
        {"uuid": "v5"},
        hit_row("v6", WNIDS[0], [A, 7], [], []),
    ]
    data = read_with(tmp_path, mturk__hit_data_live__x=rows)
    hits = {hit.uuid: hit for hit in data.hits() if hit.file == "x.json"}
    assert set(hits) == {"v1", "v2", "v3", "v4"}
    assert hits["v3"].wnid == WNIDS[0]
    found = {(warning.kind, warning.item) for warning in data.warnings if warning.file.endswith("/x.json")}
    assert found >= {
        ("not_a_permutation", "v1"),
        ("duplicate_image", "v2"),
        ("malformed_date", "v3"),
        ("duplicate_hit", "v3"),
        ("unknown_key", "v4"),
        ("malformed_record", "5"),
        ("malformed_record", "6"),
    }


def test_answers_are_hashed_and_the_latest_file_counts(data):
    hashed = []

    def hash_worker(worker):
        hashed.append(worker)
        return f"hash of {worker}"

    answers = {row.id: row for row in data.assignments(hash_worker=hash_worker)}
    assert set(answers) == {"a1", "a2", "a3", "a4", "a6"}
    assert answers["a1"].worker == "hash of W1"
    assert answers["a2"].status is AssignmentStatus.REJECTED
    assert answers["a3"].status is AssignmentStatus.APPROVED
    assert answers["a3"].selected == (A,)
    assert answers["a1"].submit_time == "2018-08-31 09:05:00+00:00"
    assert set(hashed) == {"W1", "W2", "W3"}
    found = {(warning.kind, warning.item) for warning in data.warnings if "results/" in warning.file}
    assert found == {
        ("duplicate_image", "a3"),
        ("unknown_hit", "unknown-hit"),
        ("duplicate_assignment", "a3"),
        ("unknown_status", "a5"),
        ("foreign_image", "a6"),
    }


def test_answers_marked_as_hashed_are_not_hashed_again(tmp_path):
    marked = {"worker_ids": "hashed", "assignments": {"u1": {"b1": answer("already", "Approved", [A])}}}
    data = read_with(tmp_path, mturk__results__x=marked)
    answers = {row.id: row.worker for row in data.assignments(hash_worker=lambda worker: f"hash of {worker}")}
    assert answers["b1"] == "already"
    assert answers["a1"] == "hash of W1"


def test_result_files_with_faults(tmp_path):
    bad = {
        "assignments": {
            "u1": [],
            "u2": {"c1": 5, "c2": {"WorkerId": "W", "AssignmentStatus": "Approved"}, "c3": answer(None, "Approved", [])},
        }
    }
    data = read_with(tmp_path, mturk__results__x=bad, mturk__results__y={"other": 1})
    assert {row.id for row in data.assignments(hash_worker=str)} == {"a1", "a2", "a3", "a4", "a6"}
    assert [warning.item for warning in warned(data, "malformed_record")] == ["u1", "c1", "c2", "c3"]
    assert [warning.file for warning in warned(data, "empty_file")] == ["mturk/results/y.json"]


# Near-duplicates


def test_pairs_are_directed_as_listed_and_self_loops_are_told(data):
    assert list(data.near_duplicates()) == [
        (A, C),
        (A, val(5)),
        (A, A),
        (C, "n01440764_10026.JPEG"),
        (C, "ILSVRC2012_test_00000007.JPEG"),
    ]
    assert [warning.item for warning in warned(data, "self_loop")] == [A]
    assert list(data.resolution_overrides()) == [C]


def test_reviews_keep_the_old_threshold_apart(data):
    first, second = data.neighbor_reviews()
    assert first.review == NeighborReview(A, "l2", (C, val(5)), (), "ludwig", "2018-08-26 18:51:00.765547")
    assert first.threshold == 10.0
    assert (second.review.metric, second.review.references, second.threshold) == ("dssim", (), None)


def test_neighbors(data):
    rows = list(data.neighbors())
    assert [(row.candidate_id, row.metric) for row in rows] == [(A, "l2"), (A, "dssim"), (B, "fc7")]
    assert rows[0].neighbors == (Neighbor(A, 0.0), Neighbor(C, 30403.6487448464))
    assert rows[2].neighbors[2].distance == 1e100
    assert not warned(data, "no_self_neighbor")
    (test,) = data.neighbors(test=True)
    assert test.neighbors == (Neighbor(C, 1.0),)
    assert [warning.file for warning in warned(data, "no_self_neighbor")] == ["metadata/nearest_neighbor_results_test.json"]


def test_neighbors_with_faults(tmp_path):
    rows = {A: {"l2": [[A, 2.0], [B, 1.0]], "fc7": [[A]], "cosine": [[B, 1.0]], "dssim": [[B, "1.0"]]}, B: []}
    data = read_with(tmp_path, metadata__nearest_neighbor_results=rows)
    assert [(row.candidate_id, row.metric) for row in data.neighbors()] == [(A, "l2"), (A, "cosine")]
    counts = Counter(warning.kind for warning in data.warnings if warning.file.endswith("results.json"))
    assert counts == {"not_ascending": 1, "malformed_record": 3, "unknown_metric": 1}


def test_a_distance_that_is_no_number_is_left_out(tmp_path):
    content = f'{{"{A}": {{"l2": [["{A}", NaN]], "dssim": [["{B}", 0.5]]}}}}'.encode()
    data = read_with(tmp_path, metadata__nearest_neighbor_results=content)
    assert [row.metric for row in data.neighbors()] == ["dssim"]


# Revisions, reviews, predictions


def test_revisions_keep_every_key(data):
    revisions = {revision.name: revision for revision in data.revisions()}
    first = revisions["imagenetv2-a-1"]
    assert first.images == ((A, WNIDS[0]), (ONLY_IN_REVISION, WNIDS[1]), (B, WNIDS[1]))
    assert (first.starting_from, first.is_valid, first.seed, first.user) == ("imagenetv2-a-0", False, 7, "ludwig")
    assert first.time == "2018-12-13_10:26:51_UTC"
    assert dict(first.parameters) == {
        "target_size": 4,
        "selection_frequency_threshold": 0.7,
        "min_num_annotations": 10,
        "near_duplicate_review_targets": {"l2": 120000000.0, "dssim": 0.2205, "fc7": 13200.0},
        "wnid_thresholds": {WNIDS[0]: 0.6},
        "output_filename": "imagenetv2-a-1.json",
    }
    assert revisions["imagenet-validation-original"].is_valid is True
    assert revisions["imagenet-validation-original"].starting_from is None


def test_revisions_with_faults(tmp_path):
    base = {
        "sampling_function": "sample_best",
        "seed": 1,
        "image_filenames": [[A, WNIDS[0]], [A, WNIDS[0]]],
        "is_valid": True,
        "target_size": 3,
    }
    data = read_with(
        tmp_path,
        datasets__x={**base, "seed": "1", "is_valid": "yes", "starting_from": 3, "output_filename": "y.json"},
        datasets__y={**base, "image_filenames": [[A]]},
        datasets__z=base,
    )
    revisions = {revision.name: revision for revision in data.revisions()}
    assert (revisions["x"].seed, revisions["x"].is_valid, revisions["x"].starting_from) == (0, False, None)
    assert "y" not in revisions
    found = Counter((warning.kind, warning.item) for warning in data.warnings if warning.file.startswith("datasets/"))
    assert found == {
        ("malformed_record", "x"): 3,
        ("other_name", "x"): 1,
        ("duplicate_image", "x"): 1,
        ("duplicate_image", "z"): 1,
        ("wrong_length", "z"): 1,
        ("malformed_record", "0"): 1,
        ("malformed_record", "y"): 1,
    }


def test_class_reviews_and_missing_revisions(data):
    reviews = {(row.revision, row.wnid): (row.reviewed, row.problematic) for row in data.class_reviews()}
    assert reviews[("imagenetv2-a-1", WNIDS[0])] == (True, True)
    assert reviews[("imagenetv2-a-1", WNIDS[1])] == (False, False)
    data.check()
    assert {(warning.item, warning.message) for warning in warned(data, "missing_revision")} == {
        ("imagenetv2-a-1", "starts from imagenetv2-a-0, which is not here"),
        ("imagenetv2-b-9", "a review of a revision that is not here"),
    }


def test_predictions_are_raw_and_aliases_are_stripped(data):
    found = {(p.dataset, p.model): p for p in data.predictions()}
    assert set(found) == {
        ("imagenetv2-a-1", "resnet50"),
        ("imagenetv2-a-1", "fv_16k"),
        ("imagenetv2-a-1", "alexnet"),
        ("imagenetv2-a-1", "twice"),
        ("imagenetv2-c-3", "resnet50"),
    }
    raw = found[("imagenetv2-a-1", "fv_16k")]
    assert raw.top.dtype == np.int64
    assert raw.top.tolist() == [[1, 0], [0, 1], [2, 1]]  # stored worst first, and left so
    assert raw.notes == ("the file is named fv_16k_model",)
    assert found[("imagenetv2-a-1", "alexnet")].top.tolist() == [[0, 1], [1, 0], [1, 2]]
    kinds = {(warning.kind, warning.file.split("/")[-1]) for warning in data.warnings if warning.file.startswith("predictions")}
    assert kinds == {
        ("duplicate_model", "alexnet_model.npy"),
        ("wrong_length", "short.npy"),
        ("class_index_out_of_range", "out_of_range.npy"),
        ("repeated_class", "twice.npy"),
        ("missing_revision", "resnet50.npy"),
    }


def hostile_arrays():
    class Evil:
        def __reduce__(self):
            return (print, ("executed",))

    return {
        "pickled objects": (np.array([[Evil()]], dtype=object), {"allow_pickle": True}),
        "floats": (np.zeros((3, 2)), {}),
        "one-dimensional": (np.zeros(3, dtype=np.int64), {}),
        "no columns": (np.zeros((3, 0), dtype=np.int64), {}),
    }


@pytest.mark.parametrize("array", hostile_arrays().values(), ids=hostile_arrays().keys())
def test_predictions_that_are_no_class_indices_are_left_out(tmp_path, array, capsys):
    folder = write_tree(tmp_path, with_arrays=False)
    place = folder / "data/predictions/imagenetv2-a-1/evil.npy"
    place.parent.mkdir(parents=True)
    np.save(place, array[0], **array[1])
    data = PublishedData(folder)
    assert list(data.predictions()) == []
    assert [warning.kind for warning in data.warnings if "evil" in warning.file] == ["malformed_file"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("shape", ["(99999999999, 5)", "(3, 5)", "(-3, -5)"])
def test_an_array_header_is_not_believed(tmp_path, shape):
    """A header may claim any shape; nothing is allocated before the length was compared."""
    folder = write_tree(tmp_path, with_arrays=False)
    header = f"{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    place = folder / "data/predictions/imagenetv2-a-1/x.npy"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + b"\0" * 40)
    data = PublishedData(folder)
    assert list(data.predictions()) == []
    assert [warning.kind for warning in data.warnings if warning.file.endswith("x.npy")] == ["malformed_file"]


def test_fortran_order_is_understood(tmp_path):
    folder = write_tree(tmp_path, with_arrays=False)
    array = np.asfortranarray(np.array([[0, 1], [1, 2], [2, 3]], dtype=np.int64))
    place = folder / "data/predictions/imagenetv2-a-1/x.npy"
    place.parent.mkdir(parents=True)
    np.save(place, array)
    (found,) = PublishedData(folder).predictions()
    assert found.top.tolist() == array.tolist()
