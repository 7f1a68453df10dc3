"""Which photo is which candidate, against a brute-force reading of the rule and the published ids."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retest.sources import FoundPhoto, Query, candidate_id, identify, photo_ids_by_source, second_candidate_id

PUBLISHED = Path(__file__).parents[2].parent / "shared" / "imagenetv2" / "data" / "search_results"


def query(wnid: str, **options: object) -> Query:
    return Query(f"q-{wnid}", "flickr", wnid, "term", None, {"search_sort": "relevance"}, **options)


def photo(photo_id: str, **fields: object) -> FoundPhoto:
    return FoundPhoto("flickr", photo_id, f"https://example.org/{photo_id}.jpg", **fields)


def find(wnid: str, photos: list[FoundPhoto], known: dict | None = None, **options: object):
    return identify(photos, query=query(wnid), known=known or {}, user="u", time="t", **options)


def test_the_published_ids() -> None:
    # First record of data/search_results/2018-07-31_flickr_search_result_vaishaal_class_1_153.json in the public repository.
    assert candidate_id("42857269475", "flickr") == "1582397371dd770737bfa9ea0c2813e229a6420c"
    assert second_candidate_id("1", "flickr", "n1") == hashlib.sha1(b"1,flickr,n1").hexdigest()


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published search results are not here")
def test_every_published_record_has_one_of_the_two_ids() -> None:
    second = 0
    for path in sorted(PUBLISHED.glob("*.json")):
        for row in json.loads(path.read_text()):
            plain = candidate_id(row["id_search_engine"], row["search_engine"])
            other = second_candidate_id(row["id_search_engine"], row["search_engine"], row["wnid"])
            assert row["id_ours"] in (plain, other)
            second += row["id_ours"] == other
    assert second > 0


def test_same_photo_same_class_is_an_occurrence() -> None:
    result = find("n1", [photo("1"), photo("2"), photo("1")])
    assert [c.id for c in result.candidates] == [candidate_id("1", "flickr"), candidate_id("2", "flickr")]
    assert [(o.candidate_id, o.photo_id, o.wnid, o.search_key) for o in result.occurrences] == [
        (candidate_id("1", "flickr"), "1", "n1", "term")
    ]


def test_same_photo_other_class_becomes_a_second_candidate() -> None:
    known = {"flickr": [("1", "n1", candidate_id("1", "flickr"))]}
    result = find("n2", [photo("1")], known)
    assert [c.id for c in result.candidates] == [second_candidate_id("1", "flickr", "n2")]
    assert result.occurrences == ()
    again = find("n2", [photo("1")], {"flickr": [*known["flickr"], ("1", "n2", second_candidate_id("1", "flickr", "n2"))]})
    assert again.candidates == ()
    assert again.occurrences[0].candidate_id == second_candidate_id("1", "flickr", "n2")


def test_with_the_setting_off_it_is_an_occurrence_of_the_first() -> None:
    known = {"flickr": [("1", "n1", candidate_id("1", "flickr"))]}
    result = find("n2", [photo("1")], known, second_candidates=False)
    assert result.candidates == ()
    assert (result.occurrences[0].candidate_id, result.occurrences[0].wnid) == (candidate_id("1", "flickr"), "n2")


def test_a_replayed_id_is_kept() -> None:
    result = find("n1", [photo("1", candidate_id="f" * 40, found_by="becca", date_found="2018"), photo("1", candidate_id="f" * 40)])
    assert [(c.id, c.uploader, c.date_found) for c in result.candidates] == [("f" * 40, "becca", "2018")]
    assert len(result.occurrences) == 1


def test_a_file_listed_again_is_no_new_occurrence() -> None:
    known = {"flickr": [("1", "n1", candidate_id("1", "flickr"))]}
    result = identify([photo("1"), photo("2")], query=query("n1", local=True), known=known, user="u", time="t")
    assert [c.photo_id for c in result.candidates] == ["2"]
    assert result.occurrences == ()


def test_the_candidate_keeps_everything_known_about_the_photo() -> None:
    found = photo(
        "1", url_kind="url_o", width=4, height=3, date_taken="a", date_uploaded="b", license="cc0-1.0", owner="o", title="t",
        source_page="p", details={"x": 1},
    )  # fmt: skip
    (candidate,) = find("n1", [found]).candidates
    for name in (
        "url",
        "url_kind",
        "width",
        "height",
        "date_taken",
        "date_uploaded",
        "license",
        "owner",
        "title",
        "source_page",
        "photo_id",
    ):
        assert getattr(candidate, name) == getattr(found, name)
    assert (candidate.search_key, candidate.uploader, candidate.date_found, candidate.wnid) == ("term", "u", "t", "n1")
    assert candidate.query == {"search_sort": "relevance", "x": 1}


def test_photo_ids_are_grouped_by_engine() -> None:
    photos = [photo("1"), FoundPhoto("commons", "7", "https://example.org"), photo("2"), photo("1")]
    assert photo_ids_by_source(photos) == {"flickr": ["1", "2", "1"], "commons": ["7"]}


@given(st.lists(st.tuples(st.sampled_from("123"), st.sampled_from(["n1", "n2", "n3"])), max_size=20), st.integers(1, 4), st.booleans())
def test_any_cut_into_pages_gives_the_same_candidates(finds: list[tuple[str, str]], size: int, second: bool) -> None:
    """One find at a time by the rule's own words, against pages whose results are remembered as a database would."""
    expected: dict[tuple[str, str], str] = {}
    for photo_id, wnid in finds:
        if not any(key[0] == photo_id for key in expected):
            expected[photo_id, wnid] = hashlib.sha1(f"{photo_id}flickr".encode()).hexdigest()
        elif (photo_id, wnid) not in expected and second:
            expected[photo_id, wnid] = hashlib.sha1(f"{photo_id},flickr,{wnid}".encode()).hexdigest()
    stored: list[tuple[str, str, str]] = []
    occurrences = 0
    runs: list[tuple[str, list[str]]] = []
    for photo_id, wnid in finds:
        if runs and runs[-1][0] == wnid and len(runs[-1][1]) < size:
            runs[-1][1].append(photo_id)
        else:
            runs.append((wnid, [photo_id]))
    for wnid, ids in runs:
        known = {"flickr": [row for row in stored if row[0] in ids]}
        result = find(wnid, [photo(i) for i in ids], known, second_candidates=second)
        stored += [(c.photo_id, c.wnid, c.id) for c in result.candidates]
        occurrences += len(result.occurrences)
    assert {(p, w): i for p, w, i in stored} == expected
    assert len(stored) == len(expected)
    assert occurrences == len(finds) - len(stored)
