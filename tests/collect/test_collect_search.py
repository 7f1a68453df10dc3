"""Candidates written in the published form and read again; the published files through the command line."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from collect_study import make_study

from retest.testing.flickr import FakeFlickr, FakePhoto, sample_photos

PUBLISHED = Path(__file__).parents[2].parent / "shared" / "imagenetv2" / "data"


def test_exported_candidates_are_found_again_as_they_were(tmp_path: Path):
    photos = [
        *sample_photos("tench", 12),
        *sample_photos("goldfish", 7, first_id=8_000_000_000),
        FakePhoto(
            "7999999999",
            "tench Tinca tinca goldfish",
            1_350_000_000,
            "2012-10-12 01:00:00",
            license="4",
            owner_name="Ä. Ü. \u2028",
            taken_unknown=True,
        ),
    ]
    with FakeFlickr(photos, key="k") as server:
        study = make_study(tmp_path / "a", source={"kind": "flickr", "location": server.url}, environment={"FLICKR_API_KEY": "k"})
        counts = study.json("search")
        assert (counts["new_candidates"], counts["occurrences"]) == (21, 1)
    file = tmp_path / "found.json"
    assert study.json("search", "--export", file) == {"file": str(file), "records": 22}
    records = json.loads(file.read_text(encoding="utf-8"))
    assert {"id_ours", "id_search_engine", "search_engine", "date_upload_our_db", "uploader", "wnid", "url"} <= records[0].keys()
    assert Counter(record["id_ours"] for record in records).most_common(1)[0][1] == 2

    again = make_study(tmp_path / "b", source={"kind": "table", "location": str(file)})
    counts = again.json("search")
    assert (counts["new_candidates"], counts["occurrences"], counts["skipped"]) == (21, 1, {})
    columns = "id, wnid, source, photo_id, url, url_kind, search_key, uploader, date_taken, date_uploaded, date_found, width, height"
    new = "license, owner, title, source_page"
    query = f"SELECT {columns}, {new} FROM candidates ORDER BY id"
    assert again.rows(query) == study.rows(query)
    for left, right in zip(*(s.rows("SELECT query FROM candidates ORDER BY id") for s in (study, again)), strict=True):
        known = {name: str(value) for name, value in json.loads(left).items() if value is not None}
        assert {name: str(value) for name, value in json.loads(right).items()} == known
        assert "owner_id" in known
    assert sum("date_taken_unknown" in text for text in again.rows("SELECT query FROM candidates")) == 2
    occurrences = "SELECT candidate_id, source, photo_id, wnid, search_key FROM duplicate_occurrences"
    assert again.rows(occurrences) == study.rows(occurrences)
    # And what the second study exports is the same file.
    again.run("search", "--export", tmp_path / "again.json")
    kept = [{k: v for k, v in record.items() if v is not None} for record in records]
    assert [{k: _same_kind(k, v) for k, v in r.items() if v is not None} for r in json.loads((tmp_path / "again.json").read_text())] == kept


def _same_kind(name: str, value: object) -> object:
    return int(str(value)) if name == "max_images" else value


def test_options_replace_the_settings_for_one_run(tmp_path: Path):
    (tmp_path / "terms.json").write_text(json.dumps({"n01443537": ["koi", "fancy carp"]}))
    (tmp_path / "some.txt").write_text("# a list\n\nn01443537\n")
    (tmp_path / "some.json").write_text('["n01443537", "n01440764"]')
    photos = [
        *sample_photos("tench", 5),
        *sample_photos("koi", 5, first_id=8_000_000_000),
        *sample_photos("fancy carp", 9, first_id=9_000_000_000),
    ]
    with FakeFlickr(photos, key="k") as server:
        study = make_study(
            tmp_path / "a",
            source={"kind": "flickr", "location": server.url},
            search={"max_images": 8, "hand_terms": str(tmp_path / "terms.json")},
            environment={"FLICKR_API_KEY": "k"},
        )

        def asked() -> list[dict[str, str]]:
            lines, server.log[:] = list(server.log), []
            return [dict(part.split("=", 1) for part in line.split("&")) for line in lines]

        # As study.toml says: hand-selected terms, and 8 results divided over two terms.
        assert study.json("search", "--wnid", "n01443537")["new_candidates"] == 8
        assert [question["text"] for question in asked()] == ["koi", "fancy carp"]
        assert study.rows("SELECT DISTINCT wnid FROM candidates") == ["n01443537"]
        # Another limit is another search; what is found again is an occurrence.
        counts = study.json("search", "--wnids", tmp_path / "some.txt", "--max-images", 18)
        assert (counts["new_candidates"], counts["occurrences"]) == (5 + 9 - 8, 8)
        assert [question["text"] for question in asked()] == ["koi", "fancy carp"]
        # Every published option, under the name that the service knows.
        dates = ("--min-date-taken", "2012-08-01", "--max-date-taken", "2012-08-31", "--min-date-uploaded", "2012-08-02")
        more = (
            "--max-date-uploaded",
            "2012-09-01",
            "--sort",
            "interestingness-desc",
            "--join-compounds",
            "--license",
            "cc-by",
            "--no-safe-search",
        )
        study.run("search", "--wnids", tmp_path / "some.json", *dates, *more, "--hand-terms", "")
        # A term that gets no share of max_images is not passed over in silence.
        assert "leaves no results for this term (2 pages)" in study.run("search", "--wnid", "n01443537", "--max-images", 1).stderr
        questions = asked()
        assert [question["text"] for question in questions] == ["tench", "Tincatinca", "goldfish"]
        assert {(q["min_taken_date"], q["max_taken_date"]) for q in questions} == {("2012-08-01 00:00:00", "2012-08-31 23:59:59")}
        assert {(q["min_upload_date"], q["max_upload_date"]) for q in questions} == {("1343865600", "1346543999")}
        assert {(q["sort"], q["license"], q["safe_search"]) for q in questions} == {("interestingness-desc", "4,11", "3")}
        # Parents from WordNet's own file, where a synset lies at the offset that its wnid says.
        with (tmp_path / "data.noun").open("wb") as file:
            file.seek(1440764)
            file.write(b"01440764 05 n 02 tench 0 Tinca_tinca 0 001 @ 01439121 n 0000 | a fish  \n")
            file.seek(1439121)
            file.write(b"01439121 05 n 02 cyprinid 0 cyprinid_fish 0 000 | fishes  \n")
        study.run("search", "--wnid", "n01440764", "--parent-term", "--wordnet", tmp_path / "data.noun")
        assert [question["text"] for question in asked()] == ["tench cyprinid", "Tinca tinca cyprinid"]
    for arguments, said in (
        (("--wnid", "n99999999"), "n99999999: is no class of the benchmark"),
        (("--min-date-taken", "yesterday"), "min_date_taken"),
        (("--sort", "loudest"), "loudest"),
        (("--wnid", "n01443537", "--parent-term"), "no parent term"),
    ):
        assert said in study.run("search", *arguments, code=2).stderr
    (tmp_path / "some.json").write_text("[1, 2]")
    assert "no list of wnids" in study.run("search", "--wnids", tmp_path / "some.json", code=1).stderr


def test_nothing_found_is_nothing_to_export_and_leaves_no_file(tmp_path: Path):
    study = make_study(tmp_path / "a", source={"kind": "table", "location": "none.csv"})
    done = study.run("search", "--export", tmp_path / "out.json", code=1)
    assert "retest search" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]
    assert "cannot be written" in study.run("search", "--export", tmp_path / "no/such/folder/out.json", code=1).stderr


@pytest.mark.skipif(not (PUBLISHED / "search_results").is_dir(), reason="the published search results are not at hand")
def test_the_published_search_results_through_the_command_line(tmp_path: Path):
    records = [record for path in sorted((PUBLISHED / "search_results").glob("*.json")) for record in json.loads(path.read_text())]
    wnids = sorted({record["wnid"] for record in records})
    study = make_study(
        tmp_path / "a",
        source={"kind": "table", "location": str(PUBLISHED / "search_results")},
        classes=[(wnid, (wnid,)) for wnid in wnids],
    )
    counts = study.json("search")
    ids = {record["id_ours"] for record in records}
    assert counts["new_candidates"] == len(ids)
    assert counts["new_candidates"] + counts["occurrences"] == len(records) == 18_685
    assert counts["empty_classes"] == []
    assert set(study.rows("SELECT id FROM candidates")) == ids
    assert study.json("search")["pages"] == 0

    exported = tmp_path / "all.json"
    study.run("search", "--export", exported)
    written = json.loads(exported.read_text())
    names = ("id_ours", "id_search_engine", "url", "wnid", "search_key", "search_engine", "uploader", "date_taken", "date_upload_our_db")
    by_record = [Counter(tuple(r[name] for name in ("id_ours", "id_search_engine", "wnid")) for r in rows) for rows in (records, written)]
    assert by_record[0] == by_record[1]
    first: dict[str, dict] = {}
    for record in sorted(records, key=lambda record: wnids.index(record["wnid"])):  # a search goes class by class
        first.setdefault(record["id_ours"], record)
    own = {record["id_ours"]: record for record in reversed(written)}
    assert all(own[i][name] == first[i][name] for i in first for name in names)
