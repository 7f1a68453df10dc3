"""What the data classes share: an open study read in short transactions, and values kept while nothing has changed."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

from retest.errors import NotFoundError, UsageError
from retest.store import Tables
from retest.study import Study
from retest.study import open_study as open_study_folder

T = TypeVar("T")


def open_study(folder: Path | str) -> Study:
    """Open the study in a folder (made by ``retest init``, ``retest demo`` or ``retest import``), bringing its tables up to date.

    Raises:
        NotFoundError: there is no study in this folder.
        ConfigError: its settings are wrong.
    """
    return open_study_folder(Path(folder))


class StudyView:
    """Base of the data classes: a view of an open study. Making one reads nothing; every answer is that of the study as it is now.

    Args:
        study: an open study, see :func:`retest.datasets.open_study`.

    Raises:
        UsageError: ``study`` is something else.
    """

    def __init__(self, study: Study) -> None:
        if not isinstance(study, Study):
            raise UsageError(
                f"needs an open study, not {study!r}", item=type(self).__name__, remedy="Give it open_study(folder) from retest.datasets"
            )
        self.study = study

    @contextmanager
    def _read(self) -> Iterator[Tables]:
        with self.study.database.read() as tables:
            yield tables

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.study.config.study.name!r} in {str(self.study.folder)!r})"


class Fresh(Generic[T]):
    """A value derived from some tables, kept until one of them changes; asking whether it has changed costs one query.

    Args:
        names: names of the tables that the value depends on.
        load: derives it.
    """

    def __init__(self, names: Iterable[str], load: Callable[[Tables], T]) -> None:
        self._names, self._load = tuple(names), load
        self._kept: tuple[dict[str, int], T] | None = None

    def get(self, tables: Tables) -> T:
        """The value as of this transaction."""
        generations = tables.generations.of(*self._names)
        if self._kept is None or self._kept[0] != generations:
            self._kept = (generations, self._load(tables))
        return self._kept[1]


def looked_up(found: Mapping[str, T], item: str, problem: str, *, remedy: str) -> T:
    """What a query for one id has found.

    Raises:
        NotFoundError: nothing, with this problem and remedy.
    """
    if item not in found:
        raise NotFoundError(problem, item=item, remedy=remedy)
    return found[item]


def not_found(problem: str, item: str, *, known: Iterable[str] = (), remedy: str = "") -> NotFoundError:
    """An error that names what was asked for and, where names are few, the most similar one that exists."""
    close = difflib.get_close_matches(item, list(known), n=1)
    return NotFoundError(problem, item=item, remedy=f"Did you mean {close[0]!r}?" if close else remedy or None)
