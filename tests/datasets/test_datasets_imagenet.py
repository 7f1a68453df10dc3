"""ImageNetData: classes, search, images of the study and of a folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from data_tiny import BIRD, CLASSES, EGRET, FLY, MACHINE, ORIGINALS, TEST, TRAIN, VAL
from PIL import Image

from retest.datasets import ImageLoader, ImageNetData
from retest.errors import InputError, NotFoundError, UsageError
from retest.records import ClassInfo, Split


@pytest.fixture
def imagenet(tiny):
    return ImageNetData(tiny)


def test_classes_come_by_index(imagenet):
    assert [info.cid for info in imagenet.classes()] == [1, 2, 3, 4, 7]
    assert set(imagenet.classes()) == set(CLASSES)
    assert imagenet.class_info(MACHINE) == CLASSES[2]
    assert imagenet.class_by_index(7).wnid == "widget"


@pytest.mark.parametrize(
    ("term", "wnids"),
    [
        # A synonym, then a whole word of one, then a part of one, then words and parts of glosses.
        ("crane", [BIRD, MACHINE, FLY, "widget", EGRET]),
        ("CRANE fly", [FLY]),
        ("crane_fly", [FLY]),
        ("Egret", [EGRET]),
        ("bird", [BIRD, EGRET]),
        ("heav", [MACHINE]),
        (" wading   bird ", [BIRD]),
        (EGRET, [EGRET]),
        ("widget", ["widget"]),
        ("n0", []),
        ("c.ane", []),
    ],
)
def test_search(imagenet, term, wnids):
    assert [info.wnid for info in imagenet.search_classes(term)] == wnids


def test_an_empty_search_is_refused(imagenet):
    with pytest.raises(UsageError, match="search term is empty"):
        imagenet.search_classes(" _ ")


def test_unknown_classes_are_named_with_the_closest(imagenet):
    with pytest.raises(NotFoundError, match=f"n02012848: .* Did you mean '{BIRD}'"):
        imagenet.class_info("n02012848")
    with pytest.raises(NotFoundError, match=r"5: .* from 1 to 7"):
        imagenet.class_by_index(5)


def test_a_changed_class_is_seen(imagenet, tiny):
    assert imagenet.search_classes("hoist")
    with tiny.database.write() as tables:
        tables.classes.put([ClassInfo("widget", 7, ("gadget",))])
    assert not imagenet.search_classes("hoist")
    assert imagenet.class_by_index(7).name == "gadget"


def test_similar_classes_leave_out_the_class_itself_and_those_the_benchmark_lacks(imagenet):
    assert [info.wnid for info in imagenet.similar_classes(BIRD)] == [EGRET, MACHINE, FLY]
    assert [info.wnid for info in imagenet.similar_classes(BIRD, count=1)] == [EGRET]
    assert [info.wnid for info in imagenet.similar_classes(FLY)] == [BIRD, MACHINE]
    assert imagenet.similar_classes(MACHINE) == []


def test_wordnet_url(imagenet):
    assert imagenet.wordnet_url(BIRD) == "http://wordnet-rdf.princeton.edu/pwn30/02012849-n"
    with pytest.raises(UsageError, match="widget: is no WordNet id"):
        imagenet.wordnet_url("widget")
    with pytest.raises(NotFoundError):
        imagenet.wordnet_url("n00000000")


def test_listing(imagenet):
    assert set(imagenet.images()) == set(ORIGINALS)
    assert imagenet.image_ids("val") == list(VAL)
    assert imagenet.image_ids(Split.VAL, wnid=BIRD) == list(VAL[:2])
    assert imagenet.image_ids(wnid=BIRD) == [*VAL[:2], TRAIN]
    assert [image.id for image in imagenet.images("test")] == [TEST]
    assert imagenet.counts() == {"train": 1, "val": 5, "test": 1}
    with pytest.raises(UsageError, match="valid: there is no such split"):
        imagenet.images("valid")
    with pytest.raises(NotFoundError):
        imagenet.image_ids(wnid="n00000000")


def test_single_images(imagenet):
    assert imagenet.image(VAL[2]).wnid == imagenet.wnid_of(VAL[2]) == MACHINE
    assert imagenet.wnid_of(TEST) is None
    assert imagenet.split_of(TRAIN) is Split.TRAIN
    assert VAL[0] in imagenet
    assert "c1" not in imagenet
    assert 3 not in imagenet
    assert imagenet.get_images(["c1", TEST]) == {TEST: ORIGINALS[5]}
    with pytest.raises(NotFoundError, match="c1: is not the id of an original image"):
        imagenet.image("c1")


def test_listing_equals_the_database(study, raw):
    imagenet = ImageNetData(study)
    for split in ("train", "val", "test"):
        assert imagenet.image_ids(split) == raw.rows("SELECT id FROM originals WHERE split = ? ORDER BY id", split)
    expected = raw.rows("SELECT id FROM originals WHERE split = 'val' AND wnid = '3' ORDER BY id")
    assert imagenet.image_ids("val", wnid="3") == [image.id for image in imagenet.images("val", wnid="3")] == expected
    assert imagenet.counts() == dict(raw.rows("SELECT split, count(*) FROM originals GROUP BY split"))


# --- a folder of ImageNet in its usual layouts


def put_image(path: Path, grey: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20, 30, 3), grey, np.uint8)).save(path, "JPEG")


def sorted_layout(root: Path) -> None:
    put_image(root / "train" / BIRD / f"{BIRD}_18.JPEG", 10)
    put_image(root / "train" / BIRD / TRAIN, 20)
    put_image(root / "val" / BIRD / VAL[0], 30)
    put_image(root / "val" / MACHINE / VAL[2], 40)
    put_image(root / "test" / TEST, 50)


def challenge_layout(root: Path) -> None:
    data = root / "ILSVRC/Data/CLS-LOC"
    put_image(data / "train" / BIRD / f"{BIRD}_18.JPEG", 10)
    put_image(data / "train" / BIRD / TRAIN, 20)
    put_image(data / "val" / VAL[0], 30)
    put_image(data / "val" / VAL[2], 40)
    put_image(data / "test" / TEST, 50)
    lines = [f"{Path(VAL[0]).stem},{BIRD} 1 2 3 4", f"{Path(VAL[2]).stem},{MACHINE} 1 2 3 4"]
    (root / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *lines]))


@pytest.mark.parametrize("layout", [sorted_layout, challenge_layout])
def test_a_folder_in_the_usual_layouts(tiny, tmp_path, layout):
    layout(tmp_path / "imagenet")
    imagenet = ImageNetData(tiny, root=tmp_path / "imagenet")
    assert imagenet.counts() == {"train": 2, "val": 2, "test": 1}
    assert imagenet.image_ids("val") == [VAL[0], VAL[2]]
    assert imagenet.image_ids(wnid=BIRD) == [VAL[0], TRAIN, f"{BIRD}_18.JPEG"]
    assert imagenet.image_ids() == sorted([VAL[0], VAL[2], TEST, TRAIN, f"{BIRD}_18.JPEG"])
    assert Path(imagenet.image(VAL[2]).location).name == VAL[2]
    assert imagenet.image(VAL[2]).wnid == MACHINE
    assert imagenet.image(TEST).wnid is None
    new = imagenet.image(f"{BIRD}_18.JPEG")  # the study does not know it
    assert (new.split, new.wnid) == (Split.TRAIN, BIRD)
    assert imagenet.image(VAL[1]).location is None  # the folder does not have it
    assert "c1" not in imagenet


def test_an_image_known_by_name_is_loaded_from_the_folder(tiny, tmp_path):
    sorted_layout(tmp_path / "imagenet")
    loader = ImageLoader(tiny, imagenet=ImageNetData(tiny, root=tmp_path / "imagenet"))
    assert loader.load_image(VAL[2], "display").size == (500, 333)
    assert abs(int(loader.load_array(VAL[2], "scaled_256").mean()) - 40) <= 1
    assert loader.location(VAL[2]) == str(tmp_path / "imagenet/val" / MACHINE / VAL[2])
    with pytest.raises(NotFoundError, match=r"by name only\. Give the folder"):
        loader.load_bytes(VAL[1])


def test_the_class_that_the_study_knows_stands(tiny, tmp_path):
    put_image(tmp_path / "imagenet/val" / MACHINE / VAL[0], 30)  # in another class's folder
    found = ImageNetData(tiny, root=tmp_path / "imagenet").image(VAL[0])
    assert (found.wnid, Path(found.location).parent.name) == (BIRD, MACHINE)


def test_only_the_split_that_is_asked_for_is_read(tiny, tmp_path):
    sorted_layout(tmp_path / "imagenet")
    put_image(tmp_path / "imagenet/train/n00000000/n00000000_1.JPEG", 1)
    put_image(tmp_path / "imagenet/val" / BIRD / "new.jpg", 1)
    imagenet = ImageNetData(tiny, root=tmp_path / "imagenet")
    assert imagenet.image(VAL[0]).location is not None
    assert imagenet.image(f"val/{BIRD}/new.jpg").wnid == BIRD  # in none of the study's splits: the smaller ones are looked at first
    with pytest.raises(InputError, match="n00000000"):
        imagenet.images("train")


def test_a_test_split_in_class_folders_has_labels(tiny, tmp_path):
    put_image(tmp_path / "mine/val" / BIRD / VAL[0], 30)
    put_image(tmp_path / "mine/test" / MACHINE / "x.jpg", 30)
    assert ImageNetData(tiny, root=tmp_path / "mine").wnid_of(f"test/{MACHINE}/x.jpg") == MACHINE
    put_image(tmp_path / "mine/test/n00000000/y.jpg", 30)
    with pytest.raises(InputError, match="n00000000"):
        ImageNetData(tiny, root=tmp_path / "mine").images("test")


def test_an_empty_test_split_is_an_error(tiny, tmp_path):
    put_image(tmp_path / "mine/val" / BIRD / VAL[0], 30)
    (tmp_path / "mine/test").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        ImageNetData(tiny, root=tmp_path / "mine").images("test")


def test_class_folders_alone_are_the_validation_split(tiny, tmp_path):
    put_image(tmp_path / "mine" / BIRD / VAL[0], 30)
    imagenet = ImageNetData(tiny, root=tmp_path / "mine")
    assert imagenet.counts() == {"val": 1}
    assert imagenet.images("train") == []
    assert [image.id for image in imagenet.images()] == [VAL[0]]


def test_a_flat_folder_with_a_label_file_elsewhere(tiny, tmp_path):
    put_image(tmp_path / "flat/val" / VAL[2], 30)
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps({"image_filenames": [[VAL[2], MACHINE]]}))
    assert ImageNetData(tiny, root=tmp_path / "flat", labels_file=labels).image_ids("val", wnid=MACHINE) == [VAL[2]]
    with pytest.raises(InputError, match="which class they belong to"):
        ImageNetData(tiny, root=tmp_path / "flat").images("val")


def test_a_folder_that_is_not_there(tiny, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        ImageNetData(tiny, root=tmp_path / "nowhere").images()


def test_only_open_studies(tmp_path):
    with pytest.raises(UsageError, match=r"ImageNetData: needs an open study, not .*open_study\(folder\)"):
        ImageNetData(str(tmp_path))
