"""Parts of the published layout that the study has no table for: kept as they are, so that an export loses nothing."""

from __future__ import annotations

from typing import Any

from retest.store import Tables

_PREFIX = "imagenetv2/"

HIT_CANDIDATES = "hit_candidates"
"""file -> candidate ids, in file order."""
ADDITIONAL_IMAGES = "additional_images"
"""[wnid, positive controls, candidates, negative controls] of every hand-made HIT plan."""
NEGATIVE_CLASSES = "negative_classes"
CLASS_THRESHOLDS = "class_thresholds"
REVIEW_THRESHOLDS = "review_thresholds"
"""[candidate, metric, threshold] of the reviews that state one."""
EMPTY_REVIEWS = "empty_reviews"
"""[candidate, metric, reviewer, time] of the reviews that list no reference."""
UNKNOWN_HIT_EXCLUSIONS = "unknown_hit_exclusions"
"""HIT uuid -> reason of the excluded HITs that no file describes."""


def get_document(tables: Tables, name: str) -> Any:
    """The content of a document, None when there is none."""
    return tables.settings.get(_PREFIX + name)


def put_document(tables: Tables, name: str, content: Any) -> bool:
    """Keep a document; False when it is empty, or there already with the same content."""
    if not content or get_document(tables, name) == content:
        return False
    tables.settings.put(_PREFIX + name, content)
    return True
