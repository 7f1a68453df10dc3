from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retest.report.wording import clean, clean_line, count, decimal, interval, listed, number, p_value, percent, plural, signed


@pytest.mark.parametrize(("value", "text"), [(0.97794, "97.8"), (1.0, "100.0"), (0.0, "0.0"), (-0.0001, "0.0"), (-0.012, "-1.2")])
def test_percent(value, text):
    assert percent(value) == text


def test_interval():
    assert interval(0.9612, 1.0) == "[96.1, 100.0]"


@pytest.mark.parametrize(("value", "text"), [(3.14, "+3.1"), (-3.14, "−3.1"), (0.04, "0.0"), (-0.04, "0.0")])
def test_signed(value, text):
    assert signed(value) == text
    assert signed(value, minus="-") == text.replace("−", "-")


@pytest.mark.parametrize(("value", "digits", "text"), [(-20.263, 2, "−20.26"), (1.1098, 2, "1.11"), (-0.001, 2, "0.00")])
def test_decimal(value, digits, text):
    assert decimal(value, digits) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (12040, "12,040"),
        (12040.4, "12,040"),
        (0.22051, "0.2205"),
        (1.18e8, "1.18e+08"),
        (9120.5, "9,120"),
        (float("nan"), "nan"),
        (-3.0, "−3"),
        (-12040.4, "−12,040"),
        (-2e-5, "−2e-05"),
    ],
)
def test_number(value, text):
    assert number(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.0, "< 0.001"), (0.00099, "< 0.001"), (0.001, "0.001"), (0.0316, "0.032"), (1.0, "1.000")])
def test_p_value(value, text):
    assert p_value(value) == text


def test_counts_and_plurals():
    assert count(1234567) == "1,234,567"
    assert (plural(1, "model"), plural(2, "model"), plural(0, "class", "classes")) == ("1 model", "2 models", "0 classes")
    assert [listed(["a", "b", "c"][:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]


@settings(deadline=None)
@given(st.text())
def test_clean_text_has_no_controls_and_keeps_the_rest(text):
    found = clean(text)
    assert len(found) == len(text)
    for before, after in zip(text, found, strict=True):
        if after != before:
            assert after == "\ufffd"
            assert unicodedata.category(before) in ("Cc", "Cf", "Cs", "Cn")
    found.encode("utf-8")
    assert clean(found) == found
    assert not set(clean_line(text)) & {"\n", "\t", "\r", "\x1b"}


def test_ordinary_texts_are_kept():
    for text in ("Zoë's café, 数字, नमस्ते, 👩‍🔬 a\u00adb", "a\nb\tc"):
        assert clean(text) == text
