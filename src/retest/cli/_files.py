"""Files that users hand to commands, read so that whatever is in them ends with a message."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retest.errors import InputError


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    Raises:
        InputError: it cannot be read, or is no such text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError("is not UTF-8 text", item=str(path), remedy="Save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", item=str(path), remedy="Check the path") from error


def read_lines(path: Path) -> list[str]:
    """The lines of a text without blanks around them; empty lines and lines that begin with ``#`` count for nothing."""
    lines = (line.strip() for line in read_text(path).splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def read_json(path: Path, *, remedy: str = "Mend the file") -> Any:
    """The value of a JSON file.

    Raises:
        InputError: it cannot be read, or is no JSON.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not JSON ({error})", item=str(path), remedy=remedy) from error


def read_csv(path: Path, columns: Sequence[str] = (), *, remedy: str = "") -> list[dict[str, str]]:
    """The rows of a CSV file by the names in its first line; of ``columns`` alone where some are named. An absent cell is empty.

    Raises:
        InputError: it cannot be read, is no CSV, or lacks a column.
    """
    remedy = remedy or f"The first line must name the columns {', '.join(columns) or 'of the table'}"
    try:
        reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
        names = list(reader.fieldnames or ())
        rows = [{name: row[name] or "" for name in columns or names} for row in reader]
    except (KeyError, csv.Error) as error:
        problem = f"has no column {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"cannot be read as CSV ({problem})", item=str(path), remedy=remedy) from error
    return rows
