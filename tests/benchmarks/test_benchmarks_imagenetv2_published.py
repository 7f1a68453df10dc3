"""The part of the real repository that is kept beside the checkout: every count against straightforward counting."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter

import numpy as np
import pytest

from retest.benchmarks.imagenetv2 import Occurrence, PublishedData, submitter_of
from retest.records import Candidate, Split


@pytest.fixture(scope="module")
def data(published):
    return PublishedData(published)


@pytest.fixture(scope="module")
def raw(published):
    """Plain json.load of files below data/, by pattern: {file name: content}."""

    def load(pattern):
        return {path.name: json.loads(path.read_bytes()) for path in sorted((published / "data").glob(pattern))}

    return load


@pytest.fixture(scope="module")
def rows(raw):
    return [(file, row) for file, content in raw("search_results/*.json").items() for row in content]


@pytest.fixture(scope="module")
def hits(raw):
    return [(file, hit) for file, content in raw("mturk/hit_data_live/*.json").items() for hit in content]


@pytest.fixture(scope="module")
def records(data):
    return list(data.candidates())


def test_nothing_is_unrecognised_and_what_is_missing_is_known(data):
    assert data.inventory.unrecognised == ()
    assert data.inventory.missing == ("assignments", "neighbors")
    assert {key: len(paths) for key, paths in data.inventory.files.items() if len(paths) > 1} == {
        "search_results": 61,
        "hit_candidates": 10,
        "hits": 30,
        "revisions": 20,
        "class_reviews": 19,
        "predictions": 141,
    }


def test_candidates_and_duplicate_occurrences(records, rows):
    first = {}
    for file, row in rows:
        first.setdefault(row["id_ours"], (file, row))
    candidates = {record.id: record for record in records if isinstance(record, Candidate)}
    occurrences = [record for record in records if isinstance(record, Occurrence)]
    assert len(candidates) == len(first) == 17_701
    assert len(occurrences) == len(rows) - len(first) == 984
    assert len({occurrence.key for occurrence in occurrences}) == 984
    for candidate_id, (file, row) in first.items():
        candidate = candidates[candidate_id]
        assert (candidate.wnid, candidate.photo_id, candidate.url) == (row["wnid"], row["id_search_engine"], row["url"])
        assert (candidate.url_kind, candidate.search_key, candidate.query["file"]) == (row.get("url_type"), row["search_key"], file)
        assert candidate.width == (None if row["width"] is None else int(row["width"]))
        assert candidate.height == (None if row["height"] is None else int(row["height"]))
        assert candidate.query.get("batch") == row.get("batch")
    assert sum(record.record.wnid != first[record.record.candidate_id][1]["wnid"] for record in occurrences) == 111


def test_every_id_is_what_its_photo_says(data, records, rows):
    forms = Counter()
    for file, row in rows:
        plain = hashlib.sha1(f"{row['id_search_engine']}flickr".encode()).hexdigest()
        second = hashlib.sha1(f"{row['id_search_engine']},flickr,{row['wnid']}".encode()).hexdigest()
        forms[row["id_ours"] == plain, row["id_ours"] == second, "resolve_duplicates" in file] += 1
    assert forms == {(True, False, False): 17_441, (False, True, True): 1_244}
    assert "id_mismatch" not in data.warning_counts


def test_dates(data, records, rows):
    seen, unknown, outside = set(), 0, 0
    for _, row in rows:
        if row["id_ours"] in seen:
            continue
        seen.add(row["id_ours"])
        day = row["date_upload_search_engine"][:10]
        if day == "1969-12-31":
            unknown += 1
        elif day > row["max_uploaded_date"] or day < row.get("min_uploaded_date", ""):
            outside += 1
    assert data.warning_counts["unknown_date"] == unknown == 1
    assert data.warning_counts["outside_upload_window"] == outside == 2_282


def test_classes(data, raw):
    info = raw("metadata/class_info.json")["class_info.json"]
    similar = raw("metadata/wnid_to_most_similar_wnids.json")["wnid_to_most_similar_wnids.json"]
    pages = raw("metadata/wikipedia_pages.json")["wikipedia_pages.json"]
    classes = data.classes()
    assert len(classes) == 1000
    for entry, row in zip(classes, info, strict=True):
        assert (entry.cid, entry.wnid, list(entry.synset), entry.gloss) == (row["cid"], row["wnid"], row["synset"], row["gloss"])
        assert list(entry.most_similar) == similar[entry.wnid]
        assert list(entry.wikipedia_pages) == pages[entry.wnid]
    assert [w.message.split("'")[1] for w in data.warnings if w.kind == "ambiguous_name"] == ["crane", "maillot"]


def test_hits_and_controls(data, hits):
    read = list(data.hits())
    assert len(read) == len(hits) == 2_400
    assert [(hit.uuid, hit.file) for hit in read] == [(row["uuid"], file) for file, row in hits]
    for hit, (_, row) in zip(read, hits, strict=True):
        assert [list(getattr(hit, key)) for key in row if key.startswith("images")] == [row[key] for key in row if key.startswith("images")]
        assert (hit.wnid, hit.user, hit.time, hit.submitted) == (row["wnid"], row["user"], row["time"], row["submitted"])
    totals = {key: sum(len(row[key]) for _, row in hits) for key in ("images_to_label", "images_pos_control", "images_neg_control")}
    assert totals == {"images_to_label": 99_873, "images_pos_control": 7_488, "images_neg_control": 7_471}
    assert sum(len(hit.images_to_label) for hit in read) == 99_873
    assert Counter(submitter_of(hit.file) for hit in read) == {"vaishaal": 1_879, "becca": 521}
    forms = Counter(re.sub(r"\d", "9", hit.time)[26:] for hit in read)
    assert forms == {"": 1_761, "+99:99": 573, "-99:99": 66}  # the fourth form, +9999, is in a file that is not here
    assert not {"malformed_date", "not_a_permutation", "duplicate_image", "unusual_hit_size"} & data.warning_counts.keys()


def test_excluded_hits(data, raw, hits):
    ignored = {
        "2018-08-06_17:33_vaishaal.json",
        "2018-08-17_17:24_vaishaal.json",
        "vaishaal_hits_submitted_2018-08-17-18:28:33-PDT.json",
        "vaishaal_hits_submitted_2018-08-17-19:28:24-PDT.json",
        "vaishaal_hits_submitted_2018-08-25-09:47:26-PDT.json",
    }
    listed = raw("mturk/hit_blacklist_live.json")["hit_blacklist_live.json"]
    expected = set(listed) | {hit["uuid"] for file, hit in hits if file in ignored}
    read = {row.hit_uuid for row in data.hit_exclusions()}
    assert read == expected
    assert len(read) == 24
    assert {warning.item for warning in data.warnings if warning.kind == "unknown_hit"} == set(listed)  # their files are not here


def test_exclusions_near_duplicates_and_reviews(data, raw):
    exclusions = raw("metadata/candidate_blacklist.json")["candidate_blacklist.json"]
    assert {row.candidate_id: row.reason for row in data.exclusions()} == exclusions
    assert len(exclusions) == 31_337
    lists = raw("metadata/near_duplicates.json")["near_duplicates.json"]
    pairs = list(data.near_duplicates())
    assert pairs == [(image, other) for image, others in lists.items() for other in others]
    assert len(pairs) == 16_361
    assert data.warning_counts["self_loop"] == sum(first == second for first, second in pairs) == 4
    reviews = raw("metadata/nearest_neighbor_reviews_v2.json")["nearest_neighbor_reviews_v2.json"]
    read = list(data.neighbor_reviews())
    assert len(read) == sum(map(len, reviews.values())) == 8_019
    for row in read:
        entry = reviews[row.review.candidate_id][row.review.metric]
        assert (list(row.review.references), row.review.reviewer, row.review.time) == (
            entry["references"],
            entry["reviewer"],
            entry["date"],
        )
        assert row.threshold == entry.get("threshold")
    assert sum(row.threshold is not None for row in read) == 858
    assert list(data.resolution_overrides()) == ["15ff82dcf40eb6a12ea128a57e06fc938ef719a6"]


def test_the_small_neighbour_file(data, raw):
    content = raw("metadata/nearest_neighbor_results_test.json")["nearest_neighbor_results_test.json"]
    read = list(data.neighbors(test=True))
    assert [[n.reference, n.distance] for n in read[0].neighbors] == content[read[0].candidate_id]["l2"]
    assert len(read) == 15
    assert not {"not_ascending", "no_self_neighbor"} & data.warning_counts.keys()


def test_hand_made_lists(data):
    assert len(data.negative_classes()) == 69
    assert [w.item for w in data.warnings if w.kind == "negative_is_target"] == ["n01698640"]
    plans = list(data.additional_images())
    assert Counter((len(p.pos_control), len(p.candidates), len(p.neg_control)) for p in plans) == {(16, 16, 16): 248, (16, 14, 18): 1}
    assert data.class_thresholds() == {"sampling_thresholds_a.json": {"n03014705": 0.6, "n02090379": 0.6, "n03804744": 0.5}}


def test_hit_candidates(data, raw):
    content = raw("hit_candidates/*.json")
    assert {row.file: list(row.candidate_ids) for row in data.hit_candidates()} == content


def test_revisions_and_reviews(data, raw):
    content = raw("datasets/*.json")
    read = {revision.name: revision for revision in data.revisions()}
    assert {f"{name}.json" for name in read} == set(content)
    for name, revision in read.items():
        row = content[f"{name}.json"]
        assert [list(pair) for pair in revision.images] == row["image_filenames"]
        assert revision.is_valid == row.get("is_valid", True)
        assert (revision.seed, revision.user, revision.time) == (row["seed"], row["username"], row["time_string"])
        assert revision.starting_from == (row["starting_from"].removesuffix(".json") if "starting_from" in row else None)
        fields = {"sampling_function", "image_filenames", "is_valid", "seed", "username", "time_string", "starting_from"}
        assert dict(revision.parameters) == {key: value for key, value in row.items() if key not in fields}
    assert len(read["imagenetv2-b-33"].images) == 10_000
    reviews = raw("dataset_reviews/*.json")
    states = Counter((row.reviewed, row.problematic) for row in data.class_reviews())
    assert states == Counter((v["reviewed"], v["problematic"]) for content in reviews.values() for v in content.values())
    assert sum(states.values()) == 19_000


def test_predictions(data, published):
    sizes = Counter()
    for predictions in data.predictions():
        assert np.array_equal(predictions.top, np.load(published / "data" / predictions.file, allow_pickle=False))
        sizes[predictions.dataset, predictions.top.shape] += 1
        assert not predictions.model.endswith("_model")
    assert sizes == {
        ("imagenet-validation-original", (50_000, 5)): 47,
        ("imagenetv2-a-44", (10_000, 5)): 47,
        ("imagenetv2-b-33", (10_000, 5)): 47,
    }


def test_known_by_reference(data, published, raw, rows, hits):
    known = {row["id_ours"] for _, row in rows}
    classes: dict[str, set[str]] = {}
    for content in raw("datasets/*.json").values():
        for image, wnid in content["image_filenames"]:
            classes.setdefault(image, set()).add(wnid)
    for _, hit in hits:
        for image in hit["images_to_label"]:
            classes.setdefault(image, set()).add(hit["wnid"])
    for wnid, plan in raw("metadata/additional*.json")["additional_pos_val_images_for_20_per_wnid.json"].items():
        for image in plan["candidates"]:
            classes.setdefault(image, set()).add(wnid)
    # Whatever looks like a candidate id anywhere in any other file.
    files = [path for path in (published / "data").rglob("*.json") if path.parent.name != "search_results"]
    everywhere = {image for path in files for image in re.findall(r'"([0-9a-f]{40})"', path.read_text())}
    read = {row.id: row for row in data.referenced_candidates()}
    assert set(read) == everywhere - known
    assert len(read) == 107_964
    for image, row in read.items():
        assert (row.wnid in classes[image]) if image in classes else row.wnid is None
    assert sum(row.wnid is None for row in read.values()) == len(set(read) - set(classes)) == 25_464


def test_originals(data, raw):
    validation = dict(raw("datasets/imagenet-validation-original.json")["imagenet-validation-original.json"]["image_filenames"])
    read = {image.id: image for image in data.original_images()}
    assert {name: image.wnid for name, image in read.items() if image.split is Split.VAL} == validation
    assert {image.wnid for image in read.values() if image.split is Split.TEST} == {None}
    assert all(image.wnid == image.id.split("_")[0] for image in read.values() if image.split is Split.TRAIN)
    assert Counter(image.split for image in read.values())[Split.VAL] == 50_000


def test_all_warnings_are_of_known_kinds(data):
    data.negative_classes()
    data.check()
    assert data.warning_counts == {
        "outside_upload_window": 2_282,
        "class_differs": 678,
        "unknown_hit": 4,
        "self_loop": 4,
        "missing_revision": 4,
        "ambiguous_name": 2,
        "unequal_lists": 1,
        "negative_is_target": 1,
        "unknown_date": 1,
    }
    assert {w.message.split()[2].rstrip(",") for w in data.warnings if w.kind == "missing_revision"} == {
        "imagenetv2-a-39",
        "imagenetv2-a-4",
        "imagenetv2-b-28",
        "imagenetv2-c-7",
    }
