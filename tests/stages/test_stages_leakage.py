"""Leakage between a training and a test folder: planted copies are found, pages hold what they show, names are only text."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageEnhance, ImageOps

from retest.cli import cli
from retest.errors import InputError, UsageError
from retest.images import ImageParameters
from retest.stages.leakage import find_leakage, leakage_page
from unreadable import make_unreadable

SMALL = ImageParameters(compare_side=64, display_side=65)
STRANGE = "<script>alert('x')</script>&\".png"


def picture(seed: int) -> Image.Image:
    """A smooth random picture, unlike any other."""
    noise = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((90, 70), Image.Resampling.BICUBIC)


def save(image: Image.Image, path: Path, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    train, test = tmp_path / "train", tmp_path / "test"
    for seed in range(12):
        save(picture(seed), train / f"class{seed % 3}" / f"{seed}.png")
    copies = {
        "class0/same.png": picture(0),
        f"class1/{STRANGE}": ImageOps.mirror(picture(1)),
        "class0/other-class.png": ImageEnhance.Brightness(picture(2)).enhance(0.9),  # its class in train is class2
        "class0/small.png": picture(3).resize((45, 35)),
    }
    for name, image in copies.items():
        save(image, test / name)
    for seed in range(100, 106):
        save(picture(seed), test / "class1" / f"{seed}.png")
    (test / "class1" / "broken.png").write_bytes(b"no image")
    return train, test


def test_planted_copies_and_nothing_else_are_found(folders):
    train, test = folders
    report = find_leakage(train, test, metrics=["l2", "dssim", "phash"], images=SMALL)
    pairs = {pair.test: pair for pair in report.pairs}
    assert {name: pair.train for name, pair in pairs.items()} == {
        "class0/same.png": "class0/0.png",
        f"class1/{STRANGE}": "class1/1.png",
        "class0/other-class.png": "class2/2.png",
        "class0/small.png": "class0/3.png",
    }
    assert (report.train_images, report.test_images, report.leaked, report.identical, report.other_class) == (12, 10, 4, 1, 1)
    assert report.pairs[0].test == "class0/same.png", "identical ones come first"
    assert [pair.test for pair in report.pairs if pair.mirrored] == [f"class1/{STRANGE}"]
    assert pairs["class0/same.png"].distances == {"l2": 0.0, "dssim": 0.0, "phash": 0.0}
    assert pairs["class0/other-class.png"].same_class is False
    assert [name for name, _ in report.problems] == ["class1/broken.png"]
    assert report.thresholds["l2"] == 1.2e8 / 16


def test_without_mirroring_the_mirrored_copy_stays_unseen(folders):
    train, test = folders
    report = find_leakage(train, test, metrics=["l2"], thresholds={"l2": 2e6}, mirrored=False, images=SMALL)
    assert f"class1/{STRANGE}" not in {pair.test for pair in report.pairs}
    again = find_leakage(train, test, metrics=["l2"], thresholds={"l2": 2e6}, images=SMALL)
    assert {pair.test for pair in again.pairs} - {pair.test for pair in report.pairs} == {f"class1/{STRANGE}"}


def test_every_pair_within_the_threshold_is_reported(folders):
    train, test = folders
    report = find_leakage(train, test, metrics=["phash"], thresholds={"phash": 64}, neighbors=12, images=SMALL)
    assert len(report.pairs) == 10 * 12
    assert report.leaked == 10
    values = [pair.distances["phash"] for pair in report.pairs if not pair.identical]
    assert values == sorted(values)
    none = find_leakage(train, test, metrics=["phash"], thresholds={"phash": 0}, neighbors=12, images=SMALL)
    assert 1 <= none.leaked <= 4


class Reader(HTMLParser):
    """Tags, texts and sources of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href", "srcset"}]

    def handle_data(self, data):
        self.text += data


def test_the_page_shows_the_pairs_and_needs_nothing_else(folders):
    train, test = folders
    report = find_leakage(train, test, images=SMALL)
    page = leakage_page(report, train=train, test=test)
    found = Reader(page)
    assert "script" not in found.tags
    assert STRANGE in found.text
    assert found.tags.count("img") == 2 * len(report.pairs) == 8
    assert all(link.startswith("data:image/jpeg;base64,") for link in found.links)
    first = Image.open(io.BytesIO(base64.b64decode(found.links[0].split(",")[1])))
    assert first.size == (90, 70), "the shape of the picture is kept"
    assert np.abs(np.asarray(first, np.int16) - np.asarray(picture(0), np.int16)).mean() < 6
    assert "4" in re.findall(r"<b>([\d,]+)</b>", page)[0]
    assert "http://" not in page
    assert "https://" not in page
    short = Reader(leakage_page(report, train=train, test=test, most=2))
    assert short.tags.count("img") == 4
    assert "The 2 most suspicious of 4 pairs" in short.text


def test_the_page_of_no_pair(folders):
    train, test = folders
    for path in [*(test / "class0").glob("*"), test / "class1" / STRANGE]:
        path.unlink()
    report = find_leakage(train, test, metrics=["l2"], thresholds={"l2": 0}, images=SMALL)
    assert report.pairs == ()
    assert "No pair was found" in Reader(leakage_page(report, train=train, test=test)).text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ["l3"]}, "l3: there is no metric of this name"),
        ({"thresholds": {"dssim": 0.1}}, "dssim: a threshold is given for a metric that is not compared"),
        ({"thresholds": {"l2": -1.0}}, "l2: -1.0 is no distance"),
        ({"metrics": [], "featurisers": ["mine=own:Featuriser"]}, "mine: this metric has no threshold"),
    ],
)
def test_what_makes_no_sense(options, message, folders):
    with pytest.raises(UsageError, match=re.escape(message)):
        find_leakage(*folders, images=SMALL, **options)


def test_one_folder_or_an_empty_one(folders, tmp_path):
    train, _ = folders
    with pytest.raises(UsageError, match="are the same folder"):
        find_leakage(train, train)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no image that can be read"):
        find_leakage(train, tmp_path / "empty")


def test_no_folder_is_missed(folders, tmp_path, monkeypatch):
    """Leakage from images that were not looked at would go unseen: links are followed, and what cannot be listed ends the search."""
    train, test = folders
    save(picture(100), tmp_path / "elsewhere" / "copy.png")
    (train / "linked").symlink_to(tmp_path / "elsewhere")
    found = find_leakage(train, test, images=SMALL)
    assert "linked/copy.png" in {pair.train for pair in found.pairs}
    (test / "around").symlink_to(tmp_path)
    with pytest.raises(InputError, match=rf"around: is a link to {tmp_path}, which holds {test} itself"):
        find_leakage(train, test, images=SMALL)
    (test / "around").unlink()
    make_unreadable(monkeypatch, "class1")
    with pytest.raises(InputError, match="class1: cannot be read"):
        find_leakage(train, test, images=SMALL)


def test_the_command(folders, tmp_path):
    train, test = folders
    out = tmp_path / "new" / "page.html"
    arguments = ["duplicates", "leakage", "--train", str(train), "--test", str(test), "--side", "64"]
    done = CliRunner().invoke(cli, [*arguments, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "4 of 10 test images look like one of 12 training images" in done.output
    assert out.read_text().startswith("<!doctype html>")
    assert sorted(path.name for path in out.parent.iterdir()) == ["page.html"]
    done = CliRunner().invoke(cli, [*arguments, "--json", "--threshold", "l2=0", "--metric", "l2"])
    found = json.loads(done.stdout)
    assert (found["leaked"], found["identical"], found["thresholds"]) == (2, 1, {"l2": 0.0})  # the mirrored copy is a lossless one
    assert found["pairs"][0]["train"] == "class0/0.png"
    for wrong, message in ((["--json", "--threshold", "l2"], "write METRIC=DISTANCE"), ([], "Give --out")):
        done = CliRunner().invoke(cli, [*arguments, *wrong])
        assert (done.exit_code, message in done.output) == (2, True)
