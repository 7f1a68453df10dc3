"""A process of its own for what takes the review server long: its pages wait for no lock of the interpreter meanwhile.

A thread that computes keeps others from the interpreter for milliseconds each time they come back from the database, and a page comes
back from it dozens of times. What is computed here comes back as one value; large ones are to be fetched in pieces.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from retest.errors import StageError
from retest.stages._processes import IsolatingExecutor, WorkerEndedError
from retest.study import Study, open_study

__all__ = ["Aside", "Elsewhere"]

T = TypeVar("T")
Elsewhere = Callable[..., Any]
"""``elsewhere(function, *arguments)`` gives ``function(study, *arguments)``."""

_NICENESS = 15


class Aside:
    """Calls functions of modules with a study that another process has opened; the process starts with the first call.

    Args:
        folder: the study's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._executor = IsolatingExecutor(1, preload=(__name__,))

    def __call__(self, function: Callable[..., T], *arguments: Any) -> T:
        """``function(study, *arguments)``; both the arguments and what comes back are pickled. One call runs at a time.

        Raises:
            StageError: the process cannot start, or ended twice before it answered.
        """
        try:
            found: T = self._executor.submit(_on_study, self._folder, function, arguments).result()
            return found
        except WorkerEndedError as error:
            remedy = "If the machine is short of memory, give it more; the pages show older figures meanwhile"
            raise StageError(f"the process that works beside the review pages ended ({error})", remedy=remedy) from error

    def close(self) -> None:
        """End the process once it is done with what it does."""
        self._executor.shutdown()


def _on_study(folder: Path, function: Callable[..., T], arguments: tuple[Any, ...]) -> T:
    found: T = function(_opened(folder), *arguments)
    return found


@cache
def _opened(folder: Path) -> Study:
    with suppress(OSError):
        os.nice(_NICENESS)  # people come first
    return open_study(folder)
