"""What all stages share: who acts and when, progress, bounded parallel work, and completion keys."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

from retest.images import ImageParameters, variant_names

# File systems allow 255 bytes, and quoting triples each byte of a name that is not plain ASCII.
_LONGEST_NAME = 160

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Stamp:
    """Who acts, and when (ISO-8601): given to stages from outside, since results hold no clock of their own."""

    user: str
    time: str


class Progress(Protocol):
    """How long work shows itself: ``with progress("Download", total=n) as advance: ... advance(1)``."""

    def __call__(self, label: str, *, total: int | None) -> AbstractContextManager[Callable[[int], None]]:
        """Begin a piece of work of ``total`` items (None: unknown)."""


@contextmanager
def silent(label: str, *, total: int | None) -> Iterator[Callable[[int], None]]:
    """Progress that shows nothing."""
    yield lambda _count: None


def completion_key(*parts: Any) -> str:
    """Hash of everything a result depends on: parameters, inputs, version of the rule. 32 hexadecimal digits."""
    text = json.dumps(parts, sort_keys=True, default=_jsonable, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _jsonable(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"": type(value).__name__, **{f.name: getattr(value, f.name) for f in dataclasses.fields(value)}}
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (Enum, PurePath)):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be part of a completion key")


def in_order(executor: Executor, work: Callable[[T], R], items: Iterable[T], *, window: int) -> Iterator[R]:
    """Results of ``work`` in the order of ``items`` with at most ``window`` items under way: memory stays bounded."""
    pending: deque[Future[R]] = deque()
    try:
        for item in items:
            pending.append(executor.submit(work, item))
            if len(pending) >= window:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def image_blob_key(image_id: str, variant: str, parameters: ImageParameters) -> str:
    """Where a variant lies. The rule that made it is part of the key: other parameters never meet old bytes."""
    rule = completion_key("variants-1", parameters.display_side, parameters.compare_side, parameters.jpeg_quality)[:8]
    digest, name = hashlib.sha256(image_id.encode()).hexdigest(), quote(image_id, safe="")
    if len(name) > _LONGEST_NAME:
        name = f"{name[:_LONGEST_NAME]}-{digest[:32]}"
    return f"images/{rule}/{variant}/{digest[:2]}/{name}.jpg"


def public_blob_key(name: str) -> str:
    """Where the copy lies that is served under an opaque name."""
    return f"public/{name[:2]}/{name}.jpg"


def display_variant(parameters: ImageParameters) -> str:
    """Name of the variant that annotators and reviewers see."""
    return variant_names(parameters)[1]


def compare_variant(parameters: ImageParameters) -> str:
    """Name of the variant that near-duplicate search reads."""
    return variant_names(parameters)[2]
