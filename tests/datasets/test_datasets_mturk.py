"""MTurkData: HITs, answers, selection frequencies, annotators."""

from __future__ import annotations

import json
import statistics

import pytest
from data_tiny import ASSIGNMENTS, BIRD, EGRET, FREQUENCIES, HITS, MACHINE, VAL

from retest.datasets import MTurkData
from retest.errors import NotFoundError
from retest.labeling import QualityParameters, judge_answers
from retest.records import SelectionFrequency


@pytest.fixture
def mturk(tiny):
    return MTurkData(tiny)


def uuids(hits):
    return [hit.uuid for hit in hits]


def test_hits(mturk):
    assert mturk.hit("h1") == HITS[0]
    assert uuids(mturk.hits()) == ["h1", "h2", "h3", "h5"]
    assert uuids(mturk.hits_of_image("c1")) == ["h1", "h2", "h3"]
    assert uuids(mturk.hits_of_image(VAL[0])) == ["h1", "h3"]
    assert mturk.hits_of_image("nobody") == []
    assert uuids(mturk.hits_of_class(BIRD)) == ["h1", "h2"]
    assert uuids(mturk.hits_of_worker("ann")) == ["h1", "h2", "h3"]
    assert uuids(mturk.hits_of_worker("dan")) == []
    assert mturk.hit_of_crowd("HIT-1") == HITS[0]
    assert mturk.hit_counts() == {BIRD: 2, MACHINE: 1, EGRET: 1}


def test_excluded_hits_only_when_asked_for(tiny, mturk):
    everything = MTurkData(tiny, include_excluded_hits=True)
    assert uuids(everything.hits()) == ["h1", "h2", "h3", "h4", "h5"]
    assert uuids(everything.hits_of_image("c1")) == ["h1", "h2", "h3", "h4"]
    assert uuids(everything.hits_of_class(BIRD)) == ["h1", "h2", "h4"]
    assert uuids(everything.hits_of_worker("dan")) == ["h4"]
    assert everything.hit_counts()[BIRD] == 3
    assert [answer.id for answer in everything.assignments_of_image("c3")] == ["a1", "a2", "a3", "a7", "a8"]
    assert [answer.id for answer in mturk.assignments_of_image("c3")] == ["a1", "a2", "a3"]
    assert mturk.hit("h4") == HITS[3]
    assert mturk.hit_exclusion("h4") == "of an ignored file"
    assert mturk.hit_exclusion("h1") is None
    assert mturk.excluded_hits() == {"h4": "of an ignored file"}


def test_assignments(mturk):
    assert mturk.assignments("h1") == list(ASSIGNMENTS[:3])
    assert mturk.assignments("h5") == []
    assert mturk.assignment("a6") == ASSIGNMENTS[5]
    assert mturk.num_valid_assignments("h1") == 2
    assert mturk.num_valid_assignments("h5") == 0


@pytest.mark.parametrize("key", sorted(FREQUENCIES))
def test_selection_frequencies_by_hand(mturk, key):
    image, wnid = key
    expected = SelectionFrequency(image, wnid, *FREQUENCIES[key])
    assert mturk.selection_frequency(image, wnid) == expected
    assert mturk.selection_frequencies(image)[wnid] == expected
    assert mturk.class_frequencies(wnid)[image] == expected


def test_all_frequencies_at_once(tiny, mturk):
    expected = {key: SelectionFrequency(*key, *counts) for key, counts in FREQUENCIES.items()}
    assert mturk.all_frequencies() == expected
    assert MTurkData(tiny, include_excluded_hits=True).all_frequencies() == expected
    assert set(mturk.selection_frequencies("c1")) == {BIRD, MACHINE}
    assert set(mturk.class_frequencies(MACHINE)) == {image for image, wnid in FREQUENCIES if wnid == MACHINE}


def test_an_image_that_was_never_shown_has_no_assignments(mturk):
    found = mturk.selection_frequency("c7", BIRD)
    assert (found.num_assignments, found.value) == (0, 0.0)
    assert mturk.selection_frequencies("nobody") == {}


def test_frequencies_within_one_hit(mturk):
    found = mturk.hit_frequencies("h1")
    assert list(found) == list(HITS[0].images_all)
    assert (found["c1"].num_assignments, found["c1"].num_selected) == (2, 2)
    assert mturk.hit_frequencies("h4")["c3"].num_selected == 1  # excluded, and still to be looked at
    assert all(one.num_assignments == 0 for one in mturk.hit_frequencies("h5").values())


def test_workers(mturk):
    # a3 is rejected; answers to an excluded HIT are answers of a person all the same.
    assert mturk.workers() == {"ann": 4, "bob": 2, "dan": 1}
    assert [answer.id for answer in mturk.assignments_of_worker("cyd")] == ["a3"]
    with pytest.raises(NotFoundError, match="zed: the study has no answer of this annotator"):
        mturk.assignments_of_worker("zed")


def test_worker_quality(mturk):
    quality = mturk.worker_quality("ann")
    assert (quality.assignments, quality.images, quality.selected) == (3, 12, 7)
    assert (quality.controls.positive_shown, quality.controls.positive_correct) == (2, 2)
    assert (quality.controls.negative_shown, quality.controls.negative_correct) == (2, 2)
    # Against bob: of h1's five images they disagree about c3, of h2's two about both; nobody else answered h3.
    assert quality.agreement == pytest.approx(4 / 7)
    assert mturk.worker_quality("dan") is None
    strict = QualityParameters(min_seconds_per_image=1000)
    assert mturk.worker_quality("ann", parameters=strict).flagged_assignments == 3


@pytest.mark.parametrize(
    "ask", ["hit", "assignments", "hit_exclusion", "hit_frequencies", "num_valid_assignments", "assignment", "hit_of_crowd"]
)
def test_unknown_names_are_errors(mturk, ask):
    with pytest.raises(NotFoundError, match="h9"):
        getattr(mturk, ask)("h9")


# --- the demo's study, counted again from its raw rows


@pytest.fixture(scope="module")
def literal(raw):
    """(image, class) -> [valid assignments, selections], and the answers of each annotator."""
    answers = raw.rows("SELECT hit_uuid, worker, status, selected FROM assignments")
    hits = {uuid: (wnid, json.loads(images)) for uuid, wnid, images in raw.rows("SELECT uuid, wnid, images_all FROM hits")}
    counts, workers = {}, {}
    for uuid, worker, status, selected in answers:
        if status in ("Submitted", "Approved"):
            workers[worker] = workers.get(worker, 0) + 1
            wnid, images = hits[uuid]
            for image in images:
                count = counts.setdefault((image, wnid), [0, 0])
                count[0] += 1
                count[1] += image in json.loads(selected)
    return counts, workers


def test_demo_frequencies(study, literal):
    mturk = MTurkData(study)
    counts, workers = literal
    assert {key: [found.num_assignments, found.num_selected] for key, found in mturk.all_frequencies().items()} == counts
    for image, wnid in list(counts)[::97]:
        assert mturk.selection_frequency(image, wnid).value == counts[image, wnid][1] / counts[image, wnid][0]
    assert mturk.workers() == workers


def test_demo_frequencies_are_those_that_the_stage_has_derived(study, raw):
    stored = raw.rows("SELECT image_id, num_assignments, num_selected FROM selection_frequencies WHERE wnid = '7'")
    assert {(i, f.num_assignments, f.num_selected) for i, f in MTurkData(study).class_frequencies("7").items()} == set(stored)


def test_demo_quality_is_that_of_the_whole_report(study):
    """Judging an annotator's HITs alone gives what judging all gives."""
    with study.database.read() as tables:
        report = judge_answers(tables.hits.all(), tables.assignments.all())
    mturk = MTurkData(study)
    assert len(report.workers) > 10
    for quality in report.workers[::9]:
        assert mturk.worker_quality(quality.worker) == quality
    assert statistics.mean(found.agreement for found in report.workers) > 0.5


def test_published_hits(published, published_data):
    """Against the published HIT files, read here without retest."""
    hits = {}
    for path in sorted((published_data / "mturk/hit_data_live").glob("*.json")):
        for hit in json.loads(path.read_bytes()):
            hits.setdefault(hit["uuid"], (hit, path.name))
    listed = json.loads((published_data / "mturk/hit_blacklist_live.json").read_bytes())
    mturk = MTurkData(published)
    everything = MTurkData(published, include_excluded_hits=True)
    assert len(everything.hits()) == len(hits)
    assert set(listed) & set(hits) <= set(mturk.excluded_hits())
    of_image, of_class = {}, {}
    for uuid, (hit, _) in hits.items():
        of_class.setdefault(hit["wnid"], set()).add(uuid)
        for image in hit["images_all"]:
            of_image.setdefault(image, set()).add(uuid)
    busiest = max(of_image, key=lambda image: len(of_image[image]))
    assert {hit.uuid for hit in everything.hits_of_image(busiest)} == of_image[busiest]
    assert {hit.uuid for hit in mturk.hits_of_image(busiest)} == of_image[busiest] - set(mturk.excluded_hits())
    wnid = max(of_class, key=lambda name: len(of_class[name]))
    assert {hit.uuid for hit in everything.hits_of_class(wnid)} == of_class[wnid]
    uuid, (hit, file) = next(iter(hits.items()))
    found = mturk.hit(uuid)
    assert (list(found.images_all), found.file, found.hit_id) == (hit["images_all"], file, hit["hit_id"])
    assert mturk.hit_of_crowd(hit["hit_id"]).uuid == uuid
