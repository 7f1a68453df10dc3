"""Where published data may lie, and files of it that are damaged."""

from __future__ import annotations

import json
import shutil
import tarfile

import numpy as np
import pytest
from layout_tree import (
    B2,
    WNIDS,
    A,
    B,
    C,
    D,
    reference_id,
    search_row,
    tar_tree,
    write_tree,
)
from reading_published import everything, read_with, warned

from retest.benchmarks.archives import ArchiveLimits
from retest.benchmarks.imagenetv2 import PublishedData
from retest.errors import InputError
from retest.records import Candidate

# Damaged files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"id_ours": ', "the file is not valid JSON"),
        (b"{}", "should hold a JSON list"),
        (b"", "should hold a JSON list"),
        (b"\xff\xfe[]", "not valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_one_damaged_file_is_a_warning_and_the_rest_goes_on(tmp_path, content, message):
    data = read_with(tmp_path, search_results__x=content)
    assert {record.id for record in data.candidates() if isinstance(record, Candidate)} == {A, B, B2, C, D}
    (warning,) = warned(data, "malformed_file")
    assert warning.file == "search_results/x.json"
    assert message in warning.message


def test_every_json_file_may_be_cut_or_of_another_kind(tmp_path):
    """No content of any file raises: each one is replaced by half of itself, by a list of numbers, by an object of numbers."""
    tree = write_tree(tmp_path / "clone")
    files = sorted((tree / "data").rglob("*.json"))
    assert len(files) > 20
    for file in files:
        original = file.read_bytes()
        for content in (original[: len(original) // 2], b"[1, 2.5, null]", b'{"a": 1, "b": [2], "c": {"d": 3}}'):
            file.write_bytes(content)
            data = PublishedData(tree)
            everything(data)
            assert any(warning.file == file.relative_to(tree / "data").as_posix() for warning in data.check()), file
        file.write_bytes(original)


def test_a_byte_order_mark_is_no_fault(tmp_path):
    content = b"\xef\xbb\xbf" + json.dumps([search_row("77", WNIDS[0])]).encode()
    data = read_with(tmp_path, search_results__x=content)
    assert reference_id("77flickr") in {record.id for record in data.candidates() if isinstance(record, Candidate)}
    assert not warned(data, "malformed_file")


def test_repeated_keys_count_once(tmp_path):
    content = f'{{"{A}": "first", "{A}": "second"}}'.encode()
    data = read_with(tmp_path, metadata__candidate_blacklist=content)
    assert [(row.candidate_id, row.reason) for row in data.exclusions()] == [(A, "first")]
    assert [warning.item for warning in warned(data, "duplicate_key")] == [A]


# Where the data lie


def test_a_clone_its_data_folder_a_part_and_an_archive_are_the_same(tree, tmp_path):
    expected = everything(PublishedData(tree))
    assert everything(PublishedData(tree / "data")) == expected
    with PublishedData(tar_tree(tree, tmp_path / "clone.tar.gz")) as archive:
        assert everything(archive) == expected
    with PublishedData(tar_tree(tree, tmp_path / "flat.tar", prefix="")) as archive:
        assert everything(archive) == expected


def test_one_family_folder_alone(tree, tmp_path):
    shutil.copytree(tree / "data/mturk", tmp_path / "mturk")
    data = PublishedData(tmp_path / "mturk")
    assert {hit.uuid for hit in data.hits()} == {"u1", "u2", "u3", "u4"}
    assert "search_results" in data.inventory.missing
    assert list(data.candidates()) == []


def test_the_inventory_says_what_is_there_and_what_is_missing(tree, tmp_path):
    (tmp_path / "data").mkdir()
    shutil.copytree(tree / "data/metadata", tmp_path / "data/metadata")
    (tmp_path / "data/metadata/notes.txt").write_text("x")
    (tmp_path / "data/.git").mkdir()
    (tmp_path / "data/.git/config").write_text("x")
    inventory = PublishedData(tmp_path).inventory
    assert inventory.missing == (
        "search_results",
        "hit_candidates",
        "hits",
        "hit_exclusions",
        "assignments",
        "class_thresholds",
        "revisions",
        "class_reviews",
        "predictions",
    )
    assert inventory.files["near_duplicates"] == ("metadata/near_duplicates.json",)
    assert inventory.unrecognised == ("metadata/notes.txt",)
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "data/metadata").glob("*.json")}
    assert inventory.total_bytes == sum(sizes.values())
    rows = {key: (count, size) for key, _, count, size in inventory.describe()}
    assert rows["near_duplicates"] == (1, sizes["near_duplicates.json"])
    assert rows["hits"] == (0, 0)


def test_progress_adds_up_to_the_total(tree):
    seen = []
    data = PublishedData(tree, on_file=lambda path, size: seen.append((path, size)))
    everything(data)
    list(data.neighbors(test=True))
    assert sum(dict(seen).values()) == data.inventory.total_bytes


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: path.write_text("hello"), lambda path: None])
def test_places_without_the_layout_are_refused(tmp_path, make):
    place = tmp_path / "place"
    make(place)
    with pytest.raises(InputError) as caught:
        PublishedData(place)
    assert caught.value.remedy


def test_unsafe_members_of_an_archive_are_left_out_with_a_warning(tree, tmp_path):
    link = tarfile.TarInfo("ImageNetV2-master/data/metadata/extra.json")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    climbing = tarfile.TarInfo("../data/search_results/evil.json")
    again = tarfile.TarInfo("other/data/metadata/class_info.json")
    archive = tar_tree(tree, tmp_path / "clone.tar.gz", extra=[(link, b""), (climbing, b"[]"), (again, b"[]")])
    before = sorted(path for path in tmp_path.parent.rglob("*"))
    with PublishedData(archive) as data:
        assert everything(data) == everything(PublishedData(tree))
        assert {(warning.file, warning.kind) for warning in data.warnings if warning.kind == "unusable_file"} == {
            (link.name, "unusable_file"),
            (climbing.name, "unusable_file"),
            (again.name, "unusable_file"),
        }
    assert sorted(path for path in tmp_path.parent.rglob("*")) == before


def test_an_archive_beyond_the_limits_is_refused(tree, tmp_path):
    archive = tar_tree(tree, tmp_path / "clone.tar.gz")
    with pytest.raises(InputError, match="more than 5 members"):
        PublishedData(archive, limits=ArchiveLimits(max_members=5))


@pytest.mark.parametrize("archive", [False, True])
def test_files_that_nobody_reads_are_told(tmp_path, archive):
    """A compressed file of search results would otherwise be candidates that are missing without a word."""
    folder = write_tree(tmp_path / "tree")
    (folder / "data/search_results/late.json.gz").write_bytes(b"x")
    (folder / "data/metadata/notes.txt").write_text("x")
    (folder / "data/metadata/.hidden").write_text("x")
    (folder / "data/README.md").write_text("of no folder of the layout")
    data = PublishedData(tar_tree(folder, tmp_path / "tree.tar.gz") if archive else folder)
    assert [(found.file, found.message) for found in data.warnings if found.kind == "unread_file"] == [
        ("metadata/notes.txt", "is no file of the published layout; left out"),
        ("search_results/late.json.gz", "is compressed: unpack it; left out"),
    ]


def test_a_part_of_the_classes_keeps_its_class_indices(tmp_path):
    """Of 3 classes with the indices 0, 10 and 990, a prediction of 990 is one of them, 991 of none."""
    places = {name: tmp_path / "data" / name for name in ("metadata", "datasets", "predictions/part")}
    for place in places.values():
        place.mkdir(parents=True)
    rows = [{"cid": cid, "wnid": wnid, "synset": [], "gloss": ""} for cid, wnid in zip((0, 10, 990), WNIDS, strict=False)]
    (places["metadata"] / "class_info.json").write_text(json.dumps(rows))
    (places["datasets"] / "part.json").write_text(json.dumps({"image_filenames": [["a", WNIDS[2]]], "seed": 0}))
    np.save(places["predictions/part"] / "right.npy", np.array([[990, 10]]))
    np.save(places["predictions/part"] / "wrong.npy", np.array([[991, 10]]))
    data = PublishedData(tmp_path)
    assert [found.model for found in data.predictions()] == ["right"]
    assert [found.file for found in data.warnings if found.kind == "class_index_out_of_range"] == ["predictions/part/wrong.npy"]
