"""Benchmarks in folders: the usual layouts of ImageNet, label files, and one's own classes."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from retest.benchmarks import ImageFolder, class_order, read_label_file
from retest.errors import InputError, UsageError
from retest.records import ClassInfo, OriginalImage, Split

COLOURS = {"cat": (250, 0, 0), "dog": (0, 250, 0), "eel": (0, 0, 250)}
VAL = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, 5)]


def image(path, colour=(9, 9, 9)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 4), colour).save(path, "PNG")


@pytest.fixture
def pets(tmp_path):
    for split, names in (("train", "abc"), ("val", "ab")):
        for class_name, colour in COLOURS.items():
            for name in names:
                image(tmp_path / split / class_name / f"{name}.png", colour)
    return tmp_path


@pytest.fixture
def flat(tmp_path):
    for name in VAL:
        image(tmp_path / "val" / name)
    return tmp_path


def test_splits_with_class_folders(pets):
    data_set = ImageFolder(pets)
    assert data_set.class_names == ("cat", "dog", "eel")
    assert data_set.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert data_set.image_ids == ("val/cat/a.png", "val/cat/b.png", "val/dog/a.png", "val/dog/b.png", "val/eel/a.png", "val/eel/b.png")
    for picture, label in data_set:
        assert np.asarray(picture)[0, 0].tolist() == list(COLOURS[data_set.class_names[label]])
    assert len(ImageFolder(pets, split="train")) == 9
    assert data_set.name == f"{pets.name}-val"


def test_records_of_the_benchmark(pets):
    originals = list(ImageFolder(pets, split=Split.TRAIN).originals())
    assert originals[0] == OriginalImage("train/cat/a.png", Split.TRAIN, "cat", str(pets / "train/cat/a.png"))
    infos = ImageFolder(pets).class_infos()
    assert [(info.wnid, info.cid, info.name) for info in infos] == [("cat", 0, "cat"), ("dog", 1, "dog"), ("eel", 2, "eel")]


def test_class_folders_directly(pets):
    data_set = ImageFolder(pets / "val", split="test")
    assert data_set.image_ids[0] == "test/cat/a.png"
    assert {image.split for image in data_set.originals()} == {Split.TEST}


def test_a_class_folder_that_cannot_be_listed_is_no_empty_class(pets, monkeypatch):
    real = os.scandir

    def scandir(path):
        if Path(path) == pets / "val/dog":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match=r"val/dog: cannot be read \(Permission denied\). Check the folder and its permissions"):
        ImageFolder(pets)


def test_class_folders_may_be_links(pets, tmp_path_factory):
    away = tmp_path_factory.mktemp("away") / "dogs"
    (pets / "val/dog").rename(away)
    (pets / "val/dog").symlink_to(away)
    (away / "again").symlink_to(away)  # leads back: its images are there already
    assert ImageFolder(pets).image_ids[2:4] == ("val/dog/a.png", "val/dog/b.png")
    (pets / "val/everything").symlink_to("/")
    with pytest.raises(InputError, match=rf"val/everything: is a link to /, which holds {pets}/val itself"):
        ImageFolder(pets)


def test_the_classes_of_all_splits_are_those_of_the_training_split(pets):
    """A validation split that lacks a class must not shift the labels."""
    for path in (pets / "val/dog").iterdir():
        path.unlink()
    (pets / "val/dog").rmdir()
    assert ImageFolder(pets).labels.tolist() == [0, 0, 2, 2]
    image(pets / "val/zebra/a.png")
    with pytest.raises(InputError, match="class 'zebra', which is not one of the 3 classes"):
        ImageFolder(pets)


def test_given_classes_decide_the_labels(pets):
    classes = [ClassInfo("dog", 0), ClassInfo("eel", 1), ClassInfo("cat", 2)]
    data_set = ImageFolder(pets, classes=classes)
    assert data_set.class_names == ("dog", "eel", "cat")
    assert data_set.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert data_set.image_ids[0] == "val/dog/a.png"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["0", "1", "10", "100", "2"], ("0", "1", "2", "10", "100")),
        (["10", "2", "x"], ("10", "2", "x")),
        (["01", "2", "10"], ("01", "10", "2")),
        (["n02", "n01"], ("n01", "n02")),
        (["b", "a", "b"], ("a", "b")),
        ([], ()),
    ],
)
def test_class_order(names, expected):
    assert class_order(names) == expected


def test_numbered_class_folders_are_ordered_by_value(tmp_path):
    for number in range(12):
        image(tmp_path / str(number) / "a.png", (number, 0, 0))
    data_set = ImageFolder(tmp_path)
    assert [np.asarray(picture)[0, 0, 0] for picture, _ in data_set] == list(range(12)) == data_set.labels.tolist()


@pytest.mark.parametrize("inner", ["", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "images"])
@pytest.mark.parametrize("name", ["val", "validation", "valid"])
def test_imagenet_layouts(tmp_path, inner, name):
    image(tmp_path / inner / "train/n01440764/n01440764_10026.JPEG")
    image(tmp_path / inner / name / "n01440764" / VAL[0])
    assert ImageFolder(tmp_path).image_ids == (VAL[0],)
    assert ImageFolder(tmp_path, split="train").image_ids == ("n01440764_10026.JPEG",)


def label_files(folder):
    wnids = ["n02", "n01", "n01", "n03"]
    pairs = list(zip(VAL, wnids, strict=True))
    revision = {"image_filenames": [[name, wnid] for name, wnid in pairs]}
    kaggle = "ImageId,PredictionString\n" + "".join(f"{name[:-5]},{wnid} 1 2 3 4 {wnid} 5 6 7 8\n" for name, wnid in pairs)
    plain = "".join(f"{name} {wnid}\n" for name, wnid in pairs)
    return {
        "LOC_val_solution.csv": kaggle,
        "imagenet-validation-original.json": json.dumps(revision),
        "val.txt": plain,
        "val_labels.csv": plain.replace(" ", ","),
    }


@pytest.mark.parametrize("name", label_files(None))
def test_flat_validation_images_with_a_label_file(flat, name):
    (flat / name).write_text(label_files(flat)[name])
    data_set = ImageFolder(flat)
    assert data_set.class_names == ("n01", "n02", "n03")
    assert dict(zip(data_set.image_ids, data_set.labels.tolist(), strict=True)) == {VAL[0]: 1, VAL[1]: 0, VAL[2]: 0, VAL[3]: 2}


def test_a_label_file_from_elsewhere(flat, tmp_path_factory):
    file = tmp_path_factory.mktemp("labels") / "mine.json"
    file.write_text(json.dumps(dict.fromkeys(VAL, "n05")))
    assert set(ImageFolder(flat, labels_file=file).labels.tolist()) == {0}


def test_the_devkit_numbers_are_translated_through_its_own_table(flat):
    """The devkit numbers its classes differently from the sorted wnids; taking them as class indices would be wrong everywhere."""
    table = np.zeros((3, 1), dtype=[("ILSVRC2012_ID", object), ("WNID", object)])
    for row, (number, wnid) in enumerate([(1, "n03"), (2, "n01"), (3, "n02")]):
        table[row, 0] = (np.array([[number]]), np.array([wnid]))
    folder = flat / "ILSVRC2012_devkit_t12/data"
    folder.mkdir(parents=True)
    savemat(folder / "meta.mat", {"synsets": table})
    truth = folder / "ILSVRC2012_validation_ground_truth.txt"
    truth.write_text("3\n2\n2\n1\n")
    data_set = ImageFolder(flat)
    assert dict(zip(data_set.image_ids, data_set.labels.tolist(), strict=True)) == {VAL[0]: 1, VAL[1]: 0, VAL[2]: 0, VAL[3]: 2}
    truth.write_text("3\n2\n2\n9\n")
    with pytest.raises(InputError, match=r"holds the class 9, which meta.mat does not have"):
        ImageFolder(flat)
    truth.write_text("3\n2\n")
    with pytest.raises(InputError, match="holds 2 numbers for 4 images"):
        ImageFolder(flat)
    (folder / "meta.mat").unlink()
    truth.write_text("3\n2\n2\n1\n")
    with pytest.raises(InputError, match=r"meta.mat: cannot be read .* its numbers are devkit ids, not class indices"):
        ImageFolder(flat)
    (folder / "meta.mat").write_bytes(b"nonsense" * 100)
    with pytest.raises(InputError, match=r"meta.mat: cannot be read"):
        ImageFolder(flat)


def test_devkit_numbers_follow_the_sorted_names_in_whatever_order_they_are_given(tmp_path):
    table = np.zeros((2, 1), dtype=[("ILSVRC2012_ID", object), ("WNID", object)])
    for row, (number, wnid) in enumerate([(1, "n03"), (2, "n01")]):
        table[row, 0] = (np.array([[number]]), np.array([wnid]))
    savemat(tmp_path / "meta.mat", {"synsets": table})
    (tmp_path / "truth.txt").write_text("1\n2\n2\n2\n")
    assert read_label_file(tmp_path / "truth.txt", images=VAL[::-1])[VAL[0][:-5]] == "n03"


def test_flat_validation_images_without_labels_are_refused(flat):
    with pytest.raises(InputError, match="no file says which class they belong to") as caught:
        ImageFolder(flat)
    assert "LOC_val_solution.csv" in str(caught.value)


def test_a_flat_test_split_has_no_labels(tmp_path):
    image(tmp_path / "test/ILSVRC2012_test_00000001.JPEG")
    image(tmp_path / "train/n01/n01440764_1.JPEG")
    data_set = ImageFolder(tmp_path, split="test")
    assert data_set.labels.tolist() == [-1]
    assert data_set.class_names == ("n01",)
    assert [image.wnid for image in data_set.originals()] == [None]


@pytest.mark.parametrize("name", label_files(None))
def test_label_files_of_validation_images_say_nothing_of_test_images(flat, name):
    """The challenge's folder holds LOC_val_solution.csv beside flat val and test."""
    image(flat / "test/ILSVRC2012_test_00000001.JPEG")
    (flat / name).write_text(label_files(flat)[name])
    assert ImageFolder(flat).labels.tolist() == [0, 0, 1, 2]
    data_set = ImageFolder(flat, split="test")
    assert (data_set.image_ids, data_set.labels.tolist()) == (("ILSVRC2012_test_00000001.JPEG",), [-1])


@pytest.mark.parametrize(("name", "content"), [("test.txt", "x.png b\ny.png a\n"), ("test_labels.csv", "x,b\ny,a\n")])
def test_a_flat_test_split_with_labels_of_its_own(tmp_path, name, content):
    image(tmp_path / "test/x.png")
    image(tmp_path / "test/y.png")
    (tmp_path / name).write_text(content)
    data_set = ImageFolder(tmp_path, split="test")
    assert (data_set.image_ids, data_set.labels.tolist(), data_set.class_names) == (("test/y.png", "test/x.png"), [0, 1], ("a", "b"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("val.txt", "a b c\n", "is not made of lines 'image class'"),
        ("val.txt", "", "is not made of lines"),
        ("val.txt", f"{VAL[0]} n01\n{VAL[0]} n02\n", "two classes, 'n01' and 'n02'"),
        ("val.txt", f"{VAL[0]} n01\n", f"does not name {VAL[1]}"),
        ("LOC_val_solution.csv", "a,b,c\n", "two columns"),
        ("val_labels.csv", "a,\n", "two columns"),
        ("imagenet-validation-original.json", "[1", "cannot be read as a label file"),
        ("imagenet-validation-original.json", '{"image_filenames": [["a"]]}', "no pairs"),
        ("imagenet-validation-original.json", "3", "no pairs"),
        ("imagenet-validation-original.json", "[1]", "no pairs"),
    ],
)
def test_label_files_with_faults(flat, name, content, message):
    (flat / name).write_text(content)
    with pytest.raises(InputError, match=message):
        ImageFolder(flat)


def test_read_label_file_ignores_suffixes_and_the_same_line_twice(tmp_path):
    (tmp_path / "x.txt").write_text("a.JPEG cat\na.JPEG cat\nb dog\n")
    assert read_label_file(tmp_path / "x.txt", images=[]) == {"a": "cat", "b": "dog"}
    with pytest.raises(InputError, match="cannot be read"):
        read_label_file(tmp_path / "none.txt", images=[])


def test_other_files_are_skipped_and_told(pets):
    (pets / "val/cat/readme.txt").write_text("x")
    (pets / "val/cat/.hidden.png").write_text("x")
    data_set = ImageFolder(pets)
    assert len(data_set) == 6
    assert [path.name for path in data_set.skipped] == ["readme.txt"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"split": "dev"}, UsageError, "there is no split 'dev'"),
        ({"split": "test"}, InputError, "has the splits train, val but not test"),
    ],
)
def test_wrong_splits(pets, arguments, error, message):
    with pytest.raises(error, match=message):
        ImageFolder(pets, **arguments)


def test_folders_that_are_none(tmp_path, pets):
    with pytest.raises(InputError, match="there is no such folder"):
        ImageFolder(tmp_path / "nowhere")
    (tmp_path / "empty/cat").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no images"):
        ImageFolder(tmp_path / "empty")
    image(pets / "val/loose.png")
    with pytest.raises(InputError, match=r"also loose images such as loose.png"):
        ImageFolder(pets)
