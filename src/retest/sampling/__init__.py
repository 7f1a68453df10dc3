"""Sampling of test sets: one rule of eligibility, the published strategies, stratified matching, revisions (method, 7 and 8)."""

from retest.sampling.apportion import largest_remainder
from retest.sampling.checks import Check, RevisionWarning, check_revision
from retest.sampling.facts import ByClass, CandidateFacts, OriginalFacts, Reason, ineligibility
from retest.sampling.originals import sample_val_annotated, sample_val_dummy
from retest.sampling.parameters import CIFAR101_V4, CIFAR101_V6, PUBLISHED_REVIEW_TARGETS, SamplingParameters, StratifiedParameters
from retest.sampling.published import (
    reviews_from_published,
    reviews_to_published,
    revision_from_published,
    revision_text,
    revision_to_published,
)
from retest.sampling.result import ClassReport, DroppedImage, SampleResult, StratumReport
from retest.sampling.revisions import (
    ClassDiff,
    RevisionDiff,
    RevisionName,
    carry_over_reviews,
    diff_revisions,
    next_revision_name,
    parse_revision_name,
)
from retest.sampling.strategies import sample_above_threshold, sample_best, sample_wnid_histogram
from retest.sampling.stratified import reference_distribution, sample_stratified, stratum_targets

__all__ = [
    "CIFAR101_V4",
    "CIFAR101_V6",
    "PUBLISHED_REVIEW_TARGETS",
    "ByClass",
    "CandidateFacts",
    "Check",
    "ClassDiff",
    "ClassReport",
    "DroppedImage",
    "OriginalFacts",
    "Reason",
    "RevisionDiff",
    "RevisionName",
    "RevisionWarning",
    "SampleResult",
    "SamplingParameters",
    "StratifiedParameters",
    "StratumReport",
    "carry_over_reviews",
    "check_revision",
    "diff_revisions",
    "ineligibility",
    "largest_remainder",
    "next_revision_name",
    "parse_revision_name",
    "reference_distribution",
    "reviews_from_published",
    "reviews_to_published",
    "revision_from_published",
    "revision_text",
    "revision_to_published",
    "sample_above_threshold",
    "sample_best",
    "sample_stratified",
    "sample_val_annotated",
    "sample_val_dummy",
    "sample_wnid_histogram",
    "stratum_targets",
]
