"""What the end-to-end tests share; the run of the demo itself is in ``tests/conftest.py``."""

from __future__ import annotations

import sys
from pathlib import Path

# The literal transcriptions of the rules lie beside the tests of their rooms.
sys.path += [str(Path(__file__).parents[1] / room) for room in ("sampling", "duplicates")]
