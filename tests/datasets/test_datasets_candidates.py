"""CandidateData: candidates, duplicates, exclusions."""

from __future__ import annotations

import json

import pytest
from data_tiny import BIRD, CANDIDATES, MACHINE

from retest.datasets import CandidateData
from retest.errors import NotFoundError


@pytest.fixture
def candidates(tiny):
    return CandidateData(tiny)


def test_a_candidate_by_id(candidates):
    assert candidates.candidate("c2") == CANDIDATES[1]
    assert candidates.get_candidates(["c2", "nobody", "r1"]) == {"c2": CANDIDATES[1], "r1": CANDIDATES[7]}
    assert "c2" in candidates
    assert "nobody" not in candidates
    assert None not in candidates
    with pytest.raises(NotFoundError, match="nobody: is not the id of a candidate"):
        candidates.candidate("nobody")


def test_candidates_of_a_class(candidates):
    assert candidates.candidate_ids(BIRD) == [one.id for one in candidates.candidates(BIRD)] == ["c1", "c3", "c4", "c5", "r2"]
    assert candidates.candidate_ids(BIRD, include_excluded=False) == ["c1", "c3", "c4", "r2"]
    assert [one.id for one in candidates.candidates(BIRD, include_excluded=False)] == ["c1", "c3", "c4", "r2"]
    assert candidates.candidate_ids() == sorted(one.id for one in CANDIDATES)
    assert [one.id for one in candidates.candidates(include_excluded=False)] == ["c1", "c2", "c3", "c4", "c6", "c7", "r2"]
    assert candidates.candidate_ids(include_excluded=False) == ["c1", "c2", "c3", "c4", "c6", "c7", "r2"]
    assert candidates.candidates("n00000000") == []


def test_counts(candidates):
    assert candidates.counts() == {"": 1, BIRD: 5, MACHINE: 2, "n02009912": 1}
    assert candidates.count() == 9
    assert candidates.search_keys(BIRD) == {"crane": 2, "crane bird": 2}


def test_the_same_photo_for_another_class(candidates):
    assert [one.id for one in candidates.same_photo("c1")] == ["c2"]
    assert [one.id for one in candidates.same_photo("c2")] == ["c1"]
    assert candidates.same_photo("c3") == []
    assert candidates.same_photo("r1") == []


def test_occurrences(candidates):
    assert [found.file for found in candidates.occurrences("c3")] == ["page 2", "page 2"]
    assert candidates.occurrences("c1") == []
    with pytest.raises(NotFoundError):
        candidates.occurrences("nobody")


def test_exclusions(candidates):
    assert candidates.exclusion("c5").reason == "drawing"
    assert candidates.exclusion("c1") is None
    assert [found.candidate_id for found in candidates.exclusions()] == ["c5", "r1"]
    assert [found.candidate_id for found in candidates.exclusions("blurred")] == ["r1"]
    assert candidates.exclusions("no such reason") == []
    assert candidates.exclusion_reasons() == {"blurred": 1, "drawing": 1}
    with pytest.raises(NotFoundError):
        candidates.exclusion("nobody")


def test_equal_to_the_database(study, raw):
    candidates = CandidateData(study)
    assert candidates.counts() == dict(raw.rows("SELECT wnid, count(*) FROM candidates GROUP BY wnid"))
    assert candidates.exclusion_reasons() == dict(raw.rows("SELECT reason, count(*) FROM exclusions GROUP BY reason"))
    some, photo, query = raw.rows("SELECT id, photo_id, query FROM candidates ORDER BY id LIMIT 1")[0]
    assert candidates.candidate(some).photo_id == photo
    assert candidates.candidate(some).query == json.loads(query)


def test_published_candidates(published, published_data):
    """Against the published search results, read here without retest: the first record of an id counts, the others are occurrences."""
    first, again = {}, {}
    for path in sorted((published_data / "search_results").glob("*.json")):
        for row in json.loads(path.read_bytes()):
            if first.setdefault(row["id_ours"], row) is not row:
                again[row["id_ours"]] = again.get(row["id_ours"], 0) + 1
    candidates = CandidateData(published)
    by_class = {}
    for row in first.values():
        by_class.setdefault(row["wnid"], set()).add(row["id_ours"])
    wnid = max(by_class, key=lambda name: len(by_class[name]))
    found = [one for one in candidates.candidates(wnid) if one.source != "reference"]
    assert {one.id for one in found} == by_class[wnid]
    assert {one.id: one.url for one in found} == {row["id_ours"]: row["url"] for row in first.values() if row["wnid"] == wnid}
    most = max(again, key=again.__getitem__)
    assert len(candidates.occurrences(most)) == again[most]
    listed = json.loads((published_data / "metadata/candidate_blacklist.json").read_bytes())
    assert {found.candidate_id: found.reason for found in candidates.exclusions()} == listed
    some = next(iter(listed))
    assert candidates.exclusion(some).reason == listed[some]
