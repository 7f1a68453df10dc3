"""Options of ``retest search``: every setting of ``[search]`` for one run, and which classes to search for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from retest.cli._files import read_json, read_lines, read_text
from retest.errors import InputError
from retest.sources import SearchParameters
from retest.sources.search import SORT_ORDERS
from retest.study import Study

__all__ = ["chosen_wnids", "search_options", "with_search_options"]

F = TypeVar("F", bound=Callable[..., Any])
_NAMES = {"licenses": "license"}
_TYPES: Mapping[str, Any] = {"max_images": click.IntRange(min=0), "sort": click.Choice(SORT_ORDERS)}


def search_options(command: F) -> F:
    """An option per field of :class:`SearchParameters`; the dataclass gives names and help, ``study.toml`` the defaults."""
    for setting in reversed(dataclasses.fields(SearchParameters)):
        option = f"--{_NAMES.get(setting.name, setting.name).replace('_', '-')}"
        text = f"[search] {setting.metadata['help']}."
        if isinstance(setting.default, bool):
            command = click.option(f"{option}/{option.replace('--', '--no-', 1)}", setting.name, default=None, help=text)(command)
        elif isinstance(setting.default, tuple):
            command = click.option(option, setting.name, multiple=True, help=f"{text} May be given several times.")(command)
        else:
            command = click.option(option, setting.name, type=_TYPES.get(setting.name, str), help=text)(command)
    return command


def with_search_options(study: Study, options: Mapping[str, Any]) -> Study:
    """The study with the settings that were given in place of those of its ``study.toml``.

    Raises:
        ConfigError: a value is out of range.
    """
    given = {name: value for name, value in options.items() if value not in (None, ())}
    for name in ("hand_terms", "wordnet"):
        if given.get(name):
            given[name] = str(Path(given[name]).absolute())
    search = dataclasses.replace(study.config.search, **given)
    return dataclasses.replace(study, config=dataclasses.replace(study.config, search=search))


def chosen_wnids(names: tuple[str, ...], file: Path | None) -> tuple[str, ...] | None:
    """The classes that were named, in order and each once; None when none were, which means all.

    Args:
        names: given one by one.
        file: a JSON list, or a text with one name per line; empty lines and lines that begin with ``#`` count for nothing.

    Raises:
        InputError: the file is neither.
    """
    if file is None:
        return tuple(dict.fromkeys(names)) or None
    listed = read_json(file) if read_text(file).lstrip().startswith("[") else read_lines(file)
    if not listed or not all(isinstance(name, str) for name in listed):
        raise InputError("is no list of wnids", item=str(file), remedy="Write one wnid per line, or a JSON list of texts.")
    return tuple(dict.fromkeys([*names, *listed]))
