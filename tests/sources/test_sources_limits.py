"""Token bucket, back-off and Retry-After."""

from __future__ import annotations

import datetime
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retest.errors import ConfigError
from retest.sources.api import system_proxy
from retest.sources.licenses import accepts, creative_commons
from retest.sources.limits import RetryParameters, TokenBucket, retry_after_s

NOW = datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC)


@given(st.lists(st.floats(0, 3), min_size=1, max_size=40), st.floats(0.1, 20), st.integers(1, 6))
def test_no_interval_has_more_grants_than_allowed(gaps: list[float], rate: float, burst: int) -> None:
    bucket, now, grants = TokenBucket(rate_per_s=rate, burst=burst), 0.0, []
    for gap in gaps:
        now += gap
        grants.append(now + bucket.reserve(now))
    for first in range(len(grants)):
        for last in range(first, len(grants)):
            assert last - first + 1 <= burst + rate * (grants[last] - grants[first]) + 1e-6


def test_a_bucket_that_rested_grants_its_burst_at_once_and_no_more() -> None:
    bucket = TokenBucket(rate_per_s=2.0, burst=3)
    assert [bucket.reserve(100.0) for _ in range(5)] == pytest.approx([0, 0, 0, 0.5, 1.0])
    assert [bucket.reserve(200.0) for _ in range(4)] == pytest.approx([0, 0, 0, 0.5])


def test_a_pause_holds_everything_back() -> None:
    bucket = TokenBucket(rate_per_s=10.0)
    bucket.pause_until(5.0)
    assert bucket.reserve(1.0) == 4.0
    assert bucket.reserve(6.0) == 0.0


@pytest.mark.parametrize(("rate", "burst"), [(0.0, 1), (-1.0, 1), (1.0, 0), (float("nan"), 1)])
def test_a_bucket_that_lets_nothing_through_is_refused(rate: float, burst: int) -> None:
    with pytest.raises(ConfigError):
        TokenBucket(rate_per_s=rate, burst=burst)


@given(st.integers(1, 60), st.integers(0, 2**32))
def test_back_off_grows_and_is_bounded(attempt: int, seed: int) -> None:
    wait = RetryParameters(first_wait_s=1.0, longest_wait_s=60.0).wait_s(attempt, random.Random(seed))
    assert min(60.0, 2.0 ** (attempt - 1)) / 2 <= wait <= min(60.0, 2.0 ** (attempt - 1))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Sat, 31 Jan 2026 12:00:30 GMT", 30.0),
        ("Sat, 31 Jan 2026 11:00:00 GMT", 0.0),
        ("Saturday, 31-Jan-26 12:01:00 GMT", 60.0),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("", None),
        ("²", None),
        ("9" * 400, 999_999_999.0),
        ("Wed, 21 Oct 2015 07:28:00 +9999999999999", None),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, now=NOW) == seconds


@given(st.text(max_size=40))
def test_any_header_can_be_read(header: str) -> None:
    seconds = retry_after_s(header, now=NOW)
    assert seconds is None or seconds >= 0


def test_retry_parameters_are_checked() -> None:
    for name in ("attempts", "first_wait_s", "longest_wait_s", "longest_retry_after_s"):
        with pytest.raises(ConfigError, match=f"^{name}: "):
            RetryParameters(**{name: -1})
    with pytest.raises(ConfigError, match=r"^attempts: must be a whole number of at least 1, not 0"):
        RetryParameters(attempts=0)
    with pytest.raises(ConfigError, match=r"^attempts: "):
        RetryParameters(attempts=1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "https://api.flickr.com/x", None),
        ({"https_proxy": "http://proxy:3128"}, "https://api.flickr.com/x", "http://proxy:3128"),
        ({"https_proxy": "http://proxy:3128"}, "http://api.flickr.com/x", None),
        ({"all_proxy": "http://proxy:3128"}, "http://api.flickr.com/x", "http://proxy:3128"),
        ({"https_proxy": "http://proxy:3128", "no_proxy": "flickr.com"}, "https://api.flickr.com/x", None),
        ({"http_proxy": "http://proxy:3128"}, "http://127.0.0.1:8000/x", None),
    ],
)
def test_the_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch, environment: dict, url: str, proxy: str | None) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert system_proxy(url) == proxy


def test_a_licence_stands_for_its_versions_only() -> None:
    assert accepts((), None)
    assert accepts(("cc-by",), "cc-by-2.0")
    assert accepts(("cc-by",), "cc-by")
    assert not accepts(("cc-by",), "cc-by-sa-2.0")
    assert accepts(("pdm-1.0", "cc-by-sa-4.0"), "cc-by-sa-4.0")
    assert not accepts(("cc-by-4.0",), "cc-by-2.0")
    assert not accepts(("cc-by",), None)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("CC BY-SA 4.0", "cc-by-sa-4.0"),
        ("cc-by-sa-3.0-de", "cc-by-sa-3.0"),
        ("CC BY 2.5", "cc-by-2.5"),
        ("cc0", "cc0-1.0"),
        ("CC0 1.0", "cc0-1.0"),
        ("pd", "public-domain"),
        ("Public domain", "public-domain"),
        ("GFDL", "gfdl"),
        ("", "unknown"),
    ],
)
def test_licence_names_are_common(text: str, name: str) -> None:
    assert creative_commons(text) == name
