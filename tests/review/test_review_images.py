"""What is recorded of an image is what lies in the blob store, whatever was killed and whatever changed in between."""

from contextlib import closing

import pytest
from PIL import Image

from retest.images import content_hash, variant_names
from retest.stages._common import Stamp, image_blob_key, public_blob_key
from retest.stages.benchmark import register_benchmark
from retest.stages.check import check_images
from retest.stages.images import store_images
from retest.stages.publish import publish_images
from retest.study import BenchmarkSettings, StudyConfig, create_study

STAMP = Stamp("tester", "2026-01-01T00:00:00+00:00")


@pytest.fixture
def study(tmp_path):
    for wnid, level in (("a", 10), ("b", 200)):
        (tmp_path / "val" / wnid).mkdir(parents=True)
        Image.new("L", (40, 30), level).save(tmp_path / "val" / wnid / "0.png")
    with closing(create_study(tmp_path / "s", StudyConfig(benchmark=BenchmarkSettings(val=str(tmp_path / "val"))))) as found:
        register_benchmark(found)
        yield found


def store(study):
    return store_images(study, lambda _candidate: b"", stamp=STAMP)


def recorded(study):
    with study.database.read() as tables:
        return list(tables.variants.all())


def test_blobs_that_a_killed_run_left_give_way_to_what_the_file_holds_now(study):
    # Killed between blobs and rows; before the next run the file was replaced.
    key = image_blob_key("val/a/0.png", variant_names(study.config.images)[1], study.config.images)
    study.blobs.put_new(key, b"the variant of another picture")
    store(study)
    assert all(content_hash(study.blobs.get(variant.blob_key)) == variant.sha256 for variant in recorded(study))
    publish_images(study, key=None)
    assert check_images(study, deep=True).ok


def test_repair_and_download_mend_a_damaged_variant(study):
    store(study)
    publish_images(study, key=None)
    damaged = next(v for v in recorded(study) if v.variant == variant_names(study.config.images)[0])
    study.blobs.put(damaged.blob_key, bytes(damaged.size_bytes))  # the size is right, the content is not
    assert not check_images(study, repair=True).ok
    assert store(study).stored == 1
    assert check_images(study, deep=True).ok


def test_a_killed_repair_leaves_nothing_damaged_behind(study, monkeypatch):
    store(study)
    publish_images(study, key=None)
    damaged = next(v for v in recorded(study) if v.variant == variant_names(study.config.images)[0])
    study.blobs.put(damaged.blob_key, bytes(damaged.size_bytes))

    def killed(_store, _key):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(study.blobs), "delete", killed)
        with pytest.raises(KeyboardInterrupt):
            check_images(study, deep=True, repair=True)
    assert store(study).stored == 1
    assert check_images(study, deep=True).ok


def test_the_remedy_for_a_damaged_copy_mends_it(study):
    store(study)
    publish_images(study, key=None)
    with study.database.read() as tables:
        name = tables.opaque_names.all(1)["val/a/0.png"]
    size = study.blobs.size(public_blob_key(name))
    study.blobs.put(public_blob_key(name), bytes(size))
    (finding,) = check_images(study).findings
    assert "check --repair" in finding.problem
    assert check_images(study, repair=True).repaired == 1
    assert check_images(study, deep=True).ok
