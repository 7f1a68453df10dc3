"""Runs what a page of the documentation shows, block by block, in the current folder.

``console`` blocks hold commands after ``$ `` and, if the page shows any, their output, where ``...`` stands for anything. ``python``
blocks are executed, ``pycon`` blocks are doctests; both share one namespace per page. ``toml`` blocks are settings of a study,
``json`` blocks are JSON. ``text`` and ``bibtex`` blocks are shown only. A block in any other language, or in none, is an
error: nothing hides from the test.
"""

from __future__ import annotations

import doctest
import json
import re
import shlex
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from retest.cli import cli
from retest.study.config import parse_config

ROOT = Path(__file__).resolve().parents[2]
SHOWN = frozenset({"text", "bibtex"})
# Programs that a page may show but that a test cannot run without a network or without changing the machine.
NOT_RUN = frozenset({"pip", ".venv/bin/pip", "pipx", "uvx", "uv", "git", "make", "eval", "echo", "python3"})
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class PageError(AssertionError):
    """Something on a page is not true."""


@dataclass
class Page:
    """A page while it is run. ``ran`` counts blocks by language and commands by their first two words."""

    path: Path
    namespace: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})
    ran: Counter[str] = field(default_factory=Counter)

    def run(self, environment: Mapping[str, str] | None = None) -> Counter[str]:
        for language, text in blocks(self.path.read_text(encoding="utf-8")):
            self.ran[language] += 1
            self._block(language, text, environment or {})
        return self.ran

    def _block(self, language: str, text: str, environment: Mapping[str, str]) -> None:
        if language == "console":
            for command, expected in commands(text):
                self._command(command, expected, environment)
        elif language == "python":
            exec(compile(text, str(self.path), "exec"), self.namespace)
        elif language == "pycon":
            self._doctest(text)
        elif language == "toml":
            parse_config(tomllib.loads(text), origin=self.path.name)
        elif language == "json":
            json.loads(text)
        elif language not in SHOWN:
            raise PageError(f"{self.path.name}: a block in {language or 'no language'} is neither run nor known to be shown only:\n{text}")

    def _command(self, command: str, expected: str, environment: Mapping[str, str]) -> None:
        program, *arguments = shlex.split(command, comments=True)
        if program != "retest":
            self._not_run(program, arguments)
            return
        self.ran[" ".join(["retest", *arguments[:1]])] += 1
        done = CliRunner(env=dict(environment)).invoke(cli, arguments)
        if done.exit_code != 0:
            raise PageError(f"{self.path.name}: {command}\nended with {done.exit_code}: {done.output}{done.exception}")
        if expected and not doctest.OutputChecker().check_output(expected, done.stdout, _FLAGS):
            raise PageError(f"{self.path.name}: {command}\nthe page shows:\n{expected}\nthe command prints:\n{done.stdout}")

    def _not_run(self, program: str, arguments: list[str]) -> None:
        if program not in NOT_RUN:
            raise PageError(f"{self.path.name}: {program} is not run by any test")
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
        unknown = [name for name in arguments if program == "make" and "=" not in name and name not in targets]
        if unknown:
            raise PageError(f"{self.path.name}: the Makefile has no target {unknown[0]}")

    def _doctest(self, text: str) -> None:
        said: list[str] = []
        test = doctest.DocTestParser().get_doctest(text, self.namespace, self.path.name, str(self.path), 0)
        done = doctest.DocTestRunner(optionflags=_FLAGS).run(test, out=said.append, clear_globs=False)
        self.namespace.update(test.globs)
        if done.failed:
            raise PageError("".join(said))


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, content) of every fenced block, also of those indented in a list; a MyST directive's name counts as its language."""
    found = re.findall(r"^([ ]*)```([^\n`]*)\n(.*?)^\1```[ ]*$", text, re.MULTILINE | re.DOTALL)
    return [
        (info.strip().split(" ")[0], re.sub(f"^{indent}", "", content, flags=re.MULTILINE))
        for indent, info, content in found
        if not info.startswith("{")
    ]


def commands(text: str) -> list[tuple[str, str]]:
    """(command, output that the page shows for it) of a console block; a backslash continues a command on the next line."""
    found: list[list[str]] = []
    continued = False
    for line in text.splitlines():
        if continued:
            found[-1][0] += " " + line.strip().removesuffix("\\")
        elif line.startswith("$ "):
            found.append([line[2:].removesuffix("\\"), ""])
        elif found:
            found[-1][1] += line + "\n"
        else:
            raise PageError(f"a console block begins without a command: {line}")
        continued = line.endswith("\\") and (continued or line.startswith("$ "))
    return [(command, output) for command, output in found]
