"""Every test that docs/security.md names exists, and every test of this folder is named there."""

from __future__ import annotations

import re
from pathlib import Path

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
