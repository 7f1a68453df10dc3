"""ImageLoader: every image in every variant and form through one loader; features."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from data_tiny import TEST, VAL
from PIL import Image

from retest.datasets import ImageLoader
from retest.demo.models import train_featuriser
from retest.errors import InputError, NotFoundError, UsageError
from retest.images import load_rgb
from retest.study import create_study


@pytest.fixture(scope="module")
def loader(study):
    return ImageLoader(study)


@pytest.fixture(scope="module")
def ids(raw):
    """An original and a candidate that are stored."""
    original = raw.rows("SELECT id FROM originals WHERE split = 'val' ORDER BY id")[5]
    candidate = raw.rows("SELECT id FROM candidates WHERE id IN (SELECT image_id FROM variants) ORDER BY id")[5]
    return original, candidate


VARIANTS = ("original", "scaled_160", "scaled_64")
SIZES = {"original": (64, 64), "scaled_160": (160, 160), "scaled_64": (64, 64)}


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("variant", VARIANTS)
def test_bytes_are_those_stored(loader, ids, raw, variant, kind):
    image = ids[kind]
    (row,) = raw.rows("SELECT blob_key, sha256 FROM variants WHERE image_id = ? AND variant = ?", image, variant)
    data = loader.load_bytes(image, variant)
    assert data == (raw.folder / "blobs" / row[0]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == row[1] == loader.stored_variants(image)[variant].sha256
    assert Path(loader.location(image, variant)).read_bytes() == data


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("variant", VARIANTS)
def test_all_forms_show_the_same_picture(loader, ids, variant, kind):
    image = ids[kind]
    array, picture = loader.load_array(image, variant), loader.load_image(image, variant)
    assert (array.dtype, array.shape) == (np.uint8, (*SIZES[variant][::-1], 3))
    assert (picture.mode, picture.size) == ("RGB", SIZES[variant])
    by_pillow_alone = np.asarray(Image.open(io.BytesIO(loader.load_bytes(image, variant))).convert("RGB"))
    assert np.array_equal(array, by_pillow_alone)
    assert np.array_equal(np.asarray(picture), by_pillow_alone)
    array[0, 0, 0] += 1  # the caller's own copy


def test_variants_may_be_named_by_their_role(loader, ids):
    assert loader.variants == VARIANTS
    for role, name in zip(("original", "display", "compare"), VARIANTS, strict=True):
        assert loader.load_bytes(ids[1], role) == loader.load_bytes(ids[1], name)
    assert loader.load_bytes(ids[1]) == loader.load_bytes(ids[1], "original")
    with pytest.raises(UsageError, match=r"scaled_500: there is no such variant\. Use one of: original, scaled_160, scaled_64, display"):
        loader.load_bytes(ids[1], "scaled_500")


def test_an_original_shows_its_file(loader, raw):
    image, file = raw.rows("SELECT id, location FROM originals WHERE split = 'train' ORDER BY id")[3]
    source = load_rgb(Path(file).read_bytes()).astype(int)
    assert np.abs(loader.load_array(image).astype(int) - source).mean() < 4  # JPEG of quality 90


def test_kind_and_class(loader, ids, raw):
    assert [loader.kind_of(image) for image in ids] == ["original", "candidate"]
    (wnid,) = raw.rows("SELECT wnid FROM candidates WHERE id = ?", ids[1])
    assert loader.wnid_of(ids[1]) == wnid
    assert loader.wnid_of(ids[0]) == ids[0].split("/")[1]


@pytest.mark.parametrize("form", ["bytes", "pillow", "numpy"])
def test_many_images_in_their_order(loader, raw, form):
    wanted = raw.rows("SELECT image_id FROM variants WHERE variant = 'original' ORDER BY sha256 LIMIT 150")
    one = {"bytes": loader.load_bytes, "pillow": loader.load_image, "numpy": loader.load_array}[form]
    found = list(loader.load_many(iter(wanted), "compare", form=form, threads=2))
    assert [image for image, _ in found] == wanted
    for image, value in found[::29]:
        assert np.array_equal(np.asarray(value), np.asarray(one(image, "compare")))


def test_many_images_start_with_few(loader, ids):
    """Memory is bounded: an endless list of ids gives its first images."""

    def endless():
        while True:
            yield ids[0]

    stream = loader.load_many(endless(), form="bytes", threads=1)
    assert next(stream)[0] == ids[0]
    stream.close()


def test_wrong_arguments_of_many(loader, ids):
    with pytest.raises(UsageError, match=r"tensor: there is no such form\. Use one of: bytes, pillow, numpy"):
        loader.load_many(ids, form="tensor")
    with pytest.raises(UsageError, match="threads: must be at least 1, is 0"):
        loader.load_many(ids, threads=0)
    with pytest.raises(UsageError, match="big: there is no such variant"):
        loader.load_many(ids, "big")
    with pytest.raises(NotFoundError, match="nobody"):
        list(loader.load_many([*ids, "nobody"]))


def test_why_there_is_no_image(tiny, loader, raw):
    for broken, reason in raw.rows("SELECT candidate_id, reason FROM exclusions WHERE reason IN ('html', 'empty', 'truncated')"):
        with pytest.raises(NotFoundError, match=rf"{broken}: the image could not be used \({reason}\): [^{broken[0]}]"):
            loader.load_bytes(broken)
    here = ImageLoader(tiny)
    expected = {
        "c1": "the image is not stored. Run: retest download",
        "c5": r"the image could not be used \(html\): an HTML page instead of an image",
        "r1": "known by reference only",
        VAL[0]: "knows this original image by name only",
        "nobody": "is the id of no original image and of no candidate",
    }
    for image, words in expected.items():
        with pytest.raises(NotFoundError, match=f"{image}: .*{words}"):
            here.load_bytes(image)
        if image != "nobody":
            assert here.stored_variants(image) == {}
    for ask in (here.stored_variants, here.kind_of, here.wnid_of, here.location):
        with pytest.raises(NotFoundError, match="nobody"):
            ask("nobody")
    assert here.wnid_of(TEST) is here.wnid_of("r1") is None


@pytest.fixture(scope="module")
def unstored(study, tmp_path_factory):
    """A study with the demo's originals and settings that has stored no image."""
    folder = tmp_path_factory.mktemp("unstored")
    other = create_study(folder, study.config)
    with study.database.read() as tables:
        originals = list(tables.originals.all())
    with other.database.write() as tables:
        tables.originals.add(originals)
    yield other
    other.close()


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_original_that_is_not_stored_is_made_as_it_would_be_stored(unstored, loader, ids, variant):
    here = ImageLoader(unstored)
    assert here.stored_variants(ids[0]) == {}
    assert here.load_bytes(ids[0], variant) == loader.load_bytes(ids[0], variant)
    assert here.location(ids[0]).endswith(ids[0])


def test_an_original_whose_file_is_gone(unstored, tmp_path):
    with unstored.database.write() as tables:
        one = next(iter(tables.originals.all()))
        tables.originals.add([type(one)("gone", one.split, one.wnid, str(tmp_path / "gone.png"))])
    with pytest.raises(InputError, match=r"gone\.png: cannot be read \(No such file or directory\). Restore the file"):
        ImageLoader(unstored).load_bytes("gone")


# --- features


def test_features_are_what_the_featuriser_computes(study, loader, ids):
    (name,) = loader.featurisers()
    pixels = np.stack([loader.load_array(image, "compare") for image in ids])
    featuriser = train_featuriser(study)
    assert featuriser.name == name
    expected = featuriser.features(pixels)
    found = loader.load_features_many(ids)
    assert (found.dtype, found.shape) == (np.float32, (2, featuriser.dimensions))
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert np.array_equal(loader.load_features(ids[1], name), found[1])
    assert np.array_equal(loader.load_features_many(ids[::-1]), found[::-1])


def test_features_give_the_stored_distances(study, loader, raw):
    """Independent of the featuriser: squared distances of features are the distances of the stored neighbours."""
    import json

    query, text = raw.rows("SELECT query_id, neighbors FROM neighbors WHERE metric = 'mlp' ORDER BY query_id")[7]
    neighbors = json.loads(text)
    features = loader.load_features_many([query, *(reference for reference, _ in neighbors)]).astype(float)
    assert np.allclose(((features[1:] - features[0]) ** 2).sum(axis=1), [distance for _, distance in neighbors], rtol=1e-4, atol=1e-6)


def test_features_that_are_not_there(tiny, loader, ids, raw):
    with pytest.raises(NotFoundError, match=r"features: the study has no features of it\. Run: retest neighbors"):
        ImageLoader(tiny).load_features("c1")
    with pytest.raises(NotFoundError, match=r"fc7: the study has no features of it\. Featurisers: mlp-"):
        loader.load_features(ids[0], "fc7")
    (broken,) = raw.rows("SELECT candidate_id FROM exclusions WHERE reason = 'empty'")
    with pytest.raises(NotFoundError, match=f"{broken}: 1 of 2 images have no features by mlp"):
        loader.load_features_many([ids[0], broken])
    assert loader.load_features_many([]).shape[0] == 0


def test_one_of_several_featurisers_must_be_named(tiny):
    with tiny.database.write() as tables:
        for name in ("fc7-a", "fc7-b"):
            tables.completions.put("features", name, "key", blocks=[])
    with pytest.raises(UsageError, match=r"featuriser: there are features of several featurisers\. Name one: fc7-a, fc7-b"):
        ImageLoader(tiny).load_features("c1")
