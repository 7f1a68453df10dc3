"""How decisions are written down that both commands and review pages make: kinds, items and states.

Whoever decides, the entry is the same, so that the history reads alike and the review pages can take back what a command decided.
"""

from __future__ import annotations

from collections.abc import Mapping

from retest.records import ClassReview

REVIEW, REOPENED, OVERRIDE = "near_duplicate_review", "near_duplicate_reopened", "near_duplicate_override"
CLASS_REVIEW = "class_review"
EXCLUDE_HIT = "exclude_hit"


def review_item(candidate_id: str, metric: str) -> str:
    """The item of a candidate's neighbours in a metric."""
    return f"{candidate_id}/{metric}"


def review_state(reviewed: Mapping[str, bool]) -> dict[str, list[str]] | None:
    """The state of a candidate's neighbours in a metric, from reference -> whether it is a near-duplicate; None: nothing was looked at."""
    if not reviewed:
        return None
    return {"references": sorted(reviewed), "near_duplicates": sorted(reference for reference, near in reviewed.items() if near)}


def class_item(revision: str, wnid: str) -> str:
    """The item of a class of a revision."""
    return f"{revision}/{wnid}"


def class_state(review: ClassReview | None) -> dict[str, bool]:
    """The state of a class of a revision; None: nobody has reviewed it."""
    return {"reviewed": bool(review and review.reviewed), "problematic": bool(review and review.problematic)}
