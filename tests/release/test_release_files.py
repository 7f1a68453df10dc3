"""What belongs to a release: versions that agree, a citation, the list of public names, start-up and completion."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import retest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAMES = Path(__file__).parent / "public_names.json"


def public_names() -> dict[str, list[str]]:
    return json.loads(NAMES.read_text())


def names_of(module: str) -> list[str]:
    """``__all__``, or what a module without one defines itself."""
    loaded = importlib.import_module(module)
    own = [name for name, value in vars(loaded).items() if not name.startswith("_") and getattr(value, "__module__", None) == module]
    return sorted(getattr(loaded, "__all__", own))


def test_versions_agree():
    citation = (ROOT / "CITATION.cff").read_text()
    assert PROJECT["version"] == retest.__version__
    assert re.search(r"^version: (\S+)$", citation, re.MULTILINE)[1] == retest.__version__


def test_the_citation_has_what_its_format_asks_for():
    yaml = pytest.importorskip("yaml")
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= found.keys()
    assert found["license"] == PROJECT["license"]
    assert [reference["year"] for reference in found["references"]] == [2019, 2018]


@pytest.mark.parametrize("module", public_names())
def test_no_public_name_is_gone(module):
    """Names are added freely; one that goes needs a deprecation (docs/reference/stability.md), then: python tests/release/renew.py."""
    loaded = importlib.import_module(module)
    assert [name for name in public_names()[module] if not hasattr(loaded, name)] == []
    assert set(public_names()[module]) <= set(names_of(module))


def test_public_modules_are_those_of_the_documentation():
    text = (ROOT / "docs/reference/stability.md").read_text()
    listed = set(re.findall(r"`(retest\.[a-z_.]+)`", text)) - {"retest.testing"}
    assert listed == set(public_names())
    reference = ROOT / "docs/reference"
    pages = {f"python/{page.stem}": page.read_text() for page in (reference / "python").glob("*.md")}
    assert set(re.findall(r"^\.\. automodule:: (\S+)$", "\n".join(pages.values()), re.MULTILINE)) == set(public_names())
    assert re.findall(r"^python/\S+$", (reference / "api.md").read_text(), re.MULTILINE) == sorted(pages)


def test_starting_up_imports_nothing_but_click_and_the_standard_library():
    """What makes `retest --help` fast; the time itself depends on the machine (see docs/performance.md)."""
    run = "import sys\nfrom retest.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code = run + "print(sorted({m.partition('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.splitlines()[-1].replace("'", '"')))
    site = {"site", "sitecustomize", "usercustomize", "__main__", "_distutils_hack", "a1_coverage", "_virtualenv"}
    others = {name for name in loaded - set(sys.stdlib_module_names) - site if not name.startswith("__editable__")}
    assert others <= {"retest", "click", "colorama"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("retest sam", {"sample"}),
        ("retest sample strat", {"stratified"}),
        ("retest label two-pass re", {"record"}),
        ("retest sample x --pres", {"--preset"}),
    ],
)
def test_the_shell_completes(words, expected):
    environment = {**os.environ, "_RETEST_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    done = subprocess.run([sys.executable, "-c", "from retest.cli import main; main()"], env=environment, capture_output=True, text=True)
    assert {line.partition(",")[2] for line in done.stdout.splitlines()} == expected, done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_s_script_names_the_command(shell):
    environment = {**os.environ, "_RETEST_COMPLETE": f"{shell}_source"}
    done = subprocess.run([sys.executable, "-c", "from retest.cli import main; main()"], env=environment, capture_output=True, text=True)
    assert "_RETEST_COMPLETE" in done.stdout, done.stderr
