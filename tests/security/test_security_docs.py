"""Every test that docs/security.md names exists, and every test of this folder is named there."""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = set(re.findall(r"`(tests/[\w./]+)`", (ROOT / "docs/security.md").read_text(encoding="utf-8")))


def test_the_tests_that_the_page_names_exist():
    assert len(NAMED) > 12
    assert sorted(name for name in NAMED if not (ROOT / name).exists()) == []
    assert sorted(name for name in NAMED if (ROOT / name).is_dir() and not list((ROOT / name).glob("test_*.py"))) == []


def test_the_page_names_the_tests_of_this_folder():
    own = {f"tests/security/{path.name}" for path in Path(__file__).parent.glob("test_security_*.py")} - {
        "tests/security/test_security_docs.py"
    }
    assert sorted(own - NAMED) == []


@pytest.mark.parametrize("file", ["test_security_parsers.py", "test_security_files.py"])
def test_the_page_names_every_parser_that_is_fuzzed_and_no_other(file: str):
    source = (Path(__file__).parent / file).read_text(encoding="utf-8")
    cases = re.findall(r'^    "([^"]+)": (?:Parser|Reader)\(', source, re.MULTILINE)
    assert len(cases) > 10
    page = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    assert sorted(re.findall(rf"\| `tests/security/{file}`: ([^|]+) \|", page)) == sorted(cases)


def test_the_parsers_that_the_page_names_exist():
    page = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| [^|]+ \| (`[^|]+`) \| `tests/security/", page, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`([\w.]+)`", row)]
    assert len(named) > 30
    for name in named:
        module, _, attribute = f"retest.{name}".rpartition(".")
        found = importlib.import_module(module)
        assert hasattr(found, attribute) or importlib.util.find_spec(f"retest.{name}"), name
