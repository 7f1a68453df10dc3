"""The pages on which reviewers judge: near-duplicate pairs, revisions, predictions, HITs."""

from __future__ import annotations

from types import ModuleType

from retest.web.review import pages_annotators, pages_components, pages_hits, pages_pairs, pages_predictions, pages_revisions

__all__ = ["JUDGING"]

JUDGING: tuple[ModuleType, ...] = (
    pages_pairs,
    pages_components,
    pages_revisions,
    pages_predictions,
    pages_hits,
    pages_annotators,
)
