"""Stage: counts of everything in a study, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from retest.images import variant_names
from retest.stages._common import display_variant
from retest.stages._keys import current_key_version
from retest.store import Tables
from retest.study import Study


@dataclass(frozen=True, slots=True)
class Status:
    """Counts by name (stable keys) and the next command."""

    name: str
    counts: Mapping[str, Any]
    next_step: str


def study_status(study: Study) -> Status:
    """Count what the study holds."""
    with study.database.read() as tables:
        counts = _counts(study, tables)
    return Status(study.config.study.name, counts, _next_step(counts))


def _counts(study: Study, tables: Tables) -> dict[str, Any]:
    originals = tables.originals.counts()
    hits = tables.hits.totals()
    referenced = tables.candidates.count(source="reference")
    exclusions = tables.exclusions.counts()
    names = variant_names(study.config.images)
    return {
        "classes": tables.classes.count(),
        "originals_train": originals.get("train", 0),
        "originals_val": originals.get("val", 0),
        "originals_test": originals.get("test", 0),
        "candidates": tables.candidates.count() - referenced,
        "candidates_by_reference": referenced,
        "duplicate_occurrences": tables.candidates.occurrences(),
        "excluded": sum(exclusions.values()),
        "excluded_by_reason": exclusions,
        "images_stored": tables.variants.count_complete(names),
        "images_waiting": tables.bulk.waiting_images(names),
        "image_problems": tables.bulk.problems(),
        "opaque_names": tables.opaque_names.count(),
        "opaque_names_missing": max(
            0,
            tables.variants.counts().get(display_variant(study.config.images), 0) - tables.bulk.opaque_names(current_key_version(tables)),
        ),
        "hits": hits.hits,
        "hits_submitted": hits.submitted,
        "hits_excluded": hits.excluded,
        "images_to_label": hits.images_to_label,
        "positive_controls": hits.positive_controls,
        "negative_controls": hits.negative_controls,
        "assignments": tables.assignments.count(),
        "selection_frequencies": tables.frequencies.count(),
        "neighbor_lists": tables.neighbors.counts(),
        "reviewed_neighbors": tables.reviews.count(),
        "near_duplicate_pairs": tables.pairs.count(),
        "near_duplicates": tables.bulk.near_duplicates(),
        "revisions": len(tables.revisions.names()),
        "predictions": tables.predictions.count(),
        "decisions": tables.decisions.count(),
        "warnings": sum(tables.warnings.counts().values()),
    }


def _next_step(counts: Mapping[str, Any]) -> str:
    steps = (
        (not counts["classes"], "retest benchmark: register the classes and original images"),
        (
            counts["predictions"] and not counts["candidates"] + counts["originals_val"],
            "retest accuracy: compare the models of these predictions",
        ),
        (not counts["candidates"], "retest search: find candidates"),
        (counts["images_waiting"], "retest download: fetch images and store their variants"),
        (counts["opaque_names_missing"], "retest publish: give images their opaque names"),
        (not counts["hits"], "retest label plan: plan HITs"),
        (counts["hits"] - counts["hits_excluded"] > counts["hits_submitted"], "retest label submit: publish the HITs"),
        (not counts["assignments"], "retest label collect: fetch the answers"),
        (not counts["neighbor_lists"], "retest neighbors: find nearest neighbours"),
        (not counts["reviewed_neighbors"], "retest duplicates queue: review near-duplicates"),
        (not counts["revisions"], "retest sample: sample a test set"),
        (not counts["predictions"], "retest evaluate: run classifiers on the test sets"),
    )
    return next((step for due, step in steps if due), "retest report: write the report")
