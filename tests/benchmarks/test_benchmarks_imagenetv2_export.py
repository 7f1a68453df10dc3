"""Writing the layout back: reading it again gives equal records, and the real files come back byte for byte."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layout_tree import WNIDS, A, B, C, reference_id, val, write_tree

from retest.benchmarks.imagenetv2 import (
    AdditionalImages,
    HitCandidates,
    HitExclusion,
    LayoutContent,
    Neighbors,
    Occurrence,
    PublishedData,
    PublishedReview,
    RawPredictions,
    export_layout,
    writers,
)
from retest.errors import InputError
from retest.records import (
    Assignment,
    AssignmentStatus,
    Candidate,
    ClassInfo,
    ClassReview,
    DuplicateOccurrence,
    Exclusion,
    Hit,
    Neighbor,
    NeighborReview,
    Revision,
)


def records(data):
    """Everything that a tree says, in a form that can be compared."""
    rows = list(data.candidates())
    return {
        "classes": data.classes(),
        "candidates": [row for row in rows if isinstance(row, Candidate)],
        "occurrences": [row for row in rows if isinstance(row, Occurrence)],
        "exclusions": sorted(data.exclusions(), key=lambda row: row.candidate_id),
        "hit_candidates": list(data.hit_candidates()),
        "hits": list(data.hits()),
        "hit_exclusions": sorted(data.hit_exclusions(), key=lambda row: row.hit_uuid),
        "assignments": sorted(data.assignments(hash_worker=lambda worker: f"hash of {worker}"), key=lambda row: row.id),
        "negative_classes": data.negative_classes(),
        "additional_images": list(data.additional_images()),
        "neighbors": list(data.neighbors()),
        "neighbor_reviews": list(data.neighbor_reviews()),
        "near_duplicates": sorted(data.near_duplicates()),
        "resolution_overrides": list(data.resolution_overrides()),
        "class_thresholds": data.class_thresholds(),
        "revisions": list(data.revisions()),
        "class_reviews": list(data.class_reviews()),
        "predictions": sorted((row.dataset, row.model, row.top.tolist()) for row in data.predictions()),
        "referenced": list(data.referenced_candidates()),
        "originals": list(data.original_images()),
    }


def test_a_tree_with_every_trap_comes_back_equal(tmp_path):
    original = PublishedData(write_tree(tmp_path / "tree"))
    content = original.content(hash_worker=lambda worker: f"hash of {worker}")
    export_layout(content, tmp_path / "out")
    again = PublishedData(tmp_path / "out")
    assert records(again) == records(original)
    # And once more: the second export writes the same bytes as the first.
    export_layout(again.content(hash_worker=str), tmp_path / "out2")
    first = {path.relative_to(tmp_path / "out"): path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    second = {path.relative_to(tmp_path / "out2"): path.read_bytes() for path in (tmp_path / "out2").rglob("*") if path.is_file()}
    assert second == first


def test_the_real_files_come_back_byte_for_byte(published, tmp_path):
    content = PublishedData(published).content()
    # The 90 MB of the original set's predictions are like the others.
    predictions = (row for row in content.predictions if row.dataset != "imagenet-validation-original")
    written = export_layout(replace(content, predictions=predictions), tmp_path)
    compared = 0
    for path in written:
        original = published / path
        if "search_results" in path or not original.exists():
            continue
        assert (tmp_path / path).read_bytes().strip() == original.read_bytes().strip(), path
        compared += 1
    assert compared == 183
    names = {path.relative_to(published).as_posix() for path in (published / "data").rglob("*.*")}
    names = {name for name in names if "predictions/imagenet-validation-original" not in name}
    # One model's file loses its alias; the test file of neighbours is no part of a study.
    assert names - set(written) == {"data/metadata/nearest_neighbor_results_test.json", "data/predictions/imagenetv2-a-44/fv_64k_model.npy"}
    assert set(written) - names == {"data/predictions/imagenetv2-a-44/fv_64k.npy"}


def test_real_candidates_come_back_equal(published, tmp_path):
    content = PublishedData(published).content()
    export_layout(LayoutContent(candidates=content.candidates, occurrences=content.occurrences), tmp_path)

    def split(data):
        rows = list(data.candidates())
        return [r for r in rows if isinstance(r, Candidate)], [r for r in rows if isinstance(r, Occurrence)]

    assert split(PublishedData(tmp_path)) == split(PublishedData(published))


def own_study():
    """What a study of one's own holds: no file names, further fields, names like the published traps."""
    candidates = [
        Candidate(
            reference_id("1folder"),
            "cat",
            "folder",
            "1",
            "file:///1.jpg",
            license="CC-BY",
            owner="me",
            query={"term": "cat", "url": "x", "query": 1},
        ),
        Candidate(reference_id("2folder"), "dog", "folder", "2", "", title="Ein Hund äöü", source_page="https://x", query={"file": 7}),
    ]
    hit = Hit(
        "u9",
        "cat",
        (candidates[0].id,),
        ("val/cat/1.jpg",),
        ("val/dog/1.jpg",),
        ("val/dog/1.jpg", candidates[0].id, "val/cat/1.jpg"),
        "me",
        "t",
    )
    revision = Revision(
        "study-b-0",
        "sample_wnid_histogram",
        ((candidates[0].id, "cat"),),
        False,
        3,
        {"zeta": 1, "histogram_bins": [0.2]},
        "study-a-1",
        "me",
        "t",
    )
    return LayoutContent(
        classes=[ClassInfo("cat", 0, ("cat",), "animal", ("feline",), ("u",), ("cat", "dog")), ClassInfo("dog", 1, ("dog",))],
        candidates=candidates,
        occurrences=[DuplicateOccurrence(candidates[0].id, "folder", "1", "dog", "again", None)],
        exclusions=[Exclusion(candidates[1].id, "drawing", "by hand", "me", "2026"), Exclusion(candidates[0].id, "Too big")],
        hit_candidates=[HitCandidates("candidates_for_hit_1.json", (candidates[0].id,))],
        hits=[hit, replace(hit, uuid="u10", file="2018-08-06_17:33_vaishaal.json", submitted=True, hit_id="H", hit_type_id="T")],
        hit_exclusions=[
            HitExclusion("u9", "in a file that the main collection ignores"),
            HitExclusion("u10", "in a file that the main collection ignores"),
        ],
        assignments=[Assignment("a1", "u9", "hash", AssignmentStatus.REJECTED, (candidates[0].id,), "t1", None)],
        negative_classes={"cat": "dog"},
        additional_images=[AdditionalImages("cat", ("p",), (candidates[0].id,), ("n",))],
        neighbors=[
            Neighbors(candidates[0].id, m, (Neighbor(candidates[0].id, 0.0), Neighbor("val/cat/1.jpg", 0.1 + 0.2))) for m in ("l2", "dssim")
        ],
        neighbor_reviews=[PublishedReview(NeighborReview(candidates[0].id, "l2", ("val/cat/1.jpg",), (), "me", "t"), 0.5)],
        near_duplicates=[(candidates[0].id, "val/cat/1.jpg"), (candidates[0].id, candidates[1].id)],
        resolution_overrides=[candidates[1].id],
        class_thresholds={"sampling_thresholds_a.json": {"cat": 0.6}},
        revisions=[revision, replace(revision, name="v", sampling_function="sample_val_dummy", is_valid=True, starting_from=None)],
        class_reviews=[ClassReview("study-b-0", "cat", True, False)],
        predictions=[RawPredictions("study-b-0", "my_model", "predictions/study-b-0/my_model_model.npy", np.array([[1, 0]]))],
    )


def test_a_study_of_ones_own_comes_back_equal(tmp_path):
    study = own_study()
    export_layout(study, tmp_path)
    data = PublishedData(tmp_path)
    found = records(data)
    assert {info.wnid: info for info in found["classes"]} == {info.wnid: info for info in study.classes}
    assert found["candidates"] == study.candidates
    assert [row.record for row in found["occurrences"]] == study.occurrences
    assert found["exclusions"] == sorted(study.exclusions, key=lambda row: row.candidate_id)
    assert sorted(found["hits"], key=lambda hit: hit.uuid) == sorted(study.hits, key=lambda hit: hit.uuid)
    assert found["hit_exclusions"] == sorted(study.hit_exclusions, key=lambda row: row.hit_uuid)
    assert found["assignments"] == study.assignments
    assert found["neighbors"] == study.neighbors
    assert found["neighbor_reviews"] == study.neighbor_reviews
    assert found["near_duplicates"] == sorted(study.near_duplicates)
    assert found["revisions"] == study.revisions
    assert found["class_reviews"] == study.class_reviews
    assert found["predictions"] == [("study-b-0", "my_model", [[1, 0]])]
    for name in ("hit_candidates", "negative_classes", "additional_images", "resolution_overrides", "class_thresholds"):
        assert found[name] == getattr(study, name), name


def test_a_candidate_of_no_file_stays_before_its_occurrences(tmp_path):
    """On reading the first record wins: the candidate's own file must sort before those of its occurrences, whatever they are."""
    own = Candidate(A, WNIDS[0], "flickr", "101", "https://own")
    imported = Candidate(B, WNIDS[0], "flickr", "102", "https://imported", query={"file": "2018-09-09_b.json"})
    occurrences = [
        DuplicateOccurrence(A, "flickr", "101", WNIDS[1], "later", "2018-09-09_b.json"),
        DuplicateOccurrence(B, "flickr", "102", WNIDS[1], "later", None),
    ]
    export_layout(LayoutContent(candidates=[imported, own], occurrences=occurrences), tmp_path)
    rows = list(PublishedData(tmp_path).candidates())
    assert {row.id: row for row in rows if isinstance(row, Candidate)} == {A: own, B: imported}
    assert [row.record for row in rows if isinstance(row, Occurrence)] == occurrences


def test_published_records_have_no_keys_of_ours(published):
    candidates = [row for row in PublishedData(published).candidates() if isinstance(row, Candidate)]
    known = {key for path in (published / "data/search_results").glob("*.json") for row in json.loads(path.read_bytes()) for key in row}
    assert {key for rows in writers.search_results_json(candidates).values() for row in rows for key in row} == known


def test_hits_excluded_by_their_file_are_not_listed_again(tmp_path):
    export_layout(own_study(), tmp_path)
    listed = json.loads((tmp_path / "data/mturk/hit_blacklist_live.json").read_text())
    assert set(listed) == {"u9"}


def test_candidates_known_by_reference_are_not_written(tmp_path):
    tree = PublishedData(write_tree(tmp_path / "tree"))
    known = [row.as_candidate() for row in tree.referenced_candidates()]
    assert len(known) > 40
    assert writers.search_results_json(known) == {}


def test_a_pair_listed_from_the_original_is_turned_round():
    pairs = [(val(1), A), (B, C), (B, A), (val(1), val(2)), (A, B)]
    assert writers.near_duplicates_json(pairs) == {A: [val(1), B], B: [C, A], val(1): [val(2)]}


def test_nothing_to_write_writes_nothing(tmp_path):
    assert export_layout(LayoutContent(), tmp_path / "out") == []


def test_a_folder_that_is_not_empty_is_refused(tmp_path):
    (tmp_path / "x").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        export_layout(own_study(), tmp_path)


@pytest.mark.parametrize("name", ["../evil", "a/b", "", ".hidden", "a\\b", "a\0b"])
def test_names_that_would_leave_the_folder_are_refused(tmp_path, name):
    revision = Revision(name, "sample_best", (), True, 0)
    with pytest.raises(InputError, match="cannot be a file name"):
        export_layout(LayoutContent(revisions=[revision]), tmp_path / "out")
    assert not (tmp_path / "evil.json").exists()


def test_a_file_name_from_a_candidate_may_not_leave_the_folder(tmp_path):
    candidate = Candidate(A, WNIDS[0], "flickr", "101", "", query={"file": "../../evil.json"})
    with pytest.raises(InputError, match="cannot be a file name"):
        export_layout(LayoutContent(candidates=[candidate]), tmp_path / "out")


TEXT = st.text(st.characters(blacklist_categories=("Cs",)), max_size=8)
JSON = st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | TEXT, lambda inner: st.lists(inner, max_size=2), max_leaves=3)
OPTIONAL = st.none() | TEXT


@st.composite
def candidates_strategy(draw):
    photo, engine, wnid = draw(TEXT), draw(TEXT), draw(st.sampled_from(["cat", "dog"]))
    query = draw(
        st.dictionaries(st.sampled_from(["url", "width", "query", "file", "term", "license", "id_ours", "batch"]), JSON, max_size=4)
    )
    if isinstance(query.get("file"), str):
        query["file"] = draw(st.sampled_from(["2018_a.json", "2018_b.json"]))
    date = st.none() | st.sampled_from(["2012-07-11 00:00:00", "2013"])
    size = st.none() | st.integers(1, 10**6)
    return Candidate(
        reference_id(f"{photo}{engine}"),
        wnid,
        engine,
        photo,
        draw(TEXT),
        draw(OPTIONAL),
        draw(OPTIONAL),
        draw(OPTIONAL),
        draw(date),
        draw(date),
        draw(date),
        draw(size),
        draw(size),
        draw(OPTIONAL),
        draw(OPTIONAL),
        draw(OPTIONAL),
        draw(OPTIONAL),
        query,
    )


@settings(deadline=None, max_examples=60)
@given(st.lists(candidates_strategy(), max_size=4, unique_by=lambda candidate: candidate.id))
def test_any_candidates_come_back_equal(tmp_path_factory, candidates):
    folder = tmp_path_factory.mktemp("out")
    export_layout(LayoutContent(classes=[ClassInfo("cat", 0), ClassInfo("dog", 1)], candidates=candidates), folder)
    found = list(PublishedData(folder).candidates())
    assert {row.id: row for row in found} == {row.id: row for row in candidates}


@settings(deadline=None, max_examples=60)
@given(
    st.builds(
        Revision,
        st.just("x"),
        st.sampled_from(["sample_best", "sample_val_dummy"]),
        st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple),
        st.booleans(),
        st.integers(-(2**40), 2**40),
        st.dictionaries(st.sampled_from(["target_size", "wnid_thresholds", "output_filename", "own"]), JSON, max_size=4),
        st.none() | st.sampled_from(["y", "imagenetv2-a-3"]),
        TEXT,
        TEXT,
    )
)
def test_any_revision_comes_back_equal(tmp_path_factory, revision):
    folder = tmp_path_factory.mktemp("out")
    export_layout(LayoutContent(revisions=[revision]), folder)
    assert list(PublishedData(folder).revisions()) == [revision]
