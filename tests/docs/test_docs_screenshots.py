"""The pictures of pages in the documentation, made by a browser: RETEST_SCREENSHOTS=docs/images pytest tests/docs/test_docs_screenshots.py

Without the variable the pictures are made and looked at, and thrown away. (Those of the review pages: docs/reviewing.md.)
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from doc_runner import ROOT
from doc_workplaces import retest
from PIL import Image, ImageOps, ImageStat
from sklearn.datasets import load_digits

from chromium_browser import NEEDS_CHROMIUM

pytestmark = NEEDS_CHROMIUM
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture(scope="module")
def picture(browser, tmp_path_factory):
    """``picture(file, name, ...)`` opens a page that needs no network and keeps what is to be seen."""
    out = Path(os.environ.get("RETEST_SCREENSHOTS") or tmp_path_factory.mktemp("pictures"))

    def take(page_file: Path, name: str, *, width: int, height: int) -> Image.Image:
        context = browser.new_context(viewport={"width": width, "height": height}, offline=True)
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.goto(page_file.as_uri())
        page.wait_for_function("() => [...document.images].every(image => image.complete)")
        page.screenshot(path=out / f"{name}.png")
        context.close()
        seen = Image.open(out / f"{name}.png").convert("RGB")
        assert seen.size == (width, height)
        assert min(ImageStat.Stat(seen).stddev) > 10, "an empty page"
        return seen

    return take


def write_digits(folder: Path, digits: tuple[int, ...], first: int, count: int) -> None:
    """Handwritten digits, which scikit-learn ships and which may be shown, one folder per class."""
    found = load_digits()
    for digit in digits:
        place = folder / NAMES[digit]
        place.mkdir(parents=True)
        for row in np.flatnonzero(found.target == digit)[first : first + count]:
            pixels = 255 - (found.images[row] * 15.9).astype(np.uint8)
            Image.fromarray(pixels).resize((160, 160), Image.Resampling.BICUBIC).save(place / f"{row:04}.png")


def test_the_task_page(picture, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for part, first, count in (("train", 0, 4), ("val", 10, 40), ("pool", 60, 12)):
        write_digits(tmp_path / part, (1, 7), first, count)
    (tmp_path / "pool/seven/one.png").write_bytes(next((tmp_path / "pool/one").iterdir()).read_bytes())
    retest("init", "study", "--train", "train", "--val", "val", "--pool", "pool")
    for command in (("benchmark",), ("search",), ("download",), ("publish",), ("label", "plan")):
        retest(*command, "--study", "study")
    hits = json.loads(retest("label", "list", "--study", "study", "--json"))
    seven = next(hit["uuid"] for hit in hits if hit["wnid"] == "seven")
    retest("label", "preview", "--study", "study", "--hit", seven, "--out", "preview")
    (page,) = (tmp_path / "preview").glob("*.html")
    picture(page, "labelling-task", width=1100, height=900)


def test_the_leakage_page(picture, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_digits(tmp_path / "train", (2, 5, 8), 0, 12)
    write_digits(tmp_path / "new", (2, 5, 8), 100, 4)
    alterations = (lambda image: image, ImageOps.mirror, lambda image: image.point(lambda value: value * 0.97))
    for digit, alter in zip((2, 5, 8), alterations, strict=True):
        with Image.open(next((tmp_path / "train" / NAMES[digit]).iterdir())) as image:
            alter(image).convert("RGB").save(tmp_path / "new" / NAMES[digit] / "found.jpg", quality=88)
    options = ("--side", 64, "--metric", "l2", "--threshold", "l2=2e6")
    said = retest("duplicates", "leakage", "--train", "train", "--test", "new", "--out", "leakage.html", *options)
    assert said.startswith("3 of 15 test images look like one of 36 training images")
    picture(tmp_path / "leakage.html", "leakage", width=1100, height=760)


@pytest.mark.xdist_group("demo")
def test_the_report(picture, request, tmp_path):
    """For the documentation the whole demo; to look whether it can be seen, the reduced one, which other tests have made."""
    if os.environ.get("RETEST_SCREENSHOTS"):
        retest("demo", "--out", tmp_path / "demo")
        out = tmp_path / "demo"
    else:
        out = request.getfixturevalue("demo").out
    picture(out / "report.html", "report", width=900, height=1560)


def test_every_picture_on_a_page_is_there():
    for page in (*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"):
        for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / name).is_file(), f"{page.name}: {name}"
