"""Near-duplicates: what reviewers see, the graph of their decisions, and which candidates stay (method, section 6)."""

from retest.duplicates.graph import Component, components
from retest.duplicates.parameters import PUBLISHED_TARGETS, ResolutionParameters, ReviewParameters
from retest.duplicates.resolution import DuplicateCandidate, DuplicateStats, duplicate_stats, find_components, resolve
from retest.duplicates.review import (
    ReviewItem,
    near_duplicate_pairs,
    neighbors_to_review,
    review_queue,
    review_threshold,
    review_thresholds,
    reviewed_references,
    sufficiently_reviewed,
)

__all__ = [
    "PUBLISHED_TARGETS",
    "Component",
    "DuplicateCandidate",
    "DuplicateStats",
    "ResolutionParameters",
    "ReviewItem",
    "ReviewParameters",
    "components",
    "duplicate_stats",
    "find_components",
    "near_duplicate_pairs",
    "neighbors_to_review",
    "resolve",
    "review_queue",
    "review_threshold",
    "review_thresholds",
    "reviewed_references",
    "sufficiently_reviewed",
]
