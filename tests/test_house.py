"""The house itself: import rules, lightness, and documents that must not lie."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = (
    "numpy",
    "scipy",
    "sklearn",
    "numba",
    "torch",
    "PIL",
    "sqlalchemy",
    "alembic",
    "obstore",
    "pyarrow",
    "matplotlib",
    "pydantic",
    "httpx",
    "rich",
)


def test_import_rules_hold():
    done = subprocess.run(["lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True, env=_path())
    assert done.returncode == 0, done.stdout


def _path():
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.parametrize("statement", ["import retest", "import retest.errors", "import retest.cli"])
def test_import_is_light(statement):
    code = f"import sys; {statement}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_light_import_test_can_fail():
    code = f"import sys; import retest.records; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "numpy" in done.stdout


def test_settings_page_is_current():
    from retest.study.config import settings_reference

    assert (ROOT / "docs/settings.md").read_text() == settings_reference(), "run: make docs"


def test_no_assert_in_the_package():
    """Asserts vanish under -O: validation must not rest on them."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / "src").rglob("*.py"))
        if "testing" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assert)
    ]
    assert found == []


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="all tests are run in one process")
@pytest.mark.xdist_group("house")
def test_groups_of_tests_are_kept_together(request):
    """Expensive studies are made once, and faults that need a place of their own are tried one after the other, only if groups count."""
    assert request.node.nodeid.endswith("@house")


def test_names_of_tests_are_short(request):
    """Names go to every worker and into every report; files of 30 MB given as parameters were named in 88 MB each."""
    assert [item.nodeid[:200] for item in request.session.items if len(item.nodeid) > 400] == []
