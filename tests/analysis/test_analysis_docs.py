"""The code blocks of docs/statistics.md run and print what the page says; every public function is on the page."""

import doctest
import re
from pathlib import Path

import retest.analysis

PAGE = Path(__file__).resolve().parents[2] / "docs" / "statistics.md"


def blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def test_code_blocks_run():
    test = doctest.DocTestParser().get_doctest("\n".join(blocks()), {}, PAGE.name, str(PAGE), 0)
    report: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=report.append)
    assert result.attempted >= 30
    assert result.failed == 0, "".join(report)


def test_no_code_block_hides_from_the_test():
    page = PAGE.read_text(encoding="utf-8")
    assert page.count("```") == 2 * len(blocks())
    assert all(">>>" in block for block in blocks())


def test_page_names_every_public_function():
    page = PAGE.read_text(encoding="utf-8")
    functions = [name for name in retest.analysis.__all__ if name.islower() and callable(getattr(retest.analysis, name))]
    assert [name for name in functions if not re.search(rf"\b{name}\b", page)] == []
