"""What follows from rotated keys and from what a class list may say beside the names."""

import json
from contextlib import closing

import pytest

from retest.errors import InputError
from retest.records import ImageVariant, OpaqueName
from retest.stages._keys import current_key_version
from retest.stages.benchmark import register_benchmark
from retest.stages.status import study_status
from retest.study import BenchmarkSettings, StudyConfig, create_study


def _study(tmp_path, entry):
    (tmp_path / "val/a").mkdir(parents=True)
    (tmp_path / "val/a/1.png").write_bytes(b"not read here")
    classes = tmp_path / "classes.json"
    classes.write_text(json.dumps([{"cid": 0, "wnid": "a", "synset": ["ant"], **entry}]))
    return create_study(tmp_path / "s", StudyConfig(benchmark=BenchmarkSettings(val=str(tmp_path / "val"), class_info=str(classes))))


def test_parents_and_pages_of_a_class_list_are_kept(tmp_path):
    with closing(_study(tmp_path, {"parent_terms": ["insect"], "wikipedia_pages": ["https://en.wikipedia.org/wiki/Ant"]})) as study:
        register_benchmark(study)
        with study.database.read() as tables:
            (info,) = tables.classes.all()
    assert info.parent_terms == ("insect",)
    assert info.wikipedia_pages == ("https://en.wikipedia.org/wiki/Ant",)


def test_a_text_in_place_of_a_list_is_named(tmp_path):
    with closing(_study(tmp_path, {"parent_terms": "insect"})) as study, pytest.raises(InputError, match="parent_terms of entry 0"):
        register_benchmark(study)


def test_names_of_another_key_version_do_not_count_as_published(tmp_path):
    with closing(_study(tmp_path, {})) as study:
        with study.database.write() as tables:
            tables.variants.put([ImageVariant("x", "scaled_500", "k", "0", 1, 1, 1)])
            tables.opaque_names.add([OpaqueName("x", current_key_version(tables) + 1, "0" * 32)])
        assert study_status(study).counts["opaque_names_missing"] == 1
