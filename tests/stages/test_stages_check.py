"""The consistency check finds whatever is missing or damaged, repairs what can be repaired, and guards publishing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import stage_studies as tiny

from retest.errors import StageError, StoreError
from retest.records import Exclusion
from retest.stages import _consistency, label
from retest.stages._common import public_blob_key
from retest.stages.check import check_images
from retest.stages.publish import publish_images
from retest.study import Study

VARIANTS = ("original", "scaled_40", "scaled_16")


def key_of(study: Study, image: str, variant: str) -> str:
    with study.database.read() as tables:
        return tables.variants.get([image], variant)[image].blob_key


def copy_of(study: Study, image: str) -> str:
    with study.database.read() as tables:
        return public_blob_key(tables.opaque_names.all(1)[image])


def damage(study: Study, key: str, how: str) -> None:
    data = study.blobs.get(key)
    if how == "deleted":
        study.blobs.delete(key)
    elif how == "cut short":
        study.blobs.put(key, data[:-10])
    else:
        study.blobs.put(key, data[:-10] + bytes(10))


def mend(study: Study) -> None:
    """What the messages say: check --repair, download, publish."""
    check_images(study, repair=True)
    tiny.store(study)
    tiny.publish_all(study)


def test_a_complete_study_passes(ready: Study):
    for deep in (False, True):
        report = check_images(ready, deep=deep)
        assert (report.ok, report.images, report.findings, report.repaired) == (True, 48, (), 0)


@pytest.mark.parametrize("how", ["deleted", "cut short", "other bytes"])
@pytest.mark.parametrize("what", [*VARIANTS, "opaque copy"])
@pytest.mark.parametrize("image", ["val/dog/03.png", "cat/02.png"])
def test_damage_is_found_and_repaired(ready: Study, image: str, what: str, how: str):
    before = tiny.blobs_of(ready)
    if not image.startswith("val"):
        image = tiny.candidates_of(ready)[image].id
    key = copy_of(ready, image) if what == "opaque copy" else key_of(ready, image, what)
    damage(ready, key, how)
    (finding,) = check_images(ready).findings
    assert check_images(ready, deep=True).findings == (finding,)
    assert (finding.image_id, finding.what) == (image, what)
    problem = {"deleted": "is missing", "cut short": "bytes instead of", "other bytes": "content is not what was stored"}[how]
    assert problem in finding.problem
    assert "run retest" in finding.problem
    assert tiny.blobs_of(ready) != before
    mend(ready)
    assert check_images(ready, deep=True).ok
    assert tiny.blobs_of(ready) == before


def test_what_was_found_whole_is_read_again_only_when_it_was_written_anew(ready: Study, monkeypatch: pytest.MonkeyPatch):
    read: list[str] = []
    get = type(ready.blobs).get

    def noted(self: object, key: str) -> bytes:
        read.append(key)
        return get(self, key)

    monkeypatch.setattr(type(ready.blobs), "get", noted)
    assert check_images(ready).ok
    assert len(read) == len(set(read)) == 4 * 48
    read.clear()
    assert check_images(ready).ok
    assert read == []
    image = tiny.candidates_of(ready)["cat/02.png"].id
    copy = copy_of(ready, image)
    ready.blobs.put(copy, ready.blobs.get(copy))  # the same bytes in another file
    read.clear()
    assert check_images(ready).ok
    assert copy in read
    assert len(read) == 4
    read.clear()
    assert check_images(ready, deep=True).ok
    assert len(read) == 4 * 48


def test_bits_that_turn_on_a_disk_are_found_by_reading_everything(ready: Study):
    assert check_images(ready).ok
    path = Path(ready.blobs.location(copy_of(ready, "val/dog/03.png")))
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(before.st_size // 2)
        file.write(b"\0\0\0\0")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert check_images(ready).ok  # nobody wrote a new file
    (finding,) = check_images(ready, deep=True).findings
    assert finding.image_id == "val/dog/03.png"
    assert check_images(ready).findings == (finding,)  # and that is not forgotten
    assert check_images(ready, repair=True).repaired == 1
    assert check_images(ready, deep=True).ok


def test_publishing_replaces_a_copy_of_the_right_size_and_wrong_content(ready: Study):
    before = tiny.blobs_of(ready)
    damage(ready, copy_of(ready, "val/dog/03.png"), "other bytes")
    assert publish_images(ready, key=None).written == 1
    assert publish_images(ready, key=None).written == 0
    assert tiny.blobs_of(ready) == before
    # What is damaged itself is not handed out.
    damage(ready, key_of(ready, "val/dog/03.png", "scaled_40"), "other bytes")
    ready.blobs.delete(copy_of(ready, "val/dog/03.png"))
    with pytest.raises(StoreError, match="not what was stored") as caught:
        publish_images(ready, key=None)
    assert "check --repair" in str(caught.value.remedy)
    mend(ready)
    assert tiny.blobs_of(ready) == before


def test_a_check_that_is_stopped_goes_on_where_it_was(ready: Study, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_consistency, "_IMAGES_PER_WRITE", 5)
    get, reads = type(ready.blobs).get, [0]

    def breaking(self: object, key: str) -> bytes:
        reads[0] += 1
        if reads[0] > 4 * 30:
            raise KeyboardInterrupt
        return get(self, key)

    with monkeypatch.context() as patch:
        patch.setattr(type(ready.blobs), "get", breaking)
        with pytest.raises(KeyboardInterrupt):
            check_images(ready)
    with ready.database.read() as tables:
        done = len(tables.completions.keys("check"))
    assert 5 <= done < 48
    reads[0] = 0
    with monkeypatch.context() as patch:
        patch.setattr(type(ready.blobs), "get", lambda self, key: (reads.__setitem__(0, reads[0] + 1), get(self, key))[1])
        assert check_images(ready).ok
    assert reads[0] == 4 * (48 - done)


def test_everything_at_once(ready: Study):
    before = tiny.blobs_of(ready)
    images = sorted(candidate.id for candidate in tiny.candidates_of(ready).values())
    for number, image in enumerate(images[:12]):
        for variant in VARIANTS[: 1 + number % 3]:
            damage(ready, key_of(ready, image, variant), ("deleted", "cut short", "other bytes")[number % 3])
        damage(ready, copy_of(ready, image), ("cut short", "deleted", "other bytes")[number % 3])
    assert {finding.image_id for finding in check_images(ready).findings} == set(images[:12])
    mend(ready)
    assert check_images(ready, deep=True).ok
    assert tiny.blobs_of(ready) == before


def test_looking_changes_nothing(ready: Study):
    damage(ready, copy_of(ready, "val/dog/03.png"), "deleted")
    before = tiny.blobs_of(ready)
    check_images(ready, deep=True)
    assert tiny.blobs_of(ready) == before


def test_what_was_never_stored_or_published_is_found(study: Study):
    tiny.find_candidates(study)
    report = check_images(study)
    assert len(report.findings) == 48 * 3
    assert {finding.problem for finding in report.findings} == {"not stored; run retest download"}
    tiny.store(study)
    report = check_images(study)
    assert {(finding.what, finding.problem) for finding in report.findings} == {("opaque name", "has none; run retest publish")}
    tiny.publish_all(study)
    assert check_images(study).ok


def test_excluded_and_unusable_images_need_nothing(ready: Study, tmp_path):
    image = tiny.candidates_of(ready)["cat/02.png"].id
    for variant in VARIANTS:
        damage(ready, key_of(ready, image, variant), "deleted")
    assert not check_images(ready).ok
    with ready.database.write() as tables:
        tables.exclusions.add([Exclusion(image, "offensive")])
    assert check_images(ready).images == 47
    assert check_images(ready).ok


def test_nothing_is_published_while_the_check_fails(ready: Study):
    label.plan(ready, stamp=tiny.STAMP)
    damage(ready, copy_of(ready, "val/dog/03.png"), "cut short")
    crowd = tiny.simulated()
    with pytest.raises(StageError, match=r"val/dog/03.png: 1 images are not ready to be shown.*retest check") as caught:
        label.submit(ready, crowd, stamp=tiny.STAMP)
    assert caught.value.item == "val/dog/03.png"
    assert list(crowd.published()) == []
    with ready.database.read() as tables:
        assert tables.hits.totals().submitted == 0
    tiny.publish_all(ready)
    done = label.submit(ready, crowd, stamp=tiny.STAMP)
    assert done.published == len(list(crowd.published())) > 0
    assert not done.failures
