"""NearDuplicateData: pairs, components, resolution, reviews."""

from __future__ import annotations

import importlib.util
import json
import math
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import networkx
import pytest
from data_tiny import BIRD, EGRET, MACHINE, PAIRS, TIME, VAL, answer, candidate, hit

from retest.datasets import NearDuplicateData
from retest.duplicates import ReviewParameters
from retest.errors import InputError, NotFoundError
from retest.records import AssignmentStatus, Exclusion, Neighbor
from retest.stages.duplicates import resolve_duplicates, stats
from retest.study import StudyConfig, create_study


@pytest.fixture
def duplicates(tiny):
    return NearDuplicateData(tiny)


def literal_resolution():
    """The literal transcription of the rules belongs to the tests of the room of duplicates; tests are no packages."""
    path = Path(__file__).parents[1] / "duplicates/literal_resolution.py"
    spec = importlib.util.spec_from_file_location("data_literal_resolution", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.resolve_literally


def test_marked_pairs_in_both_directions(duplicates):
    assert duplicates.near_duplicates_of("c2") == ["c6"]
    assert duplicates.near_duplicates_of("c6") == ["c2"]
    assert duplicates.near_duplicates_of(VAL[1]) == ["c4"]
    assert duplicates.near_duplicates_of("c5") == []
    assert duplicates.near_duplicates_of("nobody") == ["c7"]


def test_components(duplicates):
    members = {"c1": ("c1", "c2", "c6"), "c4": tuple(sorted(("c4", VAL[1]))), "c7": ("c7", "nobody")}
    for image, expected in members.items():
        for member in expected:
            found = duplicates.component(member)
            assert (found.name, found.members) == (min(expected), expected), image
    for alone in ("c3", "c5", VAL[0], "r1"):
        assert duplicates.component(alone) is None
    with pytest.raises(NotFoundError, match="zed: is the id of no original image and of no candidate"):
        duplicates.component("zed")
    assert [found.members for found in duplicates.components()] == sorted(members.values())
    assert [found.members for found in duplicates.components(with_original=True)] == [members["c4"]]
    assert [found.members for found in duplicates.components(with_original=False)] == [members["c1"], members["c7"]]


def test_resolution_with_reasons(duplicates):
    # c2 and c6 were selected by all for the machine, c1 by three of four for the bird: both classes reach 0.7. Of candidates with
    # 0.7 or more the bird has one (c1), the machine two: the bird's image stays.
    assert duplicates.resolution("c1").reason == f"kept: smallest class {BIRD}, frequency 0.75"
    assert duplicates.resolution("c2").reason == f"near-duplicate of c1, which is kept: smallest class {BIRD}, frequency 0.75"
    assert duplicates.resolution("c4").reason == f"near-duplicate of original {VAL[1]}"
    assert [duplicates.is_near_duplicate(one) for one in ("c1", "c2", "c3", "c4", "c6", "c7")] == [False, True, False, True, True, False]
    assert duplicates.resolution("c7").reason == f"kept: class of the highest score {EGRET}, no selection frequency"  # shown, not answered
    assert duplicates.resolution("c3") is None
    assert duplicates.resolutions() == {one: duplicates.resolution(one) for one in ("c1", "c2", "c4", "c6", "c7")} | {
        "nobody": duplicates.resolutions()["nobody"]  # an id of a pair that the study does not know: a candidate without answers
    }
    for unknown in ("nobody", VAL[1]):
        with pytest.raises(NotFoundError, match=f"{unknown}: is not the id of a candidate"):
            duplicates.resolution(unknown)


def test_every_answer_follows_the_study(tiny, duplicates):
    """Nothing is kept beyond a change: answers, exclusions, overrides, pairs."""
    before = duplicates.resolutions()
    assert not duplicates.is_near_duplicate("c1")
    with tiny.database.write() as tables:
        tables.assignments.add([answer(f"b{n}", "h2", "eve", AssignmentStatus.APPROVED) for n in range(4)])  # c1 falls to 3 of 8
    assert duplicates.is_near_duplicate("c1")
    assert duplicates.resolution("c6").reason == f"kept: only eligible class {MACHINE}, frequency 1"
    assert duplicates.resolutions() != before
    with tiny.database.write() as tables:
        tables.pairs.add_overrides(["c2"], user="me", time=TIME)
    assert duplicates.resolution("c2").reason == "kept: on the override list"
    assert duplicates.overrides() == ["c2"]
    with tiny.database.write() as tables:
        tables.pairs.add([("c3", "c6")], user="me", time=TIME)
    assert duplicates.component("c1").members == ("c1", "c2", "c3", "c6")
    assert duplicates.components()[-1].members == ("c7", "nobody")
    with tiny.database.write() as tables:
        tables.pairs.add_overrides(["c3"], user="me", time=TIME)
    for ask in (lambda: duplicates.resolution("c6"), duplicates.resolutions):
        with pytest.raises(InputError, match="override list: c2, c3"):
            ask()
    assert duplicates.is_near_duplicate("c4")  # another component


def test_frequencies_of_excluded_hits_and_rejected_answers_decide_nothing(tiny, duplicates):
    with tiny.database.write() as tables:
        tables.candidates.add([candidate("d1", BIRD), candidate("d2", BIRD)])
        tables.hits.add([hit("h6", BIRD, ("d1", "d2"))], assignments=10)
        tables.assignments.add([answer("e1", "h6", "ann", AssignmentStatus.APPROVED, "d1")])
        tables.assignments.add([answer(f"f{n}", "h6", "ann", AssignmentStatus.REJECTED, "d2") for n in range(5)])
        tables.pairs.add([("d1", "d2")], user="me", time=TIME)
    assert not duplicates.is_near_duplicate("d1")
    with tiny.database.write() as tables:
        tables.hits.exclude(["h6"], "spam")
    assert duplicates.resolution("d2").reason == f"kept: only class {BIRD}, no selection frequency"


def test_good_candidates_outside_the_component_decide_too(tiny, duplicates):
    assert duplicates.resolution("c1").reason.startswith(f"kept: smallest class {BIRD}")
    with tiny.database.write() as tables:  # the bird gets two more good candidates, one more than the machine has; a third is excluded
        tables.candidates.add([candidate("d1", BIRD), candidate("d2", BIRD), candidate("d3", BIRD), candidate("d4", MACHINE)])
        tables.hits.add([hit("h6", BIRD, ("d1", "d2", "d3", "d4"))], assignments=10)
        tables.assignments.add([answer("e1", "h6", "ann", AssignmentStatus.APPROVED, "d1", "d2", "d3", "d4")])
        tables.exclusions.add([Exclusion("d3", "drawing", "", "me", TIME)])
    assert duplicates.resolution("c6").reason == f"kept: smallest class {MACHINE}, frequency 1"
    assert duplicates.resolutions()["c6"] == duplicates.resolution("c6")
    with tiny.database.write() as tables:
        tables.exclusions.add([Exclusion("d2", "drawing", "", "me", TIME)])  # two good ones each: the smaller wnid
    assert duplicates.resolution("c1").reason == f"kept: smallest class {BIRD}, frequency 0.75"
    assert duplicates.resolutions()["c1"] == duplicates.resolution("c1")


def test_candidates_without_photo_id_share_no_photo(tiny, duplicates):
    with tiny.database.write() as tables:
        tables.candidates.add(replace(candidate(name, BIRD), photo_id="") for name in ("d1", "d2"))
    assert duplicates.component("d1") is None
    assert len(duplicates.components()) == 3


def test_neighbors(duplicates):
    assert duplicates.metrics() == ["dssim", "fc7", "l2"]
    assert duplicates.neighbors("c1", "dssim") == (Neighbor("c3", 0.3),)
    with pytest.raises(NotFoundError, match=r"c2: no neighbours in l2 are stored. Metrics of this study: dssim, fc7, l2"):
        duplicates.neighbors("c2", "l2")


def test_reviews_and_thresholds(duplicates):
    assert [(review.metric, review.references, review.near_duplicates) for review in duplicates.reviews("c1")] == [
        ("fc7", ("c3",), ("c3",)),
        ("l2", ("c5",), ()),
    ]
    # l2: itself, the same photo (c2) and the reviewed c5 are skipped; dssim: nothing is reviewed; fc7: all is.
    assert duplicates.review_thresholds("c1") == {"l2": 3e8, "dssim": 0.3, "fc7": math.inf}
    assert duplicates.is_sufficiently_reviewed("c1")
    assert duplicates.review_thresholds("c3") == {"l2": 0.0, "dssim": 0.0, "fc7": 0.0}
    assert not duplicates.is_sufficiently_reviewed("c3")
    with pytest.raises(NotFoundError):
        duplicates.review_thresholds(VAL[0])


@pytest.mark.parametrize(("skipped", "threshold"), [(False, 1e5), (True, 2e5)])
def test_excluded_neighbours_count_by_the_setting_of_the_study(tmp_path, skipped, threshold):
    config = StudyConfig(review=ReviewParameters(targets={"l2": 1.0}, excluded_count_as_reviewed=skipped))
    with closing(create_study(tmp_path / "s", config)) as study:
        with study.database.write() as tables:
            tables.candidates.add(candidate(name, BIRD) for name in ("d1", "d2", "d3"))
            tables.exclusions.add([Exclusion("d2", "drawing", "", "me", TIME)])
            tables.neighbors.put("l2", {"d1": [Neighbor("d2", 1e5), Neighbor("d3", 2e5)]})
        assert NearDuplicateData(study).review_thresholds("d1") == {"l2": threshold}


# --- the demo's study


def test_demo_components_by_networkx(study, raw):
    graph = networkx.Graph(pair for pair in raw.rows("SELECT first, second FROM near_duplicate_pairs") if pair[0] != pair[1])
    photos = {}
    for image, source, photo in raw.rows("SELECT id, source, photo_id FROM candidates"):
        graph.add_edges_from([(photos.setdefault((source, photo), image), image)])
    graph.remove_edges_from(list(networkx.selfloop_edges(graph)))
    expected = sorted(tuple(sorted(members)) for members in networkx.connected_components(graph) if len(members) > 1)
    duplicates = NearDuplicateData(study)
    assert [found.members for found in duplicates.components()] == expected
    assert len(expected) > 10
    for members in expected:
        assert duplicates.component(members[-1]).members == members


def test_demo_resolution_by_the_literal_rules(study, raw):
    counts = {}
    for uuid, selected in raw.rows("SELECT hit_uuid, selected FROM assignments WHERE status IN ('Submitted', 'Approved')"):
        ((wnid, images),) = raw.rows("SELECT wnid, images_all FROM hits WHERE uuid = ?", uuid)
        for image in json.loads(images):
            shown = counts.setdefault((image, wnid), [0, 0])
            shown[0] += 1
            shown[1] += image in json.loads(selected)
    excluded = set(raw.rows("SELECT candidate_id FROM exclusions"))
    candidates = [
        {
            "id": image,
            "wnid": wnid,
            "photo": (source, photo),
            "frequency": counts[image, wnid][1] / counts[image, wnid][0] if (image, wnid) in counts else None,
            "excluded": image in excluded,
        }
        for image, wnid, source, photo in raw.rows("SELECT id, wnid, source, photo_id FROM candidates")
    ]
    pairs = set(raw.rows("SELECT first, second FROM near_duplicate_pairs"))
    linked = {image for pair in pairs for image in pair}
    near = [one for one in candidates if one["id"] in linked]  # the literal rule is slow; nobody outside shares a photo here
    rest = [one for one in candidates if one["id"] not in linked]
    expected = literal_resolution()(
        near + [{**one, "photo": None} for one in rest], pairs, set(raw.rows("SELECT id FROM originals")), set()
    )
    duplicates = NearDuplicateData(study)
    found = duplicates.resolutions()
    assert {one: outcome.near_duplicate for one, outcome in found.items()} == {one: marked for one, (marked, _) in expected.items()}
    assert sum(marked for marked, _ in expected.values()) > 10
    for one in expected:
        assert duplicates.resolution(one) == found[one]


def test_demo_agrees_with_what_the_stage_has_stored(study, raw):
    duplicates = NearDuplicateData(study)
    stored = {row[0]: row for row in raw.rows("SELECT candidate_id, near_duplicate, component, reason FROM resolutions")}
    found = {one: (one, int(r.near_duplicate), r.component, r.reason) for one, r in duplicates.resolutions().items()}
    assert found == stored
    assert duplicates.stats() == stats(study)
    thresholds = {}
    for image, metric, value in raw.rows("SELECT candidate_id, metric, threshold FROM review_thresholds"):
        thresholds.setdefault(image, {})[metric] = value
    for image in list(thresholds)[::13]:
        assert {metric: min(value, 1e100) for metric, value in duplicates.review_thresholds(image).items()} == thresholds[image]
    neighbors = raw.rows("SELECT metric, query_id, neighbors FROM neighbors")
    for metric, image, text in neighbors[::131]:
        assert [[n.reference, n.distance] for n in duplicates.neighbors(image, metric)] == json.loads(text)


# --- the published study


def test_published_components(published, published_data):
    """Against the published lists, read here without retest, joined by networkx."""
    listed = json.loads((published_data / "metadata/near_duplicates.json").read_bytes())
    graph = networkx.Graph((one, other) for one, others in listed.items() for other in others if other != one)
    photos = {}
    for path in sorted((published_data / "search_results").glob("*.json")):
        for row in json.loads(path.read_bytes()):
            first = photos.setdefault(row["id_search_engine"], row["id_ours"])
            if first != row["id_ours"]:
                graph.add_edge(first, row["id_ours"])
    expected = {tuple(sorted(members)) for members in networkx.connected_components(graph)}
    duplicates = NearDuplicateData(published)
    assert {found.members for found in duplicates.components()} == expected
    with_original = {members for members in expected if any("_" in image for image in members)}
    assert {found.members for found in duplicates.components(with_original=True)} == with_original
    largest = max(expected, key=len)
    assert duplicates.component(largest[7]).members == largest
    assert duplicates.near_duplicates_of(largest[7]) == sorted(
        set(graph[largest[7]])
        - {one for one in graph[largest[7]] if largest[7] not in listed.get(one, ()) and one not in listed.get(largest[7], ())}
    )


def test_published_resolution_is_that_of_the_stage(published):
    duplicates = NearDuplicateData(published)
    stored = {found.candidate_id: found for found in resolve_duplicates(published)}
    assert duplicates.resolutions() == stored
    for one in list(stored)[::1201]:
        assert duplicates.resolution(one) == stored[one]
    (kept,) = duplicates.overrides()
    assert duplicates.resolution(kept).reason == "kept: on the override list"


def test_published_reviews(published, published_data):
    listed = json.loads((published_data / "metadata/nearest_neighbor_reviews_v2.json").read_bytes())
    duplicates = NearDuplicateData(published)
    for image in list(listed)[::2000]:
        found = {review.metric: set(review.references) for review in duplicates.reviews(image)}
        assert found == {metric: set(entry["references"]) for metric, entry in listed[image].items() if entry["references"]}


def test_pairs_are_what_was_written(duplicates, tiny):
    with tiny.database.read() as tables:
        assert set(tables.pairs.all()) == set(PAIRS)
