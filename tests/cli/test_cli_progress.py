"""Progress in a log file: few lines, and a remaining time that is the one at the mean speed so far."""

import pytest

from retest.cli._common import ProgressLines


def told(capsys) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_at_most_one_line_per_minute_with_the_time_left(capsys):
    now = 0.0
    lines = ProgressLines("Neighbours l2", 1000, clock=lambda: now)
    for second in range(1, 301):
        now = float(second)
        lines.advance(2)
    assert lines.done == 600
    assert told(capsys) == [
        "Neighbours l2: 120 of 1000, about 7 min left",
        "Neighbours l2: 240 of 1000, about 6 min left",
        "Neighbours l2: 360 of 1000, about 5 min left",
        "Neighbours l2: 480 of 1000, about 4 min left",
        "Neighbours l2: 600 of 1000, about 3 min left",
    ]


@pytest.mark.parametrize(("total", "line"), [(None, "x: 5"), (5000, "x: 5 of 5000, about 27.8 h left")])
def test_pieces_that_take_long(total, line, capsys):
    now = 0.0
    lines = ProgressLines("x", total, clock=lambda: now)
    lines.advance(0)
    now = 100.0
    lines.advance(0)
    assert told(capsys) == []
    lines.advance(5)
    assert told(capsys) == [line]
