"""The consistency check finds whatever is missing or damaged, repairs what can be repaired, and guards publishing."""

from __future__ import annotations

import pytest
import stage_studies as tiny

from retest.errors import StageError
from retest.records import Exclusion
from retest.stages import label
from retest.stages._common import public_blob_key
from retest.stages.check import check_images
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
    """What the messages say: check --repair, download, publish, and once more for copies of what was stored anew."""
    check_images(study, deep=True, repair=True)
    tiny.store(study)
    tiny.publish_all(study)
    check_images(study, deep=True, repair=True)


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
    quick, deep = check_images(ready), check_images(ready, deep=True)
    assert quick.ok == (how == "other bytes")  # only reading everything shows that
    (finding,) = deep.findings
    assert (finding.image_id, finding.what) == (image, what)
    problem = {"deleted": "is missing", "cut short": "bytes instead of", "other bytes": "content is not what was stored"}[how]
    assert problem in finding.problem
    assert "run retest" in finding.problem
    assert tiny.blobs_of(ready) != before
    mend(ready)
    assert check_images(ready, deep=True).ok
    assert tiny.blobs_of(ready) == before


def test_everything_at_once(ready: Study):
    before = tiny.blobs_of(ready)
    images = sorted(candidate.id for candidate in tiny.candidates_of(ready).values())
    for number, image in enumerate(images[:12]):
        for variant in VARIANTS[: 1 + number % 3]:
            damage(ready, key_of(ready, image, variant), ("deleted", "cut short", "other bytes")[number % 3])
        damage(ready, copy_of(ready, image), ("cut short", "deleted", "other bytes")[number % 3])
    assert {finding.image_id for finding in check_images(ready, deep=True).findings} == set(images[:12])
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
