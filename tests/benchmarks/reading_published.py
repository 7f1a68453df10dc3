"""What the tests of reading the published layout share."""

from __future__ import annotations

from layout_tree import write_tree

from retest.benchmarks.imagenetv2 import PublishedData

SECTIONS = (
    "candidates",
    "exclusions",
    "hit_candidates",
    "hits",
    "hit_exclusions",
    "additional_images",
    "neighbors",
    "neighbor_reviews",
    "near_duplicates",
    "resolution_overrides",
    "revisions",
    "class_reviews",
    "predictions",
    "referenced_candidates",
    "original_images",
)


def warned(data, kind):
    return [warning for warning in data.warnings if warning.kind == kind]


def read_with(tmp_path, **changed):
    """A tree with changed documents, named by path with / for __."""
    return PublishedData(write_tree(tmp_path, changed={path.replace("__", "/") + ".json": value for path, value in changed.items()}))


def everything(data):
    """All records of all sections, in a form that can be compared."""
    result = {name: list(getattr(data, name)()) for name in SECTIONS if name != "predictions"}
    result["predictions"] = [(p.dataset, p.model, p.notes, p.top.tolist()) for p in data.predictions()]
    result["assignments"] = list(data.assignments(hash_worker=str.lower))
    result["classes"] = data.classes()
    result["negative"] = data.negative_classes()
    result["thresholds"] = data.class_thresholds()
    return result
