"""Optional libraries of the extra ``models``: imported where they are used; their versions, and their errors in one line."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from retest.errors import MissingExtraError


def require(module: str) -> Any:
    """Import an optional library of the extra ``models``.

    Raises:
        MissingExtraError: it is not installed.
    """
    package = module.partition(".")[0]
    if find_spec(package) is None:
        raise MissingExtraError(package, "models")
    return importlib.import_module(module)


@contextmanager
def needs_extra(extra: str = "models") -> Iterator[None]:
    """Turn a missing optional package into an error that names the extra; around ``import`` statements.

    Raises:
        MissingExtraError: a package that is imported in the block is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("retest"):
            raise
        raise MissingExtraError(error.name or "torch", extra) from error


def installed_version(package: str) -> str:
    """Version of a package; empty where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def installed_versions(*packages: str) -> dict[str, str]:
    """Versions of those packages that are installed."""
    return {package: found for package in packages if (found := installed_version(package))}


def first_line(error: BaseException, *, most: int = 200) -> str:
    """The first line of an error's text, at most so many characters of it; the kind of the error where it has no text."""
    lines = str(error).strip().splitlines()
    return lines[0][:most] if lines else type(error).__name__


def kind_and_line(error: BaseException, *, most: int = 200) -> str:
    """``Kind: first line`` of an error, for libraries whose texts say little by themselves."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:most]}"
