"""Registering, searching, storing: what is missing or broken is named, recorded, and does not stop the rest."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest
import stage_studies as tiny
from PIL import Image

from ordinary_user import without_privileges
from retest.errors import ConfigError, InputError, RetestError, StageError, StoreError
from retest.images import variant_names
from retest.records import Candidate, Split
from retest.stages import benchmark, collect, images, status
from retest.stages._common import image_blob_key
from retest.stages._decoding import Fetched, MakeVariants, in_order_decoded
from retest.study import Study
from retest.testing.database import canonical_dump, differences
from unreadable import make_unreadable

# -------------------------------------------------------------------------------------------------------------- benchmark


def test_a_benchmark_is_registered_once(study: Study):
    first = benchmark.register_benchmark(study)
    assert (first.classes, first.train, first.val, first.test, first.added) == (3, 6, 24, 0, 30)
    before = canonical_dump(study, skip=())
    assert dataclasses.replace(first, added=0) == benchmark.register_benchmark(study)
    assert differences(before, canonical_dump(study, skip=())) == []


def test_no_folder_of_original_images_is_missed(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "val/cat").rename(tmp_path / "cats")
    (tmp_path / "val/cat").mkdir()
    (tmp_path / "val/cat/all").symlink_to(tmp_path / "cats")
    (tmp_path / "cats/again").symlink_to(tmp_path / "val/cat")  # leads back
    assert benchmark.register_benchmark(study).val == 24
    for place, target in (("everything", "/"), ("cat/up", ".."), ("all", "../..")):
        (tmp_path / "val" / place).symlink_to(target)
        with pytest.raises(InputError, match=f"{place}: is a link to .*, which holds {tmp_path / 'val'} itself"):
            benchmark.register_benchmark(study)
        (tmp_path / "val" / place).unlink()
    make_unreadable(monkeypatch, "dog")
    with pytest.raises(InputError, match="dog: cannot be read"):
        benchmark.register_benchmark(study)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"val": ""}, r"\[benchmark\] val: no folder of original images is set"),
        ({"val": "/no/such/folder"}, r"\[benchmark\] val: /no/such/folder is no folder"),
        ({"class_info": "/no/such/file.json"}, r"file\.json: cannot be read as JSON"),
    ],
)
def test_a_benchmark_that_is_not_there(tmp_path: Path, settings: dict, message: str):
    with closing(tiny.make_study(tmp_path, benchmark=settings)) as study, pytest.raises((ConfigError, InputError), match=message) as caught:
        benchmark.register_benchmark(study)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "holds no list"),
        ("[", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ('[{"wnid": "cat"}]', r"entry 0 is no class \(KeyError"),
        ('[{"wnid": "cat", "cid": "x", "synset": ["cat"]}]', r"entry 0 is no class \(ValueError"),
        ('[{"wnid": "cat", "cid": 0, "synset": ["cat"]}, {"wnid": "cat", "cid": 1, "synset": ["cat"]}]', "occurs twice"),
        ('[{"wnid": "cat", "cid": 0, "synset": ["cat"]}]', "class list has no such class"),
    ],
)
def test_a_class_list_that_cannot_be_used(tmp_path: Path, text: str, message: str):
    (tmp_path / "classes.json").write_text(text)
    with closing(tiny.make_study(tmp_path, benchmark={"class_info": str(tmp_path / "classes.json")})) as study:
        with pytest.raises(InputError, match=message) as caught:
            benchmark.register_benchmark(study)
        assert caught.value.remedy
        with study.database.read() as tables:
            assert (tables.classes.count(), tables.originals.counts()) == (0, {})


def test_two_originals_of_one_name(tmp_path: Path):
    with closing(tiny.make_study(tmp_path, benchmark={"ids": "name"})) as study, pytest.raises(InputError, match="share an id") as caught:
        benchmark.register_benchmark(study)
    assert caught.value.item == "00.png"


# ----------------------------------------------------------------------------------------------------------------- search


def test_searching_before_there_are_classes(study: Study):
    with pytest.raises(StageError, match=r"knows no classes yet.*retest benchmark"):
        collect.search(study, tiny.source_of(study), stamp=tiny.STAMP)


def test_a_folder_that_is_not_there(tmp_path: Path):
    made = tiny.make_study(tmp_path, source={"location": str(tmp_path / "absent")})
    with closing(made) as study, pytest.raises(ConfigError, match="absent: is not a folder"):
        tiny.find_candidates(study)


@pytest.mark.parametrize("how", ["empty folder", "no folder", "no images"])
def test_a_class_without_candidates_is_named_and_the_others_go_on(tmp_path: Path, how: str):
    tiny.write_benchmark(tmp_path)
    shutil.rmtree(tmp_path / "pool/owl")
    if how != "no folder":
        (tmp_path / "pool/owl").mkdir()
    if how == "no images":
        (tmp_path / "pool/owl/notes.txt").write_text("none found")
    with closing(tiny.make_study(tmp_path)) as study:
        found = tiny.find_candidates(study)
        assert found.empty_classes == ("owl",)
        assert found.new_candidates == 12
        tiny.store(study)
        tiny.publish_all(study)
        tiny.label_all(study)
        with study.database.read() as tables:
            assert {hit.wnid for hit in tables.hits.all()} >= {"cat", "dog"}
        assert status.study_status(study).counts["candidates"] == 12


def test_files_that_are_added_later_are_found_and_others_not_twice(study: Study, tmp_path: Path):
    assert tiny.find_candidates(study).new_candidates == 18
    again = tiny.find_candidates(study)
    assert (again.new_candidates, again.occurrences) == (0, 0)
    tiny.write_picture(tmp_path / "pool/cat/new.png", (1, 2, 3), 99)
    assert tiny.find_candidates(study).new_candidates == 1
    with study.database.read() as tables:
        assert (tables.candidates.count(), tables.candidates.occurrences()) == (19, 0)


# ----------------------------------------------------------------------------------------------------------------- images


def _jpeg(path: Path) -> bytes:
    buffer = BytesIO()
    Image.open(path).resize((200, 200)).save(buffer, "JPEG")
    return buffer.getvalue()


def test_broken_files_are_recorded_each_with_its_reason(study: Study, tmp_path: Path):
    pool = tmp_path / "pool/cat"
    whole = _jpeg(pool / "00.png")
    broken = {
        "truncated": whole[: len(whole) // 2],
        "html": b"<!DOCTYPE html><html><title>404 Not Found</title></html>",
        "empty": b"",
        "not_an_image": b"just some text that nobody would call an image",
    }
    for reason, data in broken.items():
        (pool / f"{reason}.jpg").write_bytes(data)
    tiny.find_candidates(study)
    counts = tiny.store(study)
    assert (counts.stored, counts.failed, counts.present) == (48, 4, 0)
    candidates = tiny.candidates_of(study)
    with study.database.read() as tables:
        excluded, problems = tables.exclusions.all(), tables.problems.all()
    for reason in broken:
        image = candidates[f"cat/{reason}.jpg"].id
        assert excluded[image].reason == problems[image][0] == reason
        assert (excluded[image].user, excluded[image].time) == (tiny.STAMP.user, tiny.STAMP.time)
        assert excluded[image].detail
    assert len(excluded) == len(problems) == 4
    assert tiny.store(study) == images.ImageCounts(0, 0, 48)  # nothing is tried again by itself


def test_a_file_that_vanished_is_recorded_and_tried_again_on_request(study: Study, tmp_path: Path):
    tiny.find_candidates(study)
    path = tmp_path / "pool/dog/03.png"
    path.rename(tmp_path / "elsewhere.png")
    assert tiny.store(study).failed == 1
    image = tiny.candidates_of(study)["dog/03.png"].id
    with study.database.read() as tables:
        assert tables.exclusions.all()[image].reason == "not_fetched"
    (tmp_path / "elsewhere.png").rename(path)
    assert tiny.store(study).stored == 0
    assert images.retry_failed(study) == 1
    assert tiny.store(study) == images.ImageCounts(1, 0, 47)
    with study.database.read() as tables:
        assert (tables.exclusions.all(), tables.problems.all()) == ({}, {})


def test_a_source_folder_that_is_gone_excludes_nothing(study: Study, tmp_path: Path):
    """Such as a drive that is not mounted."""
    tiny.find_candidates(study)
    (tmp_path / "pool").rename(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="is not a folder"):
        tiny.store(study)
    with study.database.read() as tables:
        assert (tables.exclusions.all(), tables.problems.all()) == ({}, {})
    (tmp_path / "elsewhere").rename(tmp_path / "pool")
    tiny.store(study)
    with study.database.read() as tables:
        assert tables.variants.count_complete(variant_names(study.config.images)) == 48


def test_an_error_of_the_writing_ends_the_fetching_and_is_told(study: Study, monkeypatch: pytest.MonkeyPatch):
    """One batch is written while the next is fetched, so the error of a batch comes up during a later one."""
    tiny.find_candidates(study)
    images.store_images(study, lambda candidate: b"", stamp=tiny.STAMP)  # the originals; every candidate is empty
    images.retry_failed(study)
    monkeypatch.setattr(images, "_BATCH", 2)
    monkeypatch.setattr(images, "in_order_decoded", _in_order_without_window)
    fetched: list[str] = []
    data = (study.path("../pool") / "cat/00.png").read_bytes()

    def fetch(candidate: Candidate) -> bytes:
        fetched.append(candidate.id)
        return data

    error = StoreError("no space", item="blob", remedy="Free some space")
    breaking = dataclasses.replace(study, blobs=tiny.BreakingBlobs(study.blobs, allow=12, error=error))  # two batches
    with pytest.raises(StoreError, match="no space"):
        images.store_images(breaking, fetch, stamp=tiny.STAMP)
    assert 6 <= len(fetched) <= 10 < len(tiny.candidates_of(study))
    with study.database.read() as tables:
        written = [v for v in tables.variants.all() if v.image_id in fetched]
    assert {v.image_id for v in written} == set(fetched[:4])
    assert all(study.blobs.size(v.blob_key) == v.size_bytes for v in written)


def _in_order_without_window(executor: Executor, make: MakeVariants, items: Iterable[Fetched], *, window: int) -> Iterator[Fetched]:
    return in_order_decoded(executor, make, items, window=1)


def test_trying_again_keeps_what_people_excluded(study: Study, tmp_path: Path):
    from retest.records import Exclusion

    (tmp_path / "pool/cat/00.png").write_bytes(b"")
    tiny.find_candidates(study)
    candidates = tiny.candidates_of(study)
    by_hand = Exclusion(candidates["cat/00.png"].id, "offensive", "", "somebody", tiny.STAMP.time)
    with study.database.write() as tables:
        tables.exclusions.add([by_hand])
    tiny.store(study)
    images.retry_failed(study)
    with study.database.read() as tables:
        assert tables.exclusions.all() == {by_hand.candidate_id: by_hand}


def test_a_broken_original_is_left_out_everywhere(study: Study, tmp_path: Path):
    (tmp_path / "val/cat/00.png").write_bytes(b"<html>")
    benchmark.register_benchmark(study)
    (tmp_path / "val/dog/00.png").unlink()  # gone after it was registered
    tiny.ready_to_sample(study)
    with study.database.read() as tables:
        problems = {image: reason for image, (reason, _) in tables.problems.all().items()}
        assert problems == {"val/cat/00.png": "html", "val/dog/00.png": "not_fetched"}
        shown = {image for hit in tables.hits.all() for image in hit.images_all}
        assert not shown & set(problems)
        assert set(tables.originals.ids(split=Split.VAL, wnid="cat")) - shown == {"val/cat/00.png"}
        assert tables.exclusions.all() == {}


def test_a_full_disk_in_the_middle_loses_nothing(tmp_path: Path):
    """The same end as without the trouble, row for row and blob for blob."""
    with closing(tiny.make_study(tmp_path / "calm")) as calm, closing(tiny.make_study(tmp_path / "full")) as full:
        for study in (calm, full):
            tiny.find_candidates(study)
        tiny.store(calm)
        for allow in (0, 1, 40, 100):
            error = StoreError("no space", item="blob", remedy="Free some space")
            breaking = dataclasses.replace(full, blobs=tiny.BreakingBlobs(full.blobs, allow=allow, error=error))
            with pytest.raises(StoreError, match="no space"):
                tiny.store(breaking)
        tiny.store(full)
        places = [{str(tmp_path / name): "OUT"} for name in ("calm", "full")]
        assert differences(canonical_dump(calm, places=places[0]), canonical_dump(full, places=places[1])) == []
        assert tiny.blobs_of(calm) == tiny.blobs_of(full)


def test_a_blob_of_a_killed_run_and_another_picture_is_not_taken_for_this_one(study: Study):
    """Killed between blob and record, the file replaced, run again: record, blob and picture must agree."""
    tiny.find_candidates(study)
    key = image_blob_key("val/cat/00.png", "scaled_16", study.config.images)
    study.blobs.put_new(key, b"what the picture was before")
    tiny.store(study)
    with study.database.read() as tables:
        stored = tables.variants.get(["val/cat/00.png"], "scaled_16")["val/cat/00.png"]
    data = study.blobs.get(key)
    assert (stored.blob_key, stored.sha256, stored.size_bytes) == (key, hashlib.sha256(data).hexdigest(), len(data))
    assert Image.open(BytesIO(data)).size == (16, 16)


def test_other_sizes_make_all_variants_again(study: Study, tmp_path: Path):
    tiny.find_candidates(study)
    tiny.store(study)
    changed = dataclasses.replace(study, config=tiny.config(images={"compare_side": 8}))
    assert tiny.store(changed) == images.ImageCounts(48, 0, 0)
    with study.database.read() as tables:
        assert tables.variants.counts() == {"original": 48, "scaled_40": 48, "scaled_8": 48}
        assert {(v.width, v.height) for v in tables.variants.all("scaled_8")} == {(8, 8)}
    assert tiny.store(changed) == images.ImageCounts(0, 0, 48)


def test_ids_of_any_length_can_be_stored(study: Study, tmp_path: Path):
    name = "魚の写真" * 20 + ".png"  # 240 bytes, the most that a file system allows, and three times that when quoted
    tiny.write_picture(tmp_path / "val/cat" / name, tiny.COLORS["cat"], 1000)
    tiny.ready_to_label(study)
    with study.database.read() as tables:
        assert tables.problems.all() == {}
        stored = tables.variants.get([f"val/cat/{name}"], "original")
    assert Image.open(BytesIO(study.blobs.get(stored[f"val/cat/{name}"].blob_key))).size == (24, 24)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_blobs_that_cannot_be_written_are_a_clear_error():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        with closing(tiny.make_study(folder)) as study:
            tiny.find_candidates(study)
            (folder / "study/blobs").chmod(0o555)
            for path in (folder / "study").glob("study.db*"):
                path.chmod(0o666)
            (folder / "study").chmod(0o777)
            with without_privileges(), pytest.raises(RetestError, match=r"[Pp]ermission") as caught:
                tiny.store(study)
            (folder / "study/blobs").chmod(0o755)
            assert caught.value.remedy
            assert tiny.store(study).stored == 48
