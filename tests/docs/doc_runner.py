"""Runs what a page of the documentation shows, block by block, in the current folder.

``console`` blocks hold commands after ``$ `` and, if the page shows any, their output, where ``...`` stands for anything. ``python``
blocks are executed, ``pycon`` blocks are doctests; both share one namespace per page. ``toml`` blocks are settings of a study,
``json`` blocks are JSON. ``text`` and ``bibtex`` blocks are shown only. A block in any other language, or in none, is an
error: nothing hides from the test.

What cannot run here has a line ``<!-- not run: why -->`` above it, and what needs a package of an extra ``<!-- needs: torch -->``. What
does not run is checked as far as that goes: commands of retest parse with their options, Python compiles, TOML is a study's settings.
"""

from __future__ import annotations

import doctest
import importlib.util
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

from retest.cli import cli
from retest.study.config import format_config, parse_config

ROOT = Path(__file__).resolve().parents[2]
SHOWN = frozenset({"text", "bibtex"})
# Languages of other people's programs: shown under a marker only.
FOREIGN = frozenset({"nginx", "yaml", "bash", "ini", "sql"})
# Programs that a page may show but that a test cannot run without a network or without changing the machine.
NOT_RUN = frozenset({"createdb", "pip", ".venv/bin/pip", "pipx", "uvx", "uv", "git", "make", "eval", "echo", "python3"})
# What stands below a marker may belong to other machines as well.
ELSEWHERE = NOT_RUN | frozenset(
    {"aws", "dask", "docker", "helm", "kubectl", "export", "psql", "python", "pytest", "sbatch", "ssh", "vmstat"}
)
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_FENCE = re.compile(r"^(?P<indent>[ ]*)```(?P<info>[^\n`]*)\n(?P<content>.*?)^(?P=indent)```[ ]*$", re.MULTILINE | re.DOTALL)
_MARKER = re.compile(r"<!--\s*(not run|needs):\s*(\S[^>]*?)\s*-->\s*\Z")
_ASSIGNMENT = re.compile(r"^([A-Z][A-Z0-9_]*)=(.*)$", re.DOTALL)


class PageError(AssertionError):
    """Something on a page is not true."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, what is in it, and why it is not run (None: it is run)."""

    language: str
    content: str
    reason: str | None = None


@dataclass
class Page:
    """A page while it is run.

    ``names`` are words on the page that stand for something else (``HIT`` for an id). ``before`` maps the beginning of a command to what
    happens before it is run for the first time: what other people do. ``answers`` are typed at the questions of a command. ``port`` is
    taken by ``retest serve ... &`` instead of 8000. With ``study`` every ``toml`` block is written into that study's settings. ``ran``
    counts blocks by language and commands by their first two words, ``left_out`` the reasons of blocks that did not run.
    """

    path: Path
    namespace: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})
    names: dict[str, str] = field(default_factory=dict)
    before: dict[str, Callable[[], None]] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    port: int = 8000
    study: Path | None = None
    ran: Counter[str] = field(default_factory=Counter)
    left_out: list[str] = field(default_factory=list)
    _servers: list[subprocess.Popen[str]] = field(default_factory=list)

    def run(self) -> Counter[str]:
        try:
            for block in blocks(self.path.read_text(encoding="utf-8")):
                if block.reason is not None:
                    self.left_out.append(block.reason)
                    check_block(block, self.path.name)
                else:
                    self.ran[block.language] += 1
                    self._block(block.language, block.content)
        finally:
            self._stop_servers()
        return self.ran

    def _block(self, language: str, text: str) -> None:
        if language == "console":
            for command, expected in commands(text):
                self._command(command, expected)
        elif language == "python":
            with _environment(self.environment):
                exec(compile(text, str(self.path), "exec"), self.namespace)
        elif language == "pycon":
            self._doctest(text)
        elif language not in SHOWN:
            check_block(Block(language, text), self.path.name)
            if language == "toml" and self.study is not None:
                self._configure(self.study / "study.toml", tomllib.loads(text))

    def _command(self, command: str, expected: str) -> None:
        for beginning in [key for key in self.before if command.startswith(key)]:
            self.before.pop(beginning)()
        for word, meaning in self.names.items():
            command = re.sub(rf"(?<![\w./-]){re.escape(word)}(?![\w./-])", meaning, command)
        assignments, arguments = split(command)
        if not arguments or arguments[0] not in ("retest", "export"):
            self._not_run(arguments)
        elif arguments[0] == "export":
            self._export(command)
        elif arguments[-1] == "&":
            self._start(arguments[1:-1])
        else:
            self._retest(command, arguments[1:], assignments, expected)

    def _retest(self, command: str, arguments: list[str], assignments: Mapping[str, str], expected: str) -> None:
        self.ran[" ".join(["retest", *arguments[:1]])] += 1
        typed = next((text for beginning, text in self.answers.items() if command.startswith(beginning)), None)
        done = CliRunner(env={**self.environment, **assignments}).invoke(cli, arguments, input=typed)
        if done.exit_code != 0:
            raise PageError(f"{self.path.name}: {command}\nended with {done.exit_code}: {done.output}{done.exception}")
        if expected and not doctest.OutputChecker().check_output(expected, done.stdout, _FLAGS):
            raise PageError(f"{self.path.name}: {command}\nthe page shows:\n{expected}\nthe command prints:\n{done.stdout}")

    @staticmethod
    def _configure(file: Path, changes: Mapping[str, Mapping[str, Any]]) -> None:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
        for section, values in changes.items():
            found[section] = {**found.get(section, {}), **values}
        file.write_text(format_config(parse_config(found, origin=file.name)), encoding="utf-8")

    def _start(self, arguments: list[str]) -> None:
        self.ran[" ".join(["retest", *arguments[:1]])] += 1
        command = [sys.executable, "-m", "retest", *arguments, "--port", str(self.port)]
        environment = {**os.environ, **self.environment, "PYTHONUNBUFFERED": "1"}
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
        self._servers.append(server)
        if "listening on" not in (line := server.stdout.readline()):
            raise PageError(f"{self.path.name}: {shlex.join(command)} does not serve: {line}")

    def _stop_servers(self) -> None:
        for server in self._servers:
            server.send_signal(signal.SIGTERM)
            server.wait(30)
            server.stdout.close()

    def _export(self, command: str) -> None:
        """Let bash say what the variables become, also where a value is the output of a command."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        said = subprocess.run(
            ["bash", "-euc", f"{command.partition(' #')[0]}\nenv -0"], env={"PATH": path}, capture_output=True, text=True, check=True
        )
        values = dict(entry.split("=", 1) for entry in said.stdout.split("\0") if "=" in entry)
        self.environment.update({name: values[name] for name in re.findall(r"\b([A-Z][A-Z0-9_]*)=", command) if name in values})

    def _not_run(self, arguments: list[str]) -> None:
        if not arguments or arguments[0] not in NOT_RUN:
            raise PageError(f"{self.path.name}: {' '.join(arguments)} is not run by any test")
        check_make(arguments, self.path.name)

    def _doctest(self, text: str) -> None:
        said: list[str] = []
        test = doctest.DocTestParser().get_doctest(text, self.namespace, self.path.name, str(self.path), 0)
        done = doctest.DocTestRunner(optionflags=_FLAGS).run(test, out=said.append, clear_globs=False)
        self.namespace.update(test.globs)
        if done.failed:
            raise PageError("".join(said))


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def blocks(text: str) -> list[Block]:
    """Every fenced block, also of those indented in a list, but MyST directives, which Sphinx checks."""
    found = []
    for match in _FENCE.finditer(text):
        if match["info"].startswith("{"):
            continue
        marker = _MARKER.search(text, max(0, match.start() - 400), match.start())
        content = re.sub(f"^{match['indent']}", "", match["content"], flags=re.MULTILINE)
        found.append(Block(match["info"].strip().split(" ")[0], content, _reason(marker)))
    return found


def _reason(marker: re.Match[str] | None) -> str | None:
    if marker is None:
        return None
    if marker[1] == "not run":
        return " ".join(marker[2].split())
    missing = [name for name in marker[2].split() if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


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


def split(command: str) -> tuple[dict[str, str], list[str]]:
    """Assignments before a command, and its words without comments."""
    words = shlex.split(command, comments=True)
    assignments: dict[str, str] = {}
    while words and (found := _ASSIGNMENT.match(words[0])):
        assignments[found[1]] = found[2]
        words = words[1:]
    return assignments, words


def check_block(block: Block, page: str) -> None:
    """What can be said of a block without running it."""
    if block.language == "console":
        for command, _ in commands(block.content):
            _, words = split(command)
            check_words([word for word in words if word != "&"], page)
    elif block.language in ("python", "pycon"):
        source = block.content
        if block.language == "pycon":
            source = "".join(example.source for example in doctest.DocTestParser().get_examples(source))
        compile(source, page, "exec")
    elif block.language == "toml":
        parse_config(tomllib.loads(block.content), origin=page)
    elif block.language == "json":
        json.loads(block.content)
    elif block.language not in FOREIGN or block.reason is None:
        raise PageError(f"{page}: a block in {block.language or 'no language'} is neither run nor known to be shown only:\n{block.content}")


def check_words(words: list[str], page: str) -> None:
    """A command that is not run: its program is known, and if it is retest's, the command, its options and their values are right."""
    if not words or words[0] not in ELSEWHERE | {"retest"}:
        raise PageError(f"{page}: {' '.join(words)}: unknown program")
    if words[0] == "retest":
        check_retest(words[1:], page)
    check_make(words, page)


def check_retest(arguments: list[str], page: str) -> None:
    """The command exists, takes these options, and understands their values; files need not exist."""
    command: click.Command = cli
    context = click.Context(cli, info_name="retest")
    rest = list(arguments)
    while isinstance(command, click.Group):
        found = command.get_command(context, rest[0]) if rest else None
        if found is None:
            raise PageError(f"{page}: retest {' '.join(arguments)}: no such command")
        command, rest = found, rest[1:]
        context = click.Context(command, info_name=command.name, parent=context)
    try:
        values, _, _ = command.make_parser(context).parse_args(args=rest)
        for parameter in command.get_params(context):
            value = values.get(parameter.name)
            if parameter.required and not value:
                raise click.MissingParameter(ctx=context, param=parameter)
            if isinstance(parameter.type, (click.Choice, click.types.IntParamType, click.types.FloatParamType)):
                for one in value if isinstance(value, (list, tuple)) else [value]:
                    if isinstance(one, str):
                        parameter.type.convert(one, parameter, context)
    except click.ClickException as error:
        raise PageError(f"{page}: retest {' '.join(arguments)}: {error.format_message()}") from error


def check_make(words: list[str], page: str) -> None:
    """Targets of make are in the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    unknown = [name for name in words[1:] if words[0] == "make" and "=" not in name and name not in targets]
    if unknown:
        raise PageError(f"{page}: the Makefile has no target {unknown[0]}")
