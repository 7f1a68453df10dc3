"""Checks of settings: what passes, what is refused, and in which words."""

import dataclasses
import importlib
import json
import math
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import retest
from retest.errors import ConfigError
from retest.sampling import SamplingParameters
from retest.settings import check_choice, check_count, check_flag, check_number, plain_numbers


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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
@plain_numbers
class Setting:
    count: int = 1
    share: float | None = 0.5
    edges: tuple[float, ...] = ()
    targets: dict[str, float] = dataclasses.field(default_factory=dict)
    name: str = "x"
    yes: bool = False

    def __post_init__(self) -> None:
        check_count("count", self.count, low=1)
        check_number("share", self.share, high=1.0)
        check_flag("yes", self.yes)


INTEGERS = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64, np.array)
FLOATS = (np.float16, np.float32, np.float64, np.longdouble, Fraction)


@given(count=st.integers(1, 100), share=st.floats(0, 1), integer=st.sampled_from(INTEGERS), real=st.sampled_from(FLOATS))
def test_numbers_of_a_data_frame_are_held_as_plain_ones(count, share, integer, real):
    """Then JSON, hashes, equality and provenance are those of int and float."""
    given_share = real(share)
    made = Setting(count=integer(count), share=given_share, edges=(real(0.5), 1), targets=MappingProxyType({"l2": integer(count)}))
    plain = Setting(count=count, share=float(given_share), edges=(0.5, 1), targets={"l2": count})
    assert made == plain
    assert [type(made.count), type(made.share), type(made.edges[0]), type(made.targets["l2"])] == [int, float, float, int]
    assert json.dumps(dataclasses.asdict(made)) == json.dumps(dataclasses.asdict(plain))
    assert dataclasses.replace(made, count=np.uint8(7)).count == 7
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.count = 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": np.bool_(True)},
        {"count": np.float64(2)},
        {"count": np.array([2])},
        {"count": "2"},
        {"count": np.int64(0)},
        {"share": np.float32(1.5)},
        {"share": np.nan},
        {"yes": np.int64(1)},
    ],
)
def test_what_is_no_number_of_the_kind_is_refused_as_ever(wrong):
    with pytest.raises(ConfigError, match=f"^{next(iter(wrong))}: "):
        Setting(**wrong)


@pytest.mark.parametrize("value", [np.timedelta64(3, "s"), Fraction(10**400, 3), 1j, np.array([1, 2])])
def test_what_is_no_plain_number_is_left_to_the_check(value):
    assert Setting(targets=value).targets is value
    with pytest.raises(ConfigError, match="must be a whole number"):
        SamplingParameters(per_class=value)


def test_the_same_object_stays_where_nothing_was_to_do():
    targets = {"l2": 1.0}
    assert Setting(targets=targets).targets is targets
    assert SamplingParameters(per_class=np.int64(5)) == SamplingParameters(per_class=5)
    with pytest.raises(ConfigError, match=r"not 0\. Correct the setting$"):
        SamplingParameters(per_class=np.int64(0))


def _classes():
    """Every dataclass of the package that checks its fields and has defaults for all of them (but a key)."""
    root = Path(retest.__file__).parent
    for path in sorted(root.rglob("*.py")):
        if "def __post_init__" not in path.read_text():
            continue
        loaded = importlib.import_module(".".join(path.relative_to(root.parent).with_suffix("").parts).removesuffix(".__init__"))
        for kind in vars(loaded).values():
            if isinstance(kind, type) and kind.__module__ == loaded.__name__ and "__post_init__" in vars(kind):
                with suppress(TypeError):  # something has no default
                    yield kind if kind.__name__ == "ReviewOptions" else type(kind())


def test_every_parameter_class_takes_them():
    checked = 0
    for kind in _classes():
        for field in dataclasses.fields(kind):
            if field.init and type(field.default) in (int, float):
                others = {"key": b"k" * 32} if kind.__name__ == "ReviewOptions" else {}
                made = kind(**others, **{field.name: np.asarray(field.default)[()]})
                assert type(getattr(made, field.name)) in (int, float), f"{kind.__name__}.{field.name}"
                checked += 1
    assert checked > 100
