"""Checks of settings: what passes, what is refused, and in which words."""

import math

import numpy as np
import pytest

from retest.errors import ConfigError
from retest.settings import check_choice, check_count, check_flag, check_number


@pytest.mark.parametrize(
    ("value", "bounds", "message"),
    [
        (0, {}, None),
        (7, {"low": 7, "high": 7}, None),
        (-1, {}, "x: must be a whole number of at least 0, not -1. Correct the setting"),
        (8, {"low": 1, "high": 7}, "x: must be a whole number from 1 to 7, not 8. Correct the setting"),
        (2.0, {}, "x: must be a whole number of at least 0, not 2.0. Correct the setting"),
        (True, {}, "x: must be a whole number of at least 0, not True. Correct the setting"),
        ("3", {"remedy": "Give 3."}, "x: must be a whole number of at least 0, not '3'. Give 3."),
        (None, {}, "x: must be a whole number of at least 0, not None. Correct the setting"),
        (np.int64(3), {}, "x: must be a whole number of at least 0, not np.int64(3). Give int(...) of it"),
        (np.float64(3), {}, "x: must be a whole number of at least 0, not np.float64(3.0). Correct the setting"),
    ],
)
def test_counts(value, bounds, message):
    _same(lambda: check_count("x", value, **bounds), message)


@pytest.mark.parametrize(
    ("value", "bounds", "message"),
    [
        (0, {}, None),
        (1.0, {"high": 1.0}, None),
        (1e-300, {"ends": False}, None),
        (1.5, {"high": 1.0}, "x: the value must be a number from 0 to 1, not 1.5. Correct the setting"),
        (-0.1, {}, "x: the value must be a number of at least 0, not -0.1. Correct the setting"),
        (0, {"ends": False}, "x: the value must be a number above 0, not 0. Correct the setting"),
        (math.inf, {"ends": False}, "x: the value must be a finite number above 0, not inf. Correct the setting"),
        (1, {"high": 1.0, "ends": False}, "x: the value must be a number between 0 and 1, ends excluded, not 1. Correct the setting"),
        (math.nan, {"what": "the edge"}, "x: the edge must be a number of at least 0, not nan. Correct the setting"),
        (False, {}, "x: the value must be a number of at least 0, not False. Correct the setting"),
        (np.float64(1), {}, None),
        (np.float32(1), {}, "x: the value must be a number of at least 0, not np.float32(1.0). Give float(...) of it"),
        ("1", {}, "x: the value must be a number of at least 0, not '1'. Correct the setting"),
    ],
)
def test_numbers(value, bounds, message):
    _same(lambda: check_number("x", value, **bounds), message)


def test_choices_and_flags():
    _same(lambda: check_choice("x", "a", ("a", "b")), None)
    _same(lambda: check_choice("x", "c", ("a", "b")), "x: must be one of a, b, not 'c'. Correct the setting")
    _same(lambda: check_choice("x", ["a"], {"a": 1}), "x: must be one of a, not ['a']. Correct the setting")
    _same(lambda: check_flag("x", False), None)
    for other in (0, 1, "no", None):
        _same(lambda value=other: check_flag("x", value), f"x: must be true or false, not {other!r}. Correct the setting")


def _same(check, message):
    if message is None:
        assert check() is None
        return
    with pytest.raises(ConfigError) as caught:
        check()
    assert str(caught.value) == message
