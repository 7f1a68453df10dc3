"""The figures on docs/near-duplicates.md have the benchmark's form. (tests/docs runs the page.)"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "near-duplicates.md"


def test_the_tables_have_every_alteration_and_metric():
    spec = importlib.util.spec_from_file_location("perf_recall_of_page", ROOT / "perf" / "neighbors_recall.py")
    perf = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(perf)
    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+?) \| \d", text, re.MULTILINE)
    assert [row for row in rows if row in perf.ALTERATIONS] == list(perf.ALTERATIONS)
    header = next(line for line in text.splitlines() if line.startswith("| alteration |"))
    metrics = [cell.strip() for cell in header.split("|")[2:-1]]
    assert metrics[:4] == ["l2", "dssim", "phash", "squeezenet"]
    curve = re.findall(r"^\| (\w+) \| [\d.e+,]+ \| 0\.|^\| (\w+) \| [\d.e+,]+ \| 1\.", text, re.MULTILINE)
    assert {first or second for first, second in curve} >= set(metrics[:4])
    for value in re.findall(r"\d\.\d{3}(?= \()", text):
        assert 0.0 <= float(value) <= 1.0
