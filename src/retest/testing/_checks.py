"""What the conformance suites demand: a condition, or an error that says what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from retest.errors import RetestError

__all__ = ["check", "raises"]


def check(condition: bool, problem: str) -> None:
    """Raise AssertionError with ``problem`` where the condition does not hold."""
    if not condition:
        raise AssertionError(problem)


@contextmanager
def raises(kind: type[RetestError], problem: str) -> Iterator[None]:
    """The block must raise an error of this kind that names the item and the remedy; ``problem`` says what it means if it does not."""
    try:
        yield
    except kind as error:
        check(bool(error.problem and error.item is not None and error.remedy), f"the error lacks an item or a remedy: {error!r}")
        return
    raise AssertionError(problem)
