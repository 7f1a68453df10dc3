"""Changing a ``study.toml`` that people may have edited: only lines that still stand as they were written."""

from __future__ import annotations

from pathlib import Path

from retest.files import write_atomic
from retest.study.config import StudyConfig, format_config


def rewrite_settings(path: Path, old: StudyConfig, new: StudyConfig) -> bool:
    """Write the settings in which ``new`` differs from ``old`` into the file; everything else in it stays as it is.

    Returns:
        Whether it was done: not where a line is no longer the one that :func:`~retest.study.config.format_config` wrote.

    Raises:
        StoreError: the file cannot be written.
    """
    before, after = (format_config(config).splitlines() for config in (old, new))
    changes = {was: now for was, now in zip(before, after, strict=True) if was != now}
    lines = path.read_bytes().decode().splitlines(keepends=True)  # line ends stay as they are
    found = [line.rstrip() for line in lines]
    if any(found.count(was) != 1 for was in changes):
        return False
    text = "".join(line.replace(line.rstrip(), changes.get(line.rstrip(), line.rstrip())) for line in lines)
    write_atomic(path, text.encode())
    return True
