"""Registering a benchmark of plain folders: similar classes, names, and files that are no images."""

import json
import os
from contextlib import closing

import pytest
from PIL import Image

from retest.errors import InputError, StageError
from retest.stages import label
from retest.stages.benchmark import register_benchmark
from retest.study import BenchmarkSettings, StudyConfig, create_study

LEVELS = {"dark": 10, "grey": 90, "white": 250, "darker": 30}


def study_of(tmp_path, **settings):
    for split in ("train", "val"):
        for wnid, level in LEVELS.items():
            folder = tmp_path / split / wnid
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(3):
                Image.new("RGB", (50, 40), (level + index,) * 3).save(folder / f"{index}.png")
    paths = {"train": str(tmp_path / "train"), "val": str(tmp_path / "val"), **settings}
    return create_study(tmp_path / "study", StudyConfig(benchmark=BenchmarkSettings(**paths)))


def similar(study):
    with study.database.read() as tables:
        return {info.wnid: info.most_similar for info in tables.classes.all()}


@pytest.mark.parametrize("splits", [("train", "val"), ("val",)])
def test_similar_classes_are_derived_from_mean_images(tmp_path, splits):
    with closing(study_of(tmp_path, **{} if "train" in splits else {"train": ""})) as study:
        register_benchmark(study)
        found = similar(study)
        assert found["dark"] == ("dark", "darker", "grey", "white")
        assert found["white"] == ("white", "grey", "darker", "dark")
        register_benchmark(study)
        assert similar(study) == found


def test_an_unreadable_training_image_is_passed_over(tmp_path):
    with closing(study_of(tmp_path)) as study:
        (tmp_path / "train/dark/1.png").write_bytes(b"no image")
        for index in range(3):
            (tmp_path / f"train/grey/{index}.png").write_bytes(b"")
        register_benchmark(study)
        assert similar(study)["dark"] == ("dark", "darker", "white")
        assert similar(study)["grey"] == ("grey",)


def test_a_new_class_enters_the_lists_of_the_others(tmp_path):
    with closing(study_of(tmp_path)) as study:
        register_benchmark(study)
        for split in ("train", "val"):
            (tmp_path / split / "darkest").mkdir()
            Image.new("RGB", (50, 40), (9, 9, 9)).save(tmp_path / split / "darkest" / "0.png")
        register_benchmark(study)
        assert similar(study)["dark"][:2] == ("dark", "darkest")


def test_a_list_of_similar_classes_serves_class_folders_too(tmp_path):
    (tmp_path / "similar.json").write_text(json.dumps({wnid: ["white", "elsewhere", wnid, "grey"] for wnid in LEVELS}))
    with closing(study_of(tmp_path, similar_classes=str(tmp_path / "similar.json"))) as study:
        register_benchmark(study)
        assert similar(study) == {w: tuple(dict.fromkeys((w, "white", "grey"))) for w in LEVELS}


def test_a_malformed_list_of_similar_classes_is_refused(tmp_path):
    (tmp_path / "similar.json").write_text(json.dumps({"dark": "white"}))
    with closing(study_of(tmp_path, similar_classes=str(tmp_path / "similar.json"))) as study, pytest.raises(InputError, match="dark"):
        register_benchmark(study)


def test_hidden_folders_are_no_classes_and_hold_no_images(tmp_path):
    with closing(study_of(tmp_path)) as study:
        for place in ("train/.ipynb_checkpoints", "val/grey/.cache"):
            (tmp_path / place).mkdir()
            Image.new("L", (9, 9)).save(tmp_path / place / "x.png")
        counts = register_benchmark(study)
        assert (counts.classes, counts.val) == (4, 12)


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes only on POSIX")
@pytest.mark.parametrize("name", [b"grey/\xff.png", b"\xff\xfe/0.png"])
def test_a_name_that_is_not_utf8_is_named(tmp_path, name):
    with closing(study_of(tmp_path)) as study:
        path = tmp_path / "val" / os.fsdecode(name)
        try:
            path.parent.mkdir(exist_ok=True)
            Image.new("L", (9, 9)).save(tmp_path / "val/one.png")
            (tmp_path / "val/one.png").rename(path)
        except OSError:
            pytest.skip("the file system takes UTF-8 names only")
        with pytest.raises(InputError, match=r"\\udcff.*Rename it"):
            register_benchmark(study)


def test_a_benchmark_of_one_class_has_no_negative_controls(tmp_path):
    (tmp_path / "val/only").mkdir(parents=True)
    Image.new("L", (9, 9), 20).save(tmp_path / "val/only/0.png")
    config = StudyConfig(benchmark=BenchmarkSettings(val=str(tmp_path / "val")))
    with closing(create_study(tmp_path / "study", config)) as study:
        register_benchmark(study)
        with study.database.read() as tables:
            classes = {info.wnid: info for info in tables.classes.all()}
        with pytest.raises(StageError, match="needs two classes"):
            label._controls_of(classes, "only", {})


def test_numbered_class_folders_are_numbered_by_value(tmp_path):
    """Sorted as text, "10" would be class 2: a classifier's index 2 would be looked for in another class's images."""
    for number in range(12):
        folder = tmp_path / "val" / str(number)
        folder.mkdir(parents=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / "0.png")
    with closing(create_study(tmp_path / "study", StudyConfig(benchmark=BenchmarkSettings(val=str(tmp_path / "val"))))) as study:
        register_benchmark(study)
        with study.database.read() as tables:
            assert {info.cid: info.wnid for info in tables.classes.all()} == {number: str(number) for number in range(12)}
