"""The table of features claims nothing without a page that does it and a test that sees it."""

from __future__ import annotations

import re

import pytest
from doc_runner import ROOT

ROWS = [line for line in (ROOT / "docs/features.md").read_text(encoding="utf-8").splitlines() if line.startswith("| [")]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("]")[0].removeprefix("| ["))
def test_a_row_has_a_page_and_a_test(row):
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert len(cells) == 8
    page, _, section = re.fullmatch(r"\[.+\]\(([^)]+)\)", cells[0])[1].partition("#")
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    titles = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)]
    assert not section or section in titles
    assert "retest " in text
    assert cells[1] not in ("", "-")
    for place in re.findall(r"`(tests/[^`]+)`", cells[7]):
        files = [ROOT / place] if place.endswith(".py") else list((ROOT / place).rglob("test_*.py"))
        assert files
        assert all(file.exists() for file in files)


def test_there_are_rows():
    assert len(ROWS) >= 15
