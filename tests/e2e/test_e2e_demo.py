"""The reduced demo's figures against what plain code finds in its raw database, blobs and files."""

from __future__ import annotations

import base64
import csv
import hashlib
import html
import io
import json
import math
import re
from collections import Counter
from contextlib import closing

import literal_resolution
import literal_sampling
import numpy as np
import pyarrow.parquet as pq
import pytest
from e2e_demo_run import DemoRun, run_small_demo
from PIL import Image
from scipy import stats
from skimage.metrics import structural_similarity

from retest.stages import duplicates
from retest.study import open_study
from retest.testing.database import canonical_dump, canonical_predictions, differences

pytestmark = pytest.mark.xdist_group("demo")

PER_CLASS = 6
SETS = {"digits-a-1": "sample_above_threshold", "digits-b-1": "sample_wnid_histogram", "digits-c-1": "sample_best"}
TARGETS = {"l2": 5.0e6, "dssim": 0.06, "mlp": 60.0}
WNIDS = [str(digit) for digit in range(10)]


# ---------------------------------------------------------------------------------------------------- candidates and images


def test_every_file_of_the_pool_is_one_candidate(demo: DemoRun):
    files = {path.relative_to(demo.out / "digits/pool").as_posix() for path in (demo.out / "digits/pool").rglob("*") if path.is_file()}
    assert {photo for _, _, (_, photo) in demo.candidates} == files
    assert len(demo.candidates) == len(files) == 263
    for identifier, wnid, (source, photo) in demo.candidates:
        assert identifier == hashlib.sha1(f"{photo}{source}".encode()).hexdigest()
        assert (source, wnid) == ("folder", photo.split("/")[0])


def test_the_broken_files_are_excluded_each_with_its_reason(demo: DemoRun):
    broken = [entry["file"] for entry in demo.planted if entry["kind"] == "broken file"]
    expected = {}
    for file in broken:
        data = (demo.out / "digits/pool" / file).read_bytes()
        expected[hashlib.sha1(f"{file}folder".encode()).hexdigest()] = (
            "empty" if not data else "html" if data.startswith(b"<!DOCTYPE") else "truncated"
        )
    assert sorted(expected.values()) == ["empty", "html", "truncated"]
    assert demo.excluded == expected
    assert dict(demo.rows("SELECT image_id, reason FROM image_problems")) == expected
    assert all(detail for detail in demo.rows("SELECT detail FROM exclusions"))


def test_every_other_image_has_three_variants_of_the_right_sizes(demo: DemoRun):
    usable = set(demo.originals) | {i for i, _, _ in demo.candidates} - set(demo.excluded)
    rows = demo.rows("SELECT image_id, variant, blob_key, sha256, size_bytes, width, height FROM variants")
    sizes = {"original": (64, 64), "scaled_160": (160, 160), "scaled_64": (64, 64)}
    assert {(image, variant) for image, variant, *_ in rows} == {(image, variant) for image in usable for variant in sizes}
    for _, variant, key, sha256, size, width, height in rows:
        data = (demo.study / "blobs" / key).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (size, sha256)
        picture = Image.open(io.BytesIO(data))
        assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", sizes[variant])
        assert (width, height) == sizes[variant]


def test_variants_show_the_picture_of_the_source(demo: DemoRun):
    sources = {image: demo.out / "digits/original" / image for image in demo.originals}
    sources |= {i: demo.out / "digits/pool" / photo for i, _, (_, photo) in demo.candidates if i not in demo.excluded}
    for image, path in sources.items():
        source = np.asarray(Image.open(path).convert("RGB"), float)
        for variant in ("original", "scaled_64"):
            stored = np.asarray(Image.open(io.BytesIO(demo.blob(variant, image))), float)
            assert np.abs(stored - source).mean() < 4, (image, variant)


def test_opaque_copies_are_what_annotators_see_and_nothing_more(demo: DemoRun):
    names = dict(demo.rows("SELECT image_id, name FROM opaque_names"))
    assert set(names) == set(demo.rows("SELECT DISTINCT image_id FROM variants"))
    public = {path.stem: path for path in (demo.study / "blobs/public").rglob("*") if path.is_file()}
    assert set(public) == set(names.values())
    for image, name in names.items():
        data = public[name].read_bytes()
        assert data == demo.blob("scaled_160", image)
        picture = Image.open(io.BytesIO(data))
        assert not picture.getexif()
        assert set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}, picture.info


def test_opaque_names_say_nothing_of_the_image(demo: DemoRun):
    names = dict(demo.rows("SELECT image_id, name FROM opaque_names"))
    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in names.values())
    for image, name in names.items():
        plain = [hashlib.new(kind, image.encode(), usedforsecurity=False).hexdigest() for kind in ("md5", "sha1", "sha256", "sha512")]
        assert not any(name in digest for digest in [*plain, image])
    # No walking: neighbours by id are not neighbours by name; no sorting apart of originals and candidates.
    ids = sorted(names)
    value = {image: int(name, 16) / 2**128 for image, name in names.items()}
    assert abs(stats.spearmanr(range(len(ids)), [value[image] for image in ids]).statistic) < 0.15
    originals = [value[image] for image in ids if image in demo.originals]
    candidates = [value[image] for image in ids if image not in demo.originals]
    assert stats.ks_2samp(originals, candidates).pvalue > 1e-3
    assert stats.kstest(originals + candidates, "uniform").pvalue > 1e-3


# ------------------------------------------------------------------------------------------------------------------- labels


def asks_about_candidates(demo: DemoRun, hit: dict) -> bool:
    kinds = {image in demo.originals for image in hit["images_to_label"]}
    assert len(kinds) == 1
    return kinds == {False}


def test_every_hit_obeys_the_rules(demo: DemoRun):
    wnid_of = {i: wnid for i, wnid, _ in demo.candidates}
    for hit in demo.hits:
        wnid, to_label, positive, negative = hit["wnid"], hit["images_to_label"], hit["images_pos_control"], hit["images_neg_control"]
        extra = 10 - len(to_label)
        assert (len(positive), len(negative)) == (3 + math.ceil(extra / 2), 3 + extra // 2)
        assert sorted(hit["images_all"]) == sorted(to_label + positive + negative)
        assert len(set(hit["images_all"])) == 16
        assert {demo.originals[image] for image in positive} == {("val", wnid)}
        assert demo.similar[wnid][0] == wnid
        assert {demo.originals[image] for image in negative} == {("val", demo.similar[wnid][1])}
        if asks_about_candidates(demo, hit):
            assert {wnid_of[image] for image in to_label} == {wnid}
        else:
            assert {demo.originals[image] for image in to_label} == {("val", wnid)}
        assert hit["images_all"] != to_label + positive + negative  # shuffled
        assert hit["assignments"] == 10
    shown = {(image, no) for image, no in demo.rows("SELECT image_id, hit_no FROM hit_images")}
    assert shown == {(image, hit["no"]) for hit in demo.hits for image in hit["images_all"]}


def test_everything_that_needs_answers_is_asked_about_in_as_few_hits_as_possible(demo: DemoRun):
    for wnid in WNIDS:
        hits = [hit for hit in demo.hits if hit["wnid"] == wnid]
        first = [hit for hit in hits if asks_about_candidates(demo, hit)]
        second = [hit for hit in hits if not asks_about_candidates(demo, hit)]
        candidates = {i for i, of, _ in demo.candidates if of == wnid and i not in demo.excluded}
        # Ten answers come for every control already; only the other validation images are asked about.
        controls = {image for hit in first for image in hit["images_pos_control"]}
        originals = {i for i, (split, of) in demo.originals.items() if (split, of) == ("val", wnid)} - controls
        for asked, due in ((first, candidates), (second, originals)):
            images = Counter(image for hit in asked for image in hit["images_to_label"])
            assert set(images) == due
            assert len(asked) == math.ceil(len(due) / 10)
            assert images.total() == (10 * len(asked) if len(asked) > 1 else len(due))
            assert max(images.values()) <= 2  # topped up without replacement


def test_every_hit_has_ten_answers_of_ten_simulated_annotators(demo: DemoRun):
    by_uuid = {hit["uuid"]: hit for hit in demo.hits}
    workers: dict[str, list[str]] = {}
    for answer in demo.answers:
        workers.setdefault(answer["hit_uuid"], []).append(answer["worker"])
        assert set(answer["selected"]) <= set(by_uuid[answer["hit_uuid"]]["images_all"])
        assert answer["worker"].startswith("simulated")
        assert answer["status"] == "Submitted"
    assert set(workers) == set(by_uuid)
    assert all(len(names) == len(set(names)) == 10 for names in workers.values())
    assert demo.rows("SELECT DISTINCT submitted, crowd FROM hits") == [(1, "simulated crowd (seed 1)")]


def test_selection_frequencies_follow_from_the_raw_answers(demo: DemoRun):
    stored = {(i, w): (n, k) for i, w, n, k in demo.rows("SELECT image_id, wnid, num_assignments, num_selected FROM selection_frequencies")}
    assert stored == demo.frequencies
    assert len(stored) > 400


def test_the_crowd_sees_the_difference(demo: DemoRun):
    """Positive controls are selected and negative ones are not: frequencies mean something."""
    share = {key: selected / shown for key, (shown, selected) in demo.frequencies.items()}
    own = [share[i, wnid] for (i, wnid) in share if demo.originals.get(i) == ("val", wnid)]
    other = [value for (i, wnid), value in share.items() if i in demo.originals and demo.originals[i] != ("val", wnid)]
    assert np.mean(own) > 0.75
    assert np.mean(other) < 0.25
    wrong = {hashlib.sha1(f"{e['file']}folder".encode()).hexdigest() for e in demo.planted if e["kind"] == "wrong class"}
    assert np.mean([value for (i, _), value in share.items() if i in wrong]) < 0.4


# ---------------------------------------------------------------------------------------------------------- near-duplicates


@pytest.fixture(scope="session")
def pixels(demo: DemoRun) -> dict[str, np.ndarray]:
    """Image -> compare variant, float64 (64, 64, 3), decoded by Pillow."""
    rows = demo.rows("SELECT image_id, blob_key FROM variants WHERE variant = 'scaled_64'")
    return {i: np.asarray(Image.open(demo.study / "blobs" / key).convert("RGB"), np.float64) for i, key in rows}


def nearest(query: str, distances: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(distances.items(), key=lambda item: (item[1], item[0]))[:30]


def test_l2_neighbours_by_brute_force(demo: DemoRun, pixels: dict[str, np.ndarray]):
    ids = sorted(pixels)
    vectors = np.stack([pixels[image].ravel() for image in ids])
    norms = (vectors**2).sum(axis=1)
    usable = sorted(i for i, _, _ in demo.candidates if i not in demo.excluded)
    rows = [ids.index(image) for image in usable]
    # Whole numbers far below 2**53: exact in float64.
    distances = norms[rows][:, None] + norms[None] - 2 * vectors[rows] @ vectors.T
    assert set(demo.neighbors["l2"]) == set(usable)
    for image, found in zip(usable, distances, strict=True):
        assert demo.neighbors["l2"][image] == nearest(image, dict(zip(ids, found.tolist(), strict=True)))


def test_dssim_neighbours_by_scikit_image(demo: DemoRun, pixels: dict[str, np.ndarray]):
    usable = {i: wnid for i, wnid, _ in demo.candidates if i not in demo.excluded}
    assert set(demo.neighbors["dssim"]) == set(usable)
    marked = sorted({first for first, _ in demo.pairs})
    for image in [*sorted(usable)[::90], marked[0]]:
        near = demo.similar[usable[image]][:6]  # the class itself and its five most similar classes
        references = [i for i, (split, wnid) in demo.originals.items() if split == "val" or wnid in near] + list(usable)
        distances = {
            i: (1 - structural_similarity(pixels[image], pixels[i], win_size=9, data_range=255, channel_axis=2)) / 2 for i in references
        }
        expected = nearest(image, distances)
        stored = demo.neighbors["dssim"][image]
        assert [distance for _, distance in stored] == pytest.approx([distance for _, distance in expected], rel=1e-9, abs=1e-12)
        assert all(distances[i] == pytest.approx(distance, rel=1e-9, abs=1e-12) for i, distance in stored)
        assert len({i for i, _ in stored}) == 30


def test_feature_neighbours_by_brute_force(demo: DemoRun):
    (info,) = demo.rows("SELECT info FROM completions WHERE stage = 'features'")
    files = {path.stem: path for path in (demo.study / "blobs/features").rglob("*.npy")}
    features: dict[str, np.ndarray] = {}
    for ids, digest in json.loads(info)["blocks"]:
        features |= dict(zip(ids, np.load(files[digest]).astype(np.float64), strict=True))
    assert set(features) == set(demo.rows("SELECT DISTINCT image_id FROM variants"))
    everything = np.stack([features[i] for i in sorted(features)])
    for image, stored in demo.neighbors["mlp"].items():
        distances = ((everything - features[image]) ** 2).sum(axis=1)
        assert [d for _, d in stored] == pytest.approx(np.sort(distances)[:30].tolist(), rel=1e-5, abs=1e-4)
        assert [d for _, d in stored] == pytest.approx(
            [((features[i] - features[image]) ** 2).sum() for i, _ in stored], rel=1e-5, abs=1e-4
        )


def shown_to_reviewers(demo: DemoRun, metric: str, candidate: str) -> set[str]:
    """What the method would show a reviewer who has reviewed nothing yet."""
    photos = {i: photo for i, _, photo in demo.candidates}
    return {
        reference
        for reference, distance in demo.neighbors[metric][candidate][:30]
        if distance <= TARGETS[metric]
        and reference != candidate
        and photos.get(reference) != photos[candidate]
        and reference not in demo.excluded
    }


def test_everything_due_was_reviewed_and_nothing_else(demo: DemoRun):
    for metric in TARGETS:
        due = {candidate: shown_to_reviewers(demo, metric, candidate) for candidate in demo.neighbors[metric]}
        assert {candidate: shown for candidate, shown in due.items() if shown} == demo.reviewed[metric]
    with closing(open_study(demo.study)) as study:
        assert duplicates.queue(study).items == ()


def test_the_simulated_reviewer_knows_nothing_but_distances(demo: DemoRun):
    distances = {(m, q, r): d for m, lists in demo.neighbors.items() for q, found in lists.items() for r, d in found}
    rows = demo.rows("SELECT metric, candidate_id, reference, near_duplicate, reviewer FROM reviewed_neighbors")
    for metric in TARGETS:
        yes = [distances[m, q, r] for m, q, r, near, _ in rows if m == metric and near]
        no = [distances[m, q, r] for m, q, r, near, _ in rows if m == metric and not near]
        assert yes
        assert max(yes) < min(no, default=math.inf)
    assert {reviewer for *_, reviewer in rows} == {"simulated-reviewer"}
    assert demo.pairs == {(q, r) for _, q, r, near, _ in rows if near}


def literal_thresholds(demo: DemoRun) -> dict[str, dict[str, float]]:
    photos = {i: photo for i, _, photo in demo.candidates}
    found: dict[str, dict[str, float]] = {}
    for metric, lists in demo.neighbors.items():
        for candidate, neighbors in lists.items():
            waiting = [
                distance
                for reference, distance in neighbors[:30]
                if reference != candidate
                and photos.get(reference) != photos[candidate]
                and reference not in demo.reviewed[metric].get(candidate, set())
            ]
            found.setdefault(candidate, {})[metric] = min(waiting, default=1e100)
    return found


def test_review_thresholds(demo: DemoRun):
    stored: dict[str, dict[str, float]] = {}
    for candidate, metric, value in demo.rows("SELECT candidate_id, metric, threshold FROM review_thresholds"):
        stored.setdefault(candidate, {})[metric] = value
    assert stored == literal_thresholds(demo)


def literal_outcome(demo: DemoRun) -> dict[str, tuple[bool, list[str]]]:
    candidates = []
    for i, wnid, photo in demo.candidates:
        shown, selected = demo.frequencies.get((i, wnid), (0, 0))
        frequency = selected / shown if shown else None
        candidates.append({"id": i, "wnid": wnid, "photo": photo, "frequency": frequency, "excluded": i in demo.excluded})
    outcome = literal_resolution.resolve_literally(candidates, demo.pairs, set(demo.originals), set())
    assert outcome != "error"
    return outcome


def test_resolution_by_the_literal_rules(demo: DemoRun):
    outcome = literal_outcome(demo)
    rows = demo.rows("SELECT candidate_id, near_duplicate, component, reason FROM resolutions")
    assert {i: bool(near) for i, near, _, _ in rows} == {i: near for i, (near, _) in outcome.items()}
    components: dict[str, set[str]] = {}
    for i, _, component, reason in rows:
        components.setdefault(component, set()).add(i)
        assert reason
    assert {frozenset(members) for members in components.values()} == {
        frozenset(i for i in members if i not in demo.originals) for _, members in outcome.values()
    }


def test_recall_and_precision_of_what_was_planted(demo: DemoRun):
    component = {member: min(members) for _, members in literal_outcome(demo).values() for member in members}

    def name(file: str) -> str:
        return file if file in demo.originals else hashlib.sha1(f"{file}folder".encode()).hexdigest()

    copies = [(entry["kind"], name(entry["file"]), name(entry["source"])) for entry in demo.planted if entry["source"]]
    planted = Counter(kind for kind, _, _ in copies)
    found = Counter(kind for kind, copy, source in copies if copy in component and component[copy] == component.get(source))
    marked = {i for i, (near, _) in literal_outcome(demo).items() if near}
    truth = {copy for _, copy, _ in copies} | {source for _, _, source in copies}
    check = demo.result.planted
    assert {kind.kind: (kind.planted, kind.found) for kind in check.kinds} == {kind: (planted[kind], found[kind]) for kind in planted}
    assert (check.marked, check.correct) == (len(marked), len(marked & truth))
    assert planted == {"exact copy": 8, "shifted copy": 4, "re-encoded copy": 4, "brightened copy": 4}
    assert found["exact copy"] == 8
    assert sum(found.values()) >= 18
    assert len(marked & truth) / len(marked) > 0.5


# ------------------------------------------------------------------------------------------------------------ the test sets


def literal_sets(demo: DemoRun) -> dict[str, tuple[list[tuple[str, str]], bool]]:
    """The three sets by the literal transcription of the rules, from raw answers, neighbours and reviews."""
    near = {i for i, (is_near, _) in literal_outcome(demo).items() if is_near}
    thresholds = literal_thresholds(demo)

    def facts(i: str, wnid: str) -> dict:
        shown, selected = demo.frequencies.get((i, wnid), (0, 0))
        return {"id": i, "wnid": wnid, "f": selected / shown if shown else 0.0, "n": shown}

    candidates = [
        {**facts(i, wnid), "excluded": i in demo.excluded, "duplicate": i in near, "thresholds": thresholds.get(i, {})}
        for i, wnid, _ in demo.candidates
    ]
    originals = [facts(i, wnid) for i, (split, wnid) in demo.originals.items() if split == "val"]
    common = (candidates, WNIDS, PER_CLASS)
    return {
        "digits-a-1": literal_sampling.above_threshold(*common, 100, 0.7, {}, 10, TARGETS, []),
        "digits-b-1": literal_sampling.wnid_histogram(candidates, originals, WNIDS, PER_CLASS, 101, 10, 10, 20, TARGETS, True, []),
        "digits-c-1": literal_sampling.best(*common, 102, 10, TARGETS, []),
    }


@pytest.mark.parametrize("name", SETS)
def test_a_revision_is_what_the_literal_rules_sample(demo: DemoRun, name: str):
    images = demo.rows("SELECT image_id, wnid FROM revision_images WHERE revision = ? ORDER BY position", name)
    ((function, valid),) = demo.rows("SELECT sampling_function, is_valid FROM revisions WHERE name = ?", name)
    assert (images, bool(valid)) == literal_sets(demo)[name]
    assert function == SETS[name]
    assert Counter(wnid for _, wnid in images) == dict.fromkeys(WNIDS, PER_CLASS)
    assert demo.rows("SELECT wnid, reviewed, problematic FROM class_reviews WHERE revision = ? ORDER BY wnid", name) == [
        (wnid, 0, 0) for wnid in WNIDS
    ]


DOCUMENTS = {"metadata.csv", "ATTRIBUTION.csv", "DATASHEET.md", "croissant.json", "SHA256SUMS", "manifest.json"}


@pytest.mark.parametrize("name", SETS)
def test_an_exported_folder_is_the_revision(demo: DemoRun, name: str):
    folder = demo.out / "sets" / name
    images = demo.rows("SELECT image_id, wnid FROM revision_images WHERE revision = ? ORDER BY position", name)
    manifest = json.loads((folder / "manifest.json").read_text())
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as file:
        metadata = list(csv.DictReader(file))
    assert [(entry["id"], entry["wnid"]) for entry in manifest["images"]] == images
    assert [(row["image_id"], row["wnid"]) for row in metadata] == images
    assert manifest["revision"]["name"] == name
    assert manifest["revision"]["seed"] == 100 + list(SETS).index(name)
    photos = {i: photo for i, _, photo in demo.candidates}
    for entry, row in zip(manifest["images"], metadata, strict=True):
        data = (folder / entry["file"]).read_bytes()
        assert entry["file"] == row["file_name"] == f"{entry['wnid']}/{entry['id']}.jpg"
        assert hashlib.sha256(data).hexdigest() == entry["sha256"] == row["sha256"]
        assert data == demo.blob("original", entry["id"])
        assert (entry["source"], entry["photo_id"]) == (row["source"], row["photo_id"]) == photos[entry["id"]]
        shown, selected = demo.frequencies[entry["id"], entry["wnid"]]
        assert (int(row["num_assignments"]), float(row["selection_frequency"])) == (shown, selected / shown)
        assert (int(row["label"]), int(row["width"]), int(row["height"])) == (int(entry["wnid"]), 64, 64)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == DOCUMENTS | {entry["file"] for entry in manifest["images"]}
    sums = dict(line.split("  ", 1)[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert sums == {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in files - {"SHA256SUMS", "manifest.json"}}


# --------------------------------------------------------------------------------------------------------------- evaluation


def predictions(demo: DemoRun) -> dict[tuple[str, str], list[tuple[str, int, list[int]]]]:
    """(data set, model) -> [(image, label, predicted classes best first), ...] from the Parquet files."""
    found = {}
    for dataset, model, key in demo.rows("SELECT dataset, model, blob_key FROM prediction_sets"):
        table = pq.read_table(demo.study / key).to_pydict()
        found[dataset, model] = list(zip(table["image_id"], table["label"], table["top_classes"], strict=True))
    return found


def test_every_model_predicts_every_image_of_every_set_in_order(demo: DemoRun):
    found = predictions(demo)
    lists = {name: demo.rows("SELECT image_id, wnid FROM revision_images WHERE revision = ? ORDER BY position", name) for name in SETS}
    lists["original"] = sorted((i, wnid) for i, (split, wnid) in demo.originals.items() if split == "val")
    models = {model for _, model in found}
    assert len(models) == 10
    assert set(found) == {(dataset, model) for dataset in lists for model in models}
    for (dataset, _), rows in found.items():
        assert [(image, label) for image, label, _ in rows] == [(image, int(wnid)) for image, wnid in lists[dataset]]
        assert all(len(set(top)) == 5 and set(top) <= set(range(10)) for _, _, top in rows)


def test_accuracies_and_intervals(demo: DemoRun):
    found = predictions(demo)
    accuracy: dict[tuple[str, str], float] = {}
    rows = {(row.dataset, row.model): row for row in demo.result.rows}
    assert set(rows) == set(found)
    for key, predicted in found.items():
        row = rows[key]
        assert row.n == len(predicted)
        for k, shown in ((1, (row.top1, row.top1_low, row.top1_high)), (5, (row.top5, row.top5_low, row.top5_high))):
            right = sum(label in top[:k] for _, label, top in predicted)
            interval = stats.binomtest(right, len(predicted)).proportion_ci(0.95, method="exact")
            assert shown == pytest.approx((right / len(predicted), interval.low, interval.high), abs=1e-12)
            if k == 1:
                accuracy[key] = right / len(predicted)
    for (dataset, model), row in rows.items():
        assert row.top1_rank == 1 + sum(other > accuracy[dataset, model] for (of, _), other in accuracy.items() if of == dataset)


def test_a_classifier_trained_again_by_hand_predicts_the_same(demo: DemoRun):
    """Proves that images, labels and predictions are not shifted against each other anywhere on the way."""

    def vector(image: str) -> np.ndarray:
        grey = Image.open(io.BytesIO(demo.blob("original", image))).convert("L")
        return np.asarray(grey.convert("F").resize((8, 8), Image.Resampling.BOX)).ravel() / 255 * 16

    train = [(vector(i), int(wnid)) for i, (split, wnid) in demo.originals.items() if split == "train"]
    vectors = np.stack([v for v, _ in train])
    labels = np.array([label for _, label in train])
    same = total = 0
    for (_, model), rows in predictions(demo).items():
        if model == "knn_5":
            for image, _, top in rows:
                nearest_five = np.argsort(((vectors - vector(image)) ** 2).sum(axis=1), kind="stable")[:5]
                same += int(np.bincount(labels[nearest_five], minlength=10).argmax() == top[0])
                total += 1
    assert total == 160 + 3 * 60
    assert same / total > 0.98


# ---------------------------------------------------------------------------------------------------------------- the report


@pytest.fixture(scope="session")
def page(demo: DemoRun) -> str:
    return (demo.out / "report.html").read_text()


def tables(page: str) -> dict[str, list[dict[str, str]]]:
    """File name -> rows of every CSV that the page offers."""
    links = re.findall(r'href="data:text/csv;charset=utf-8;base64,([^"]+)" download="([^"]+)"', page)
    return {name: list(csv.DictReader(io.StringIO(base64.b64decode(data).decode()))) for data, name in links}


def test_the_report_holds_the_accuracies(demo: DemoRun, page: str):
    rows = {(row["dataset"], row["model"]): row for row in tables(page)["accuracy-by-model.csv"] if row["metric"] == "top1"}
    assert len(rows) == len(demo.result.rows) == 40
    for expected in demo.result.rows:
        row = rows[expected.dataset, expected.model]
        shown = (int(row["n"]), float(row["accuracy"]), float(row["low"]), float(row["high"]), int(row["rank"]))
        assert shown == (expected.n, expected.top1, expected.top1_low, expected.top1_high, expected.top1_rank)
    text = html.unescape(re.sub(r"<[^>]+>", " ", page))
    for row in demo.result.rows:
        assert f"{row.top1 * 100:.1f} % [{row.top1_low * 100:.1f}, {row.top1_high * 100:.1f}]" in html.unescape(page)
        assert row.model in text


def test_the_report_holds_the_fits(demo: DemoRun, page: str):
    top1 = {(row.dataset, row.model): 100 * row.top1 for row in demo.result.rows}
    models = sorted({model for _, model in top1})
    fits = {row["new"]: row for row in tables(page)["fits.csv"] if (row["metric"], row["scale"]) == ("top1", "linear")}
    assert set(fits) == set(SETS)
    for name, fit in fits.items():
        line = stats.linregress([top1["original", m] for m in models], [top1[name, m] for m in models])
        shown = (float(fit["slope"]), float(fit["intercept"]), float(fit["r2"]), int(fit["n_models"]))
        assert shown == pytest.approx((line.slope, line.intercept, line.rvalue**2, 10), rel=1e-9)


def test_the_report_holds_the_counts(demo: DemoRun, page: str):
    found = tables(page)
    assert {row["reason"]: int(row["count"]) for row in found["exclusions.csv"]} == {"empty": 1, "html": 1, "truncated": 1}
    sizes = {row["stage"]: int(row["count"]) for row in found["stages.csv"]}
    near = sum(is_near for is_near, _ in literal_outcome(demo).values())
    sampled = {image for images, _ in literal_sets(demo).values() for image, _ in images}
    assert sizes == {
        "Original training images": 200,
        "Original validation images": 160,
        "Candidates found": 263,
        "Candidates kept": 260,
        "Candidates labelled": 260,
        "Near-duplicates": near,
        "In a new test set": len(sampled),
        "HITs": 40,
        "Answers": 400,
        "Neighbours reviewed": sum(len(found) for by in demo.reviewed.values() for found in by.values()),
    }
    planted = {row["kind"]: (int(row["planted"]), int(row["found"])) for row in found["planted.csv"]}
    assert planted == {kind.kind: (kind.planted, kind.found) for kind in demo.result.planted.kinds}


def test_the_report_holds_the_histograms(demo: DemoRun, page: str):
    share = {key: selected / shown for key, (shown, selected) in demo.frequencies.items()}
    sets = {name: images for name, (images, _) in literal_sets(demo).items()}
    sets["original"] = [(i, wnid) for i, (split, wnid) in demo.originals.items() if split == "val"]
    sets["candidates"] = [(i, wnid) for i, wnid, _ in demo.candidates]
    expected = {}
    for name, images in sets.items():
        bins = Counter(literal_sampling.bin_of(share[image]) for image in images if image in share)
        expected |= {(name, number): bins[number] for number in range(5)}
    rows = tables(page)["selection-frequencies.csv"]
    assert {(row["dataset"], round(5 * float(row["frequency_from"]))): int(row["images"]) for row in rows} == expected
    target = tables(page)["frequency-target.csv"]
    assert sum(int(row["target"]) for row in target) == sum(int(row["achieved"]) for row in target) == 60


def test_the_report_says_what_is_simulated_and_needs_nothing_else(demo: DemoRun, page: str):
    text = html.unescape(page)
    assert "Answers come from the SIMULATED crowd" in text
    assert "decided by the SIMULATED reviewer" in text
    for name, rows in tables(page).items():
        if name not in {"planted.csv"}:
            assert all("SIMULATED" in row["notice"] for row in rows), name
    outside = [link for link in re.findall(r'(?:src|href|action|data)="([^"]*)"', page) if not link.startswith(("#", "data:"))]
    assert outside == []
    assert not re.search(r"url\((?!['\"]?(data:|#))|@import", page)
    assert str(demo.out) not in page
    assert any("SIMULATED" in line for line in demo.said)
    assert all("SIMULATED" in notice for notice in demo.result.notices)


# ---------------------------------------------------------------------------------------------------------------- once more


def test_a_second_run_redoes_nothing(demo: DemoRun):
    def files() -> dict[str, tuple[int, int]]:
        kept = [path for path in demo.out.rglob("*") if path.is_file() and path.name not in {"study.db", "study.db-wal", "study.db-shm"}]
        return {path.relative_to(demo.out).as_posix(): (path.stat().st_mtime_ns, path.stat().st_size) for path in kept}

    def content() -> tuple[list[str], list[str], bytes]:
        with closing(open_study(demo.study)) as study:
            return canonical_dump(study), canonical_predictions(study), (demo.out / "report.html").read_bytes()

    dump, predicted, report = content()
    before = files()
    again = run_small_demo(demo.out)
    new_dump, new_predicted, new_report = content()
    assert differences(dump, new_dump) == []
    assert differences(predicted, new_predicted) == []
    assert new_report == report
    changed = {path for path, state in files().items() if before.get(path) != state}
    assert changed <= {"report.html"}
    assert set(before) == set(files())
    slow = {"Store images", "Publish HITs", "Read pixels", "Neighbours l2", "Neighbours dssim", "Neighbours mlp"}
    slow |= {step for step in demo.steps if re.fullmatch(r"Evaluate \d+ models", step)}
    assert len(slow) == 7
    assert not slow & set(again.steps)
    assert slow <= set(demo.steps)
    assert (again.result.rows, again.result.planted) == (demo.result.rows, demo.result.planted)
