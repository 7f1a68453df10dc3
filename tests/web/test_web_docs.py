"""docs/labelling.md names every operation of the requester protocol. (tests/docs runs the page.)"""

from __future__ import annotations

import re
from pathlib import Path

from retest.crowd.taskserver import OPERATIONS

TEXT = (Path(__file__).parents[2] / "docs" / "labelling.md").read_text(encoding="utf-8")


def test_every_operation_is_named():
    listed = re.search(r"is there: ([^.]+)\.", TEXT.replace("\n", " "))[1]
    assert {name.strip() for name in listed.split(",")} == set(OPERATIONS)
