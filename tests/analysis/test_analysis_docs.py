"""Every public function is on docs/statistics.md. (tests/docs runs the page.)"""

import re
from pathlib import Path

import retest.analysis

PAGE = Path(__file__).resolve().parents[2] / "docs" / "statistics.md"


def test_page_names_every_public_function():
    page = PAGE.read_text(encoding="utf-8")
    functions = [name for name in retest.analysis.__all__ if name.islower() and callable(getattr(retest.analysis, name))]
    assert [name for name in functions if not re.search(rf"\b{name}\b", page)] == []
