"""Folders that cannot be listed, for whoever runs the tests: permissions do not stop root."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest


def make_unreadable(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """From now on folders of this name cannot be listed."""
    real = os.scandir

    def scandir(path):
        if Path(path).name == name:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
