"""DatasetCache: revisions by name."""

from __future__ import annotations

import json

import numpy as np
import pytest
from data_tiny import BIRD, MACHINE, REVISIONS

from retest.datasets import DatasetCache, RevisionPlace
from retest.errors import NotFoundError
from retest.store import RevisionSummary


@pytest.fixture
def cache(tiny):
    return DatasetCache(tiny)


def test_revisions_by_name(cache):
    assert cache.names() == ["set-a-1", "set-a-2", "set-a-3"]
    assert cache.revision("set-a-2") == REVISIONS[1]
    assert cache.images("set-a-2") == (("c6", MACHINE), ("c1", BIRD))
    assert cache.size("set-a-2") == 2
    assert cache.images_by_class("set-a-2") == {BIRD: ("c1",), MACHINE: ("c6",)}
    assert list(cache.images_by_class("set-a-2")) == [BIRD, MACHINE]
    with pytest.raises(NotFoundError, match=r"set_a_3: the study has no revision of this name. Did you mean 'set-a-3'"):
        cache.revision("set_a_3")


def test_a_revision_is_read_once(cache):
    assert cache.revision("set-a-1") is cache.revision("set-a-1")


def test_only_some_revisions_are_kept(tiny, monkeypatch):
    monkeypatch.setattr("retest.datasets.revisions._REVISIONS_KEPT", 2)
    cache = DatasetCache(tiny)
    first = cache.revision("set-a-1")
    second = cache.revision("set-a-2")
    assert cache.revision("set-a-1") is first  # used again, so set-a-2 is the oldest now
    cache.revision("set-a-3")
    assert cache.revision("set-a-1") is first
    assert cache.revision("set-a-2") is not second
    assert cache.revision("set-a-2") == second == REVISIONS[1]


def test_summaries(cache):
    assert cache.summaries()[0] == RevisionSummary("set-a-1", "sample_best", 2, False, 7, "set-a-0", "me", REVISIONS[0].time)
    assert [found.name for found in cache.summaries()] == cache.names()


def test_labels(cache):
    labels = cache.labels("set-a-3")
    assert labels.dtype == np.int64
    assert labels.tolist() == [1, -1]


def test_places_of_an_image(cache):
    assert cache.places_of("c1") == [RevisionPlace("set-a-2", 1, BIRD), RevisionPlace("set-a-3", 0, BIRD)]
    assert cache.places_of("c2") == []


def test_chain_ends_where_the_study_does(cache):
    assert cache.chain("set-a-3") == ["set-a-3", "set-a-2", "set-a-1"]  # set-a-0 is not here
    with pytest.raises(NotFoundError):
        cache.chain("set-a-0")


def test_diff(cache):
    diff = cache.diff("set-a-1", "set-a-2")
    assert [(change.wnid, change.added, change.removed) for change in diff.classes] == [(BIRD, ("c1",), ("c3",))]
    assert diff.num_kept == 1


def test_reviews(cache):
    assert {wnid: (found.reviewed, found.problematic) for wnid, found in cache.reviews("set-a-2").items()} == {BIRD: (True, False)}
    assert cache.reviews("set-a-1") == {}
    with pytest.raises(NotFoundError):
        cache.reviews("set-a-9")


def test_published_form(published, published_data):
    cache = DatasetCache(published)
    files = {path.stem: path for path in (published_data / "datasets").glob("*.json")}
    assert cache.names() == sorted(files)
    for name in ("imagenetv2-a-5", "imagenetv2-b-33"):
        assert cache.published(name) == json.loads(files[name].read_bytes())
    original = json.loads(files["imagenetv2-dummy-0"].read_bytes())  # this file lacks the keys that follow from the others
    more = {"is_valid": True, "starting_from": None, "output_filename": "imagenetv2-dummy-0.json"}
    assert cache.published("imagenetv2-dummy-0") == original | more
    assert {found.name: found.num_images for found in cache.summaries()}["imagenetv2-a-5"] == 9994
    assert cache.chain("imagenetv2-a-7") == ["imagenetv2-a-7", "imagenetv2-a-5"]
    document = json.loads(files["imagenetv2-a-44"].read_bytes())
    image, wnid = document["image_filenames"][1234]
    assert RevisionPlace("imagenetv2-a-44", 1234, wnid) in cache.places_of(image)
    holding = {stem for stem, path in files.items() if image in path.read_text()}
    assert {place.revision for place in cache.places_of(image)} == holding
    reviews = json.loads((published_data / "dataset_reviews/imagenetv2-a-44_review.json").read_bytes())
    found = cache.reviews("imagenetv2-a-44")
    assert {w: {"problematic": one.problematic, "reviewed": one.reviewed} for w, one in found.items()} == reviews
