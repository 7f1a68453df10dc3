"""The published data of ImageNetV2: reading the public repository's layout, and writing a study back in it.

Everything here yields plain records and writes plain files; a stage moves them to and from a study's database.
"""

from __future__ import annotations

from retest.benchmarks.imagenetv2.export import LayoutContent, export_layout
from retest.benchmarks.imagenetv2.layout import FAMILIES, Family, Inventory
from retest.benchmarks.imagenetv2.mturk import IGNORED_HIT_FILES, submitter_of
from retest.benchmarks.imagenetv2.records import (
    REFERENCE_SOURCE,
    AdditionalImages,
    HitCandidates,
    HitExclusion,
    Neighbors,
    Occurrence,
    PublishedReview,
    RawPredictions,
    ReadWarning,
    ReferencedCandidate,
    is_candidate_id,
    original_of,
)
from retest.benchmarks.imagenetv2.repository import PublishedData

__all__ = [
    "FAMILIES",
    "IGNORED_HIT_FILES",
    "REFERENCE_SOURCE",
    "AdditionalImages",
    "Family",
    "HitCandidates",
    "HitExclusion",
    "Inventory",
    "LayoutContent",
    "Neighbors",
    "Occurrence",
    "PublishedData",
    "PublishedReview",
    "RawPredictions",
    "ReadWarning",
    "ReferencedCandidate",
    "export_layout",
    "is_candidate_id",
    "original_of",
    "submitter_of",
]
