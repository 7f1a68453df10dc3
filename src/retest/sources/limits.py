"""How fast to ask and when to ask again: token buckets, back-off, Retry-After. Pure: time and chance are handed in."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from retest.errors import ConfigError
from retest.settings import check_count, check_number, plain_numbers

__all__ = ["TEMPORARY_STATUS", "RetryParameters", "TokenBucket", "retry_after_s"]


TEMPORARY_STATUS: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
"""HTTP statuses of a server that may answer better a while later (those from 520 on are Cloudflare's)."""


class TokenBucket:
    """At most ``burst + rate_per_s * T`` grants in any T seconds (generic cell rate algorithm).

    Not thread-safe. Times are seconds of any clock that never runs backwards.
    """

    def __init__(self, *, rate_per_s: float, burst: int = 1) -> None:
        if not rate_per_s > 0 or burst < 1:
            raise ConfigError(
                f"rate {rate_per_s} per second with burst {burst} lets nothing through", remedy="Use a positive rate and burst."
            )
        self._interval_s = 1.0 / rate_per_s
        self._slack_s = (burst - 1) * self._interval_s
        self._next = float("-inf")
        self._not_before = float("-inf")

    def reserve(self, now: float) -> float:
        """Take one token; returns how many seconds from ``now`` the caller must wait before using it."""
        due = max(self._next, now)
        self._next = due + self._interval_s
        return max(due - self._slack_s, self._not_before, now) - now

    def pause_until(self, moment: float) -> None:
        """Grant nothing more before ``moment``: the service asked for patience."""
        self._not_before = max(self._not_before, moment)


@dataclass(frozen=True, slots=True, kw_only=True)
@plain_numbers
class RetryParameters:
    """When a question is asked again, and how patiently.

    Raises:
        ConfigError: a value is out of range.
    """

    attempts: int = field(default=6, metadata={"help": "how often to ask in all before giving up"})
    first_wait_s: float = field(default=1.0, metadata={"help": "longest wait before the second attempt; doubles each time"})
    longest_wait_s: float = field(default=60.0, metadata={"help": "longest wait between two attempts where the service names none"})
    longest_retry_after_s: float = field(
        default=900.0, metadata={"help": "stop, to be continued later, when the service asks to wait longer"}
    )

    def __post_init__(self) -> None:
        check_count("attempts", self.attempts, low=1)
        for name in ("first_wait_s", "longest_wait_s", "longest_retry_after_s"):
            check_number(name, getattr(self, name))

    def wait_s(self, attempt: int, rng: random.Random) -> float:
        """Seconds to wait after the ``attempt``-th failure (from 1): exponential back-off with jitter in its upper half."""
        longest = min(self.longest_wait_s, self.first_wait_s * 2.0 ** (attempt - 1))
        return longest * (0.5 + 0.5 * rng.random())


def retry_after_s(header: str | None, *, now: datetime) -> float | None:
    """Seconds that a ``Retry-After`` header asks for (RFC 9110, 10.2.3: a number, or a date); None if there is none.

    Args:
        header: its value, which comes from outside and may be anything.
        now: the present, with a time zone.
    """
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
