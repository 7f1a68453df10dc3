"""The reference is made of docstrings: every public name has one, every method too, and what can be raised is said."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STABILITY = (ROOT / "docs/reference/stability.md").read_text()
MODULES = [name for name in dict.fromkeys(re.findall(r"`(retest\.[a-z_.]+)`", STABILITY)) if name != "retest.testing"]


def public(module):
    found = importlib.import_module(module)
    return {name: getattr(found, name) for name in found.__all__}


def functions_of(kind):
    """name -> function of the public methods and properties that a class defines itself."""
    parts = {"property": lambda part: part.fget, "classmethod": lambda part: part.__func__, "staticmethod": lambda part: part.__func__}
    own = {name: parts.get(type(part).__name__, lambda part: part)(part) for name, part in vars(kind).items() if name[0] != "_"}
    return {name: part for name, part in own.items() if inspect.isfunction(part)}


def undocumented(module):
    for name, found in public(module).items():
        if (inspect.isfunction(found) or inspect.isclass(found)) and not found.__doc__:
            yield name
        if inspect.isclass(found):
            yield from (f"{name}.{method}" for method, function in functions_of(found).items() if not function.__doc__)


def test_there_is_something_to_look_at():
    assert len(MODULES) > 10
    assert {"retest.analysis", "retest.models", "retest.store"} <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_and_method_says_what_it_is(module):
    assert list(undocumented(module)) == []


@pytest.mark.parametrize("module", MODULES)
def test_functions_that_raise_say_what(module):
    silent = [
        name
        for name, found in public(module).items()
        if inspect.isfunction(found)
        and re.search(r"^\s+raise ", inspect.getsource(found), re.MULTILINE)
        and not re.search(r"[Rr]aises?\b", found.__doc__ or "")
    ]
    assert silent == []


def test_a_method_without_words_is_found(monkeypatch):
    class Wordless:
        """A class."""

        @property
        def value(self):
            return 1

    import retest.models

    monkeypatch.setattr(retest.models, "Wordless", Wordless, raising=False)
    monkeypatch.setattr(retest.models, "__all__", [*retest.models.__all__, "Wordless"])
    assert list(undocumented("retest.models")) == ["Wordless.value"]
