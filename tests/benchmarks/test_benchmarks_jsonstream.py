"""The streaming decoder equals the standard library's on every document, whatever the size of the pieces."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retest.benchmarks.imagenetv2 import jsonstream
from retest.benchmarks.imagenetv2.jsonstream import JsonStream

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4), max_leaves=12
)
LAYOUTS = st.sampled_from([{}, {"indent": 2}, {"separators": (",", ":")}, {"ensure_ascii": False}])


class Dribble(io.StringIO):
    """Gives at most ``size`` characters at a time, as a slow stream may."""

    def __init__(self, text: str, size: int) -> None:
        super().__init__(text)
        self._size = size

    def read(self, size: int | None = -1) -> str:
        return super().read(self._size)


@given(st.lists(VALUES, max_size=8), LAYOUTS, st.integers(1, 9))
def test_elements_equal_json_loads(value, layout, size):
    text = json.dumps(value, **layout)
    assert list(JsonStream(Dribble(text, size)).elements()) == value


@given(st.dictionaries(st.text(max_size=6), VALUES, max_size=8), LAYOUTS, st.integers(1, 9))
def test_items_equal_json_loads(value, layout, size):
    text = json.dumps(value, **layout)
    assert [(keys[0], entry) for keys, entry in JsonStream(Dribble(text, size)).items()] == list(value.items())


@given(st.dictionaries(st.text(max_size=4), st.dictionaries(st.text(max_size=4), VALUES, max_size=4), max_size=4), st.integers(1, 9))
def test_descending_gives_the_inner_items(value, size):
    stream = JsonStream(Dribble(json.dumps(value), size))
    expected = [((outer, inner), entry) for outer, items in value.items() for inner, entry in items.items()]
    assert list(stream.items(descend=set(value))) == expected


@given(st.lists(VALUES, min_size=1, max_size=5), st.data(), st.integers(1, 9))
def test_a_cut_document_gives_a_prefix_and_then_an_error(value, data, size):
    text = json.dumps(value)
    cut = data.draw(st.integers(0, len(text) - 1))
    seen = []
    with pytest.raises(ValueError, match=r"expected|expecting|unterminated|invalid|escape|delimiter|extra"):
        seen.extend(JsonStream(Dribble(text[:cut], size)).elements())
    assert len(seen) <= len(value)
    # The last one may be a number that was cut short; all before it are whole.
    assert seen[:-1] == value[: max(len(seen) - 1, 0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected '\\['"),
        ("{}", "expected '\\['"),
        ("[1 2]", "expected ','"),
        ("[1,]", "expecting value"),
        ("[1] x", "after the end"),
        ('["abc', "unterminated string"),
        ("[nul]", "expecting value"),
    ],
)
def test_malformed_lists_say_what_is_wrong(text, message):
    with pytest.raises(ValueError, match=message):
        list(JsonStream(io.StringIO(text)).elements())


@pytest.mark.parametrize(("text", "message"), [('{"a" 1}', "expected ':'"), ("{1: 2}", "property name"), ('{"a": 1,}', "property name")])
def test_malformed_objects_say_what_is_wrong(text, message):
    with pytest.raises(ValueError, match=message):
        list(JsonStream(io.StringIO(text)).items())


def test_a_value_that_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr(jsonstream, "_MAX_VALUE", 1000)
    monkeypatch.setattr(jsonstream, "_CHUNK", 64)
    text = '[1, "' + "x" * 1_000_000
    stream = Dribble(text, 64)
    with pytest.raises(ValueError, match="never ends"):
        list(JsonStream(stream).elements())
    assert stream.tell() < 5000


def test_long_values_are_not_decoded_over_and_over(monkeypatch):
    """Pieces grow while a value does not fit, so the work is linear: at most log2 attempts."""
    monkeypatch.setattr(jsonstream, "_CHUNK", 16)
    attempts = 0
    decode = json.JSONDecoder.raw_decode

    def counted(self, text, at=0):
        nonlocal attempts
        attempts += 1
        return decode(self, text, at)

    monkeypatch.setattr(json.JSONDecoder, "raw_decode", counted)
    value = ["x" * 100_000]
    assert list(JsonStream(io.StringIO(json.dumps(value))).elements()) == value
    assert attempts < 20


def test_items_are_given_before_the_rest_is_read():
    """The memory is that of the largest element: a key does not make it read on."""
    text = json.dumps({f"key {number}": list(range(20)) for number in range(2000)})
    stream = Dribble(text, 64)
    for number, (keys, value) in enumerate(JsonStream(stream).items()):
        assert (keys, value) == ((f"key {number}",), list(range(20)))
        assert stream.tell() <= (number + 1) * len(text) // 2000 + 300
    nested = Dribble(json.dumps({"outer": json.loads(text)}), 64)
    next(JsonStream(nested).items(descend=("outer",)))
    assert nested.tell() < 500
