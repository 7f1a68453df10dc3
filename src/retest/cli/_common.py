"""What commands share: the study option, progress bars, who acts and when, and output for people and machines."""

from __future__ import annotations

import dataclasses
import functools
import getpass
import json
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from retest.stages._common import Stamp
from retest.store.rows import chunks
from retest.study import CONFIG_FILE, BenchmarkSettings, Study, StudyConfig, StudySettings, create_study, open_study

F = TypeVar("F", bound=Callable[..., Any])
_ROWS_OF_A_PART = 10_000


def study_option(command: F) -> F:
    """``--study FOLDER``."""
    return click.option(
        "--study", "study_folder", type=click.Path(path_type=Path), required=True, help="The study's folder (made by retest init)."
    )(command)


def study_argument(command: F) -> F:
    """``STUDY`` or ``--study STUDY``, for commands about a study as a whole: the command gets ``study_folder``."""

    @functools.wraps(command)
    def with_folder(*arguments: Any, folder: Path | None, study_folder: Path | None, **options: Any) -> Any:
        if folder is not None and study_folder is not None:
            raise click.UsageError("Name the study once: STUDY, or --study STUDY, not both")
        chosen = study_folder or folder
        if chosen is None:
            raise click.UsageError("Name the study: STUDY, or --study STUDY")
        return command(*arguments, study_folder=chosen, **options)

    option = click.option("--study", "study_folder", type=click.Path(path_type=Path), help="The study's folder (made by retest init).")
    argument = click.argument("folder", metavar="[STUDY]", required=False, type=click.Path(path_type=Path))
    return argument(option(with_folder))  # type: ignore[return-value]


def json_option(command: F) -> F:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print figures as JSON for machines.")(command)


def parameter_options(kind: type[Any]) -> Callable[[F], F]:
    """Options for the fields of a parameter dataclass (numbers, texts, yes/no), with its defaults and help texts."""

    def decorate(command: F) -> F:
        for setting in reversed(dataclasses.fields(kind)):
            option = "--" + setting.name.replace("_", "-")
            command = click.option(
                option, setting.name, type=type(setting.default), default=setting.default, show_default=True, help=setting.metadata["help"]
            )(command)
        return command

    return decorate


def grouped_options(name: str, kind: type[Any], *options: Callable[[Any], Any]) -> Callable[[F], F]:
    """Several options that the command gets as one argument ``name``, a dataclass ``kind`` with a field for each."""
    fields = [field.name for field in dataclasses.fields(kind)]

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def with_group(*arguments: Any, **given: Any) -> Any:
            return command(*arguments, **{name: kind(**{field: given.pop(field) for field in fields})}, **given)

        result: Any = with_group
        for option in reversed(options):
            result = option(result)
        return result  # type: ignore[no-any-return]

    return decorate


@contextmanager
def opened(folder: Path) -> Iterator[Study]:
    """An open study that is closed at the end."""
    study = open_study(folder)
    try:
        yield study
    finally:
        study.close()


@contextmanager
def opened_or_new(folder: Path, *, benchmark: str) -> Iterator[Study]:
    """An open study that is closed at the end; where there is none it is made, with the settings that suit the named benchmark."""
    if not (folder / CONFIG_FILE).exists():
        settings = StudySettings(name=folder.resolve().name)
        create_study(folder, StudyConfig(study=settings, benchmark=BenchmarkSettings(name=benchmark))).close()
    with opened(folder) as study:
        yield study


def stamp_now() -> Stamp:
    """The person at this terminal, now."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # no login name in some containers
        user = "unknown"
    return Stamp(user, datetime.now(UTC).isoformat(timespec="seconds"))


@contextmanager
def bars(label: str, *, total: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error; where that is no terminal, a line per minute and one at the end.

    The time that remains follows from the mean speed so far (of the last hour), not from that of the last seconds: work comes in pieces.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        lines = ProgressLines(label, total)
        yield lines.advance
        click.echo(f"{label}: {lines.done}" + ("" if total is None else f" of {total}"), err=True)
        return
    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, speed_estimate_period=3600) as progress:
        task = progress.add_task(label, total=total)
        yield lambda number: progress.advance(task, number)


class ProgressLines:
    """Progress for a log file: at most one line per minute, with the time that remains at the mean speed so far."""

    def __init__(self, label: str, total: int | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.done = 0
        self._label, self._total, self._clock = label, total, clock
        self._start = self._said = clock()

    def advance(self, number: int) -> None:
        """So many more are done."""
        self.done += number
        now = self._clock()
        if now - self._said < 60 or not self.done:
            return
        self._said = now
        left = "" if self._total is None else f" of {self._total}, {_in_minutes((self._total / self.done - 1) * (now - self._start))} left"
        click.echo(f"{self._label}: {self.done}{left}", err=True)


def _in_minutes(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    return f"about {minutes} min" if minutes < 90 else f"about {seconds / 3600:.1f} h"


def print_json(value: Any) -> None:
    """Print a record, or plain values, as JSON with stable keys."""
    click.echo(json.dumps(value, indent=2, default=_plain, ensure_ascii=False))


def print_json_list(values: Iterable[Any]) -> None:
    """The same for a list of any length, printed as it comes."""
    count = 0
    for value in values:
        text = json.dumps(value, indent=2, default=_plain, ensure_ascii=False)
        click.echo(("," if count else "[") + "\n" + textwrap.indent(text, "  "), nl=False)
        count += 1
    click.echo("\n]" if count else "[]")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Path):
        return str(value)
    return dict(value)


def print_long_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table of any length for people: ten thousand rows at a time, each part with columns as wide as it needs."""
    parts = chunks(rows, _ROWS_OF_A_PART)
    print_table("", columns, next(parts, []))
    for part in parts:
        print_table("", columns, part)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table for people; numbers are right-aligned."""
    from rich.console import Console
    from rich.table import Table

    rows = [list(row) for row in rows]
    table = Table(title=title or None, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for index, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[index], (int, float)) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else str(cell) for cell in row))
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = 200  # a pipe has no width to fit
    console.print(table)
