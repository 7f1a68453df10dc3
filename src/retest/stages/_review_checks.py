"""What the review stages ask of their arguments alike."""

from __future__ import annotations

from collections.abc import Sequence

from retest.errors import UsageError


def check_choice(name: str, value: str, known: Sequence[str]) -> None:
    """Refuse a value that is none of those known.

    Raises:
        UsageError: it is none of them.
    """
    if value not in known:
        raise UsageError(f"{value!r} is not known", item=name, remedy=f"Use one of: {', '.join(known)}")


def check_limit(limit: int, most: int, *, remedy: str = "Ask for the next page with after") -> None:
    """Refuse a length of a page that is not 1 to ``most``.

    Raises:
        UsageError: it is not.
    """
    if not 1 <= limit <= most:
        raise UsageError(f"must be 1 to {most}, is {limit}", item="limit", remedy=remedy)
