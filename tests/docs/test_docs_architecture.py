"""The pictures of the architecture are drawn from the import contract, and the contract has every room."""

from __future__ import annotations

import importlib
import importlib.util
import re
import xml.etree.ElementTree as ET

import pytest
from doc_runner import ROOT

PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pictures():
    spec = importlib.util.spec_from_file_location("docs_pictures", ROOT / "docs/pictures.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_the_pictures_are_current(pictures):
    for name, draw in pictures.PICTURES.items():
        assert (ROOT / "docs/images" / name).read_text(encoding="utf-8") == draw(), "run: make docs"
        assert f"(images/{name})" in PAGE


def test_every_room_is_in_the_picture(pictures):
    folder = ROOT / "src/retest"
    rooms = {path.stem for path in folder.iterdir() if not path.name.startswith(("_", ".")) and path.name != "py.typed"}
    assert rooms == {room for row in pictures.layers() for room in row} == set(pictures.ROOMS)
    shown = [element.text for element in ET.fromstring(pictures.rooms_picture()).iter("{http://www.w3.org/2000/svg}text")]
    assert rooms <= set(shown)


def test_no_text_leaves_its_box(pictures):
    """DejaVu Sans needs at most 0.65 of its size per character on average."""
    for draw in pictures.PICTURES.values():
        boxes, texts = [], []
        for element in ET.fromstring(draw()).iter():
            values = dict(element.items())
            if element.tag.endswith("rect"):
                boxes.append((float(values.get("x", 0)), float(values.get("y", 0)), float(values["width"]), float(values["height"])))
            elif element.tag.endswith("text"):
                half = len(element.text) * float(values["font-size"]) * 0.65 / 2
                texts.append((float(values["x"]) - half, float(values["x"]) + half, float(values["y"]), element.text))
        for left, right, y, text in texts:
            assert any(x <= left + 12 and right - 12 <= x + width and top < y < top + height for x, top, width, height in boxes), text


def test_modules_that_the_page_names_exist():
    named = [name for name in re.findall(r"`([a-z]+/[a-z_/0-9]+\.py)`", PAGE) if not name.startswith(("docs/", "tests/"))]
    assert len(named) > 50
    for name in named:
        assert (ROOT / "src/retest" / name).exists(), name
    folders = re.findall(r"`((?:tests/)?[a-z_]+/(?:[a-z_]+/)*)`", PAGE)
    pictures = re.findall(r"\]\(([a-z/]+\.[a-z]+)\)", PAGE)
    assert folders
    assert pictures
    for name in folders:
        assert (ROOT / ("" if name.startswith("tests/") else "src/retest") / name).is_dir(), name
    for name in pictures:
        assert (ROOT / "docs" / name).is_file(), name


def test_every_room_is_told_where_to_begin(pictures):
    table = PAGE.split("## Where to begin in each room")[1].split("## ")[0]
    rows = [row.split("|")[1:3] for row in table.splitlines() if row.startswith("| `")]
    assert [room for names, _ in rows for room in re.findall(r"`([a-z]+)`", names)] == list(pictures.ROOMS)
    for names, first in rows[:-1]:
        assert re.search(rf"`{names.strip().strip('`')}/", first), names


def test_names_of_code_that_the_page_mentions_exist():
    rooms = "store|sources|crowd|models|neighbors|labeling|duplicates|sampling|analysis|images|study"
    named = {found for found in re.findall(rf"`({rooms})\.([A-Za-z_]+)`", PAGE) if found[1] not in ("py", "toml")}
    assert len(named) > 15
    for module, name in named:
        loaded = importlib.import_module(f"retest.{module}")
        assert hasattr(loaded, name) or importlib.util.find_spec(f"retest.{module}.{name}"), f"{module}.{name}"
