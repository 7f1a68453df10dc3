"""HITs in the published JSON form, checked against the real published files where these are at hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retest.crowd import check_hit
from retest.crowd.hitfile import PUBLISHED_KEYS, hits_from_json, hits_to_json, read_hit_file, write_hit_file
from retest.errors import InputError
from retest.records import Hit
from retest.testing.crowd import example_hit

LIVE = Path(__file__).parents[2].parent / "shared" / "imagenetv2" / "data" / "mturk" / "hit_data_live"
published = pytest.mark.skipif(not LIVE.is_dir(), reason="the published HIT files are not at hand")

texts = st.text(max_size=10)
images = st.lists(texts, max_size=4).map(tuple)
hits = st.builds(
    Hit,
    uuid=texts,
    wnid=texts,
    images_to_label=images,
    images_pos_control=images,
    images_neg_control=images,
    images_all=images,
    user=texts,
    time=texts,
    submitted=st.booleans(),
    hit_id=texts | st.none(),
    hit_type_id=texts | st.none(),
    file=st.just("name.json"),
)


@published
def test_every_published_file_is_written_as_it_was_read():
    files = sorted(LIVE.glob("*.json"))
    count = 0
    for path in files:
        found = read_hit_file(path)
        count += len(found)
        # One of the published files ends in a line end.
        assert hits_to_json(found) == path.read_text(encoding="utf-8").rstrip("\n"), path.name
        assert {hit.file for hit in found} <= {path.name}
    assert files
    assert count >= len(files)


@published
def test_every_published_hit_can_be_published_again():
    for path in sorted(LIVE.glob("*.json")):
        for hit in read_hit_file(path):
            check_hit(hit)


@given(st.lists(hits, max_size=3))
def test_any_hits_survive(some):
    assert hits_from_json(hits_to_json(some), file="name.json") == some


def test_keys_are_the_published_ones_in_their_order():
    (entry,) = json.loads(hits_to_json([example_hit(1)]))
    assert tuple(entry) == PUBLISHED_KEYS
    assert len(PUBLISHED_KEYS) == 11


def test_files_are_replaced_as_a_whole(tmp_path):
    path = tmp_path / "hits.json"
    write_hit_file(path, [example_hit(1)])
    write_hit_file(path, [example_hit(1), example_hit(2)])
    assert [hit.uuid for hit in read_hit_file(path)] == [example_hit(1).uuid, example_hit(2).uuid]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"images_all": "abc"}, "HIT 1: images_all is 'abc'. Expected a list of strings"),
        ({"images_all": [1]}, r"HIT 1: images_all is \[1\]. Expected a list of strings"),
        ({"submitted": 1}, "HIT 1: submitted is 1. Expected true or false"),
        ({"wnid": None}, "HIT 1: wnid is None. Expected a string"),
        ({"colour": "red"}, "HIT 1: unknown keys: colour"),
    ],
)
def test_wrong_hits_are_named(change, problem):
    good = json.loads(hits_to_json([example_hit(1)]))[0]
    with pytest.raises(InputError, match=problem):
        hits_from_json(json.dumps([good, {**good, **change}]), file="name.json")


def test_missing_keys_are_named():
    good = json.loads(hits_to_json([example_hit(1)]))[0]
    del good["time"], good["user"]
    with pytest.raises(InputError, match=r"name\.json, HIT 0: missing keys: time, user"):
        hits_from_json(json.dumps([good]), file="name.json")


@pytest.mark.parametrize("text", ["", "{}", "[1]", "[[]]", "[{}"])
def test_other_json_is_refused(text):
    with pytest.raises(InputError, match=r"name\.json"):
        hits_from_json(text, file="name.json")


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(InputError, match=r"absent\.json"):
        read_hit_file(tmp_path / "absent.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"binary\.json"):
        read_hit_file(tmp_path / "binary.json")
