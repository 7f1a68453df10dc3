"""Where the published data lie, when they are here."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared"


@pytest.fixture(scope="session")
def published() -> Path:
    """The part of the public repository that is kept beside the checkout."""
    folder = SHARED / "imagenetv2"
    if not (folder / "data").is_dir():
        pytest.skip("the published data are not beside the repository (../shared/imagenetv2)")
    return folder
