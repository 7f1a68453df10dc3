"""The Python of docs/collecting.md runs, in order, as a reader would run it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from retest.images import REASONS
from retest.sources.download import FAILURE_REASONS
from retest.sources.licenses import FLICKR_LICENSES
from retest.sources.published import COLUMNS
from retest.testing.imageserver import sample_image

PAGE = Path(__file__).parents[2] / "docs" / "collecting.md"


def test_every_block_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "n01440764"
    folder.mkdir()
    sample_image(1).save(folder / "a.jpg")
    table = tmp_path / "urls.csv"
    table.write_text("url,wnid\nhttps://example.org/1.jpg,n01440764\n")
    names = {"FOLDER": str(tmp_path), "TABLE": str(table)}
    ran = 0
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        offline = "\n".join(line for line in block.splitlines() if "asks the real service" not in line)
        exec(compile(offline, str(PAGE), "exec"), names)
        ran += 1
    said = capsys.readouterr().out
    assert ran == 7
    assert "n01440764/a.jpg" in said
    assert "['https://example.org/1.jpg']" in said
    assert "tench 10 {} ()" in said
    assert "1 not_found" in said
    assert "html - photo 17: an HTML page instead of an image" in said


def test_the_page_names_every_reason_licence_and_column() -> None:
    text = PAGE.read_text(encoding="utf-8")
    columns = {name for field, names in COLUMNS.items() for name in names if field not in ("found_by", "date_found")}
    published = {"id_search_engine", "search_engine", "id_ours", "url_type", "url_kind", "date_upload_search_engine"}
    for name in {*REASONS, *FAILURE_REASONS, *(columns - published)}:
        assert f"`{name}`" in text or f"{name}," in text, name
    for name in FLICKR_LICENSES.values():
        assert f"`{name}`" in text or name.endswith("-4.0"), name
