"""What planning, publishing, showing and collecting HITs brought: the outcomes that :mod:`retest.stages.label` hands to its callers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from retest.crowd import HitTask
from retest.labeling import PlanEstimate
from retest.records import Hit

__all__ = ["Collection", "Plan", "Preview", "Submission"]


@dataclass(frozen=True, slots=True)
class Plan:
    """HITs that would be published, what they ask for, and the candidates left out with the reason code."""

    hits: tuple[Hit, ...]
    estimate: PlanEstimate
    skipped: Mapping[str, int]
    added: int = 0


@dataclass(frozen=True, slots=True)
class Submission:
    """What publishing did: HITs published now, failures by HIT, and the cost in cents of what was published now."""

    published: int
    cost_cents: int
    failures: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Preview:
    """A planned HIT's page: the task (its image URLs are relative) and the images by their relative URL (JPEG bytes)."""

    task: HitTask
    images: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Collection:
    """What collecting brought.

    Answers that are new, how many HITs have 0, 1, ... valid answers, answers nobody can read, and the HITs found to have ended
    with answers lacking.
    """

    new_answers: int
    histogram: Mapping[int, int]
    unreadable: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()
