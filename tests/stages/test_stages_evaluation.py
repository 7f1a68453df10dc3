"""Test sets by name and folder, and what their labels mean."""

import json
import os
from functools import partial

import numpy as np
import pytest
from mean_scores import Mean
from PIL import Image

from retest.errors import InputError, NotFoundError, UsageError
from retest.models import EvaluationImage, EvaluationSet, _prepared
from retest.records import Predictions
from retest.stages import _evaluation_machine
from retest.stages._evaluation_labels import label_order_notes
from retest.stages._evaluation_sets import ClassList, LoadArray, Places, TestSet, find_set, read_class_list
from retest.stages.evaluate import FolderResults, Machine, run_evaluation


def paint(folder, names):
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (6, 5, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


def labels_of(found):
    return {image.id: image.label for image in found.images.images}


def test_numbered_folders_are_numbers_and_may_have_gaps(tmp_path):
    paint(tmp_path / "set", ["10/a.png", "2/a.png", "100/a.png", "1/a.png"])
    found = find_set(str(tmp_path / "set"), Places())
    assert labels_of(found) == {"10/a.png": 10, "2/a.png": 2, "100/a.png": 100, "1/a.png": 1}
    assert "taken as class indices" in found.notes[0]


def test_some_of_imagenets_classes_get_their_index_among_all_1000(tmp_path):
    timm = pytest.importorskip("timm")
    wnids = timm.data.ImageNetInfo("imagenet-1k").label_names()
    paint(tmp_path / "set", ["n02124075/a.png", "n01443537/a.png"])
    assert labels_of(find_set(str(tmp_path / "set"), Places())) == {
        "n02124075/a.png": wnids.index("n02124075"),
        "n01443537/a.png": wnids.index("n01443537"),
    }
    paint(tmp_path / "words", ["great_white_shark/a.png", "tench/a.png"])
    assert labels_of(find_set(f"named={tmp_path / 'words'}", Places())) == {"great_white_shark/a.png": 2, "tench/a.png": 0}
    paint(tmp_path / "flat", ["n02124075_7.png", "n01440764_tench.png"])
    assert labels_of(find_set(str(tmp_path / "flat"), Places())) == {"n02124075_7.png": wnids.index("n02124075"), "n01440764_tench.png": 0}


def test_a_class_list_says_the_order(tmp_path):
    paint(tmp_path / "set", ["cat/a.png", "dog/a.png", "owl/b.png"])
    assert labels_of(find_set(str(tmp_path / "set"), Places())) == {"cat/a.png": 0, "dog/a.png": 1, "owl/b.png": 2}
    (tmp_path / "classes.json").write_text(json.dumps(["owl", "Dog", "bat", "cat"]))
    places = Places(classes=tmp_path / "classes.json")
    assert labels_of(find_set(str(tmp_path / "set"), places)) == {"cat/a.png": 3, "dog/a.png": 1, "owl/b.png": 0}
    (tmp_path / "classes.json").write_text(json.dumps(["owl", "dog"]))
    with pytest.raises(InputError, match="its class folder 'cat' is not one of"):
        find_set(str(tmp_path / "set"), places)


def test_class_lists_in_all_forms(tmp_path):
    path = tmp_path / "class_info.json"
    path.write_text(json.dumps([{"cid": 1, "wnid": "n2", "synset": ["b", "c"]}, {"cid": 0, "wnid": "n1", "synset": ["a", "c"]}]))
    found = read_class_list(path)
    assert found.names == (("n1", "a", "c"), ("n2", "b", "c"))
    assert found.index() == {"n1": 0, "a": 0, "n2": 1, "b": 1}  # "c" would be ambiguous
    for text in ("{}", "[{}]", '[{"cid": 3, "wnid": "x"}]', "[]"):
        path.write_text(text)
        with pytest.raises(InputError, match=r"class_info\.json"):
            read_class_list(path)


def test_loose_images_without_labels_have_none(tmp_path):
    paint(tmp_path / "set", ["a.png", "b.png"])
    found = find_set(str(tmp_path / "set"), Places())
    assert labels_of(found) == {"a.png": -1, "b.png": -1}
    assert "predictions are made, accuracies are not" in found.notes[0]


def test_loose_images_beside_a_label_file_have_its_labels(tmp_path):
    paint(tmp_path / "set", ["a.png", "b.png", "c.png"])
    (tmp_path / "classes.txt").write_text("owl\ncat\n")
    places = Places(classes=tmp_path / "classes.txt")
    assert set(labels_of(find_set(str(tmp_path / "set"), places)).values()) == {-1}
    (tmp_path / "set" / "val.txt").write_text("a.png cat\nb.png owl\nc.png cat\n")
    assert labels_of(find_set(str(tmp_path / "set"), places)) == {"val/a.png": 1, "val/b.png": 0, "val/c.png": 1}
    (tmp_path / "set" / "val.txt").write_text("a.png cat\nb.png dog\nc.png cat\n")
    with pytest.raises(InputError, match="class 'dog', which is not one of the 2 classes"):
        find_set(str(tmp_path / "set"), places)


def test_equal_files_have_equal_versions(tmp_path):
    paint(tmp_path / "one", ["cat/a.png", "cat/b.png"])
    paint(tmp_path / "two", ["cat/x.png", "dog/y.png"])
    one, two = (find_set(str(tmp_path / name), Places()).images.images for name in ("one", "two"))
    assert [image.version for image in one] == [image.version for image in two]
    assert len({image.version for image in one}) == 2
    np.testing.assert_array_equal(one[0].load(), two[0].load())


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match="imagenet: nothing says where it lies"):
        find_set("imagenet", Places())
    with pytest.raises(NotFoundError, match="is no test set that is known, and no folder"):
        find_set(str(tmp_path / "none"), Places())
    with pytest.raises(InputError, match="there is no folder imagenetv2-top-images-format-val"):
        find_set(f"imagenetv2-top-images={tmp_path}", Places())
    with pytest.raises(InputError, match="holds neither images nor class folders"):
        find_set(str(tmp_path), Places())


@pytest.mark.parametrize("classes", [100, 1000])
@pytest.mark.parametrize("wrong", ["text", "text the other way", "shifted", ""])
def test_an_order_of_classes_that_is_wrong_shows_after_the_run(wrong, classes):
    labels = np.repeat(np.arange(classes), 10)
    text = np.array(sorted(range(classes), key=str))
    orders = {"text": text, "text the other way": np.argsort(text), "shifted": (np.arange(classes) + 7) % classes}
    order = orders.get(wrong, np.arange(classes))
    first = np.where(np.arange(len(labels)) % 10 < 7, order[labels], (order[labels] + 1) % classes)  # right in seven of ten
    notes = label_order_notes([Predictions("set", "m", tuple(map(str, range(len(labels)))), labels, first[:, None])])
    assert bool(notes) == bool(wrong)
    assert ("sorted as text" in "".join(notes)) == wrong.startswith("text")


def crashing_set(count, crashing):
    """Images, some of which end the process that decodes them, as a decoder with a bug does."""
    pixels = [np.full((4, 4, 3), number, np.uint8) for number in range(count)]
    loads = [partial(os._exit, 3) if number in crashing else LoadArray(pixels[number]) for number in range(count)]
    return TestSet(EvaluationSet("set", [EvaluationImage(f"i{number}", 0, load) for number, load in enumerate(loads)]), ClassList())


@pytest.mark.slow
def test_an_image_that_ends_its_decoder_is_left_out_and_the_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(_evaluation_machine, "_PROCESSES_FROM", 1)
    report = run_evaluation([crashing_set(20, {3, 17})], [Mean()], FolderResults(tmp_path), machine=Machine(workers=2, lanes=1))
    (predictions,) = report.predictions
    assert predictions.image_ids == tuple(f"i{number}" for number in range(20) if number not in (3, 17))
    assert predictions.scores[:, 0].tolist() == [number for number in range(20) if number not in (3, 17)]
    assert predictions.provenance["excluded_images"] == ["i3", "i17"]
    assert [text.partition(":")[0] for text in report.counts[0].excluded] == ["i3", "i17"]
    assert report.counts[0].excluded[0] == "i3: the process that decoded it ended (exit code 3)"


@pytest.mark.slow
def test_decoders_that_all_end_are_no_fault_of_the_images(tmp_path, monkeypatch):
    monkeypatch.setattr(_evaluation_machine, "_PROCESSES_FROM", 1)
    monkeypatch.setattr(_prepared, "_CRASHES_IN_A_ROW", 3)
    with pytest.raises(InputError, match="i2: 3 images in a row ended the process that decoded them"):
        run_evaluation([crashing_set(4, range(4))], [Mean()], FolderResults(tmp_path), machine=Machine(workers=1, lanes=1))
