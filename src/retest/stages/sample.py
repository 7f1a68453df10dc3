"""Stage: sample a new test set from the labelled, reviewed candidates and store it as a revision (method, section 7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from retest.errors import SamplingError, UsageError
from retest.records import ClassReview, Revision, Split
from retest.sampling import (
    ByClass,
    SampleResult,
    SamplingParameters,
    StratifiedParameters,
    carry_over_reviews,
    sample_above_threshold,
    sample_best,
    sample_stratified,
    sample_val_annotated,
    sample_val_dummy,
    sample_wnid_histogram,
)
from retest.stages._common import Stamp
from retest.stages._facts import refresh
from retest.store import Tables
from retest.study import Study

STRATEGIES = ("threshold", "matched-frequency", "top-images", "stratified", "original-annotated", "original")


@dataclass(frozen=True, slots=True)
class Stratification:
    """What the strategy ``stratified`` matches.

    ``reference`` is wnid -> stratum -> number of reference images; ``strata`` is candidate id -> its stratum or strata, None for
    the search terms by which candidates were found.
    """

    reference: Mapping[str, Mapping[str, int]]
    strata: Mapping[str, str | tuple[str, ...]] | None = None
    parameters: StratifiedParameters = field(default_factory=StratifiedParameters)


@dataclass(frozen=True, slots=True)
class Sampled:
    """The result and whether it was stored; an equal revision that exists already is not stored again."""

    name: str
    result: SampleResult
    stored: bool


def sample(
    study: Study,
    strategy: str,
    *,
    name: str,
    parameters: SamplingParameters,
    stamp: Stamp,
    stratification: Stratification | None = None,
    starting_from: str | None = None,
    allow_invalid: bool = False,
    store: bool = True,
) -> Sampled:
    """Sample by one of :data:`STRATEGIES` and store the revision; its class-by-class review starts afresh, or carries on.

    With ``starting_from`` a class stays reviewed if its images did not change and it was not problematic. An incomplete result
    is stored only with ``allow_invalid``; the caller shows its report.

    Raises:
        UsageError: unknown strategy, or a stratification is missing or out of place.
        SamplingError: the previous revision does not fit, original images are too few, or there would be no image.
        ConflictError: another revision has this name.
    """
    _check(strategy, stratification, starting_from)
    with study.database.write() as tables:
        refresh(study, tables)
    with study.database.read() as tables:
        previous = None if starting_from is None else tables.revisions.get(starting_from)
        result = _run(tables, strategy, parameters, stratification, previous)
    if not store or not (result.is_valid or allow_invalid):
        return Sampled(name, result, stored=False)
    if not result.images:
        raise SamplingError("the test set would be empty", item=name, remedy="Label candidates first; see the report of --dry-run")
    with study.database.write() as tables:
        revision = result.to_revision(name, user=stamp.user, time=stamp.time)
        stored = tables.revisions.add(revision)
        if stored:
            tables.revisions.put_reviews(_reviews(tables, revision, previous))
    return Sampled(name, result, stored)


def _check(strategy: str, stratification: Stratification | None, starting_from: str | None) -> None:
    if strategy not in STRATEGIES:
        raise UsageError("unknown strategy", item=strategy, remedy=f"Use one of: {', '.join(STRATEGIES)}")
    if strategy == "stratified" and stratification is None:
        raise UsageError("stratified sampling needs a reference distribution", item="--reference", remedy="Give a file of counts")
    if strategy != "stratified" and stratification is not None:
        raise UsageError("only the strategy stratified matches strata", item=strategy, remedy="Leave --reference and --strata out")
    if strategy.startswith("original") and starting_from is not None:
        raise UsageError("samples of original images start from nothing", item="--starting-from", remedy="Leave it out")


def _run(
    tables: Tables, strategy: str, parameters: SamplingParameters, stratification: Stratification | None, previous: Revision | None
) -> SampleResult:
    wnids = [info.wnid for info in tables.classes.all()]
    originals = ByClass(lambda wnid: tables.facts.originals_of(wnid, Split.VAL))
    if strategy == "original-annotated":
        return sample_val_annotated(originals, wnids, parameters=parameters)
    if strategy == "original":
        return sample_val_dummy(originals, wnids, parameters=parameters)
    metrics = tuple(parameters.near_duplicate_review_targets)
    candidates = ByClass(lambda wnid: tables.facts.candidates_of(wnid, metrics))
    if stratification is not None:
        return sample_stratified(
            candidates,
            wnids,
            strata=(lambda wnid: dict(tables.facts.search_keys(wnid))) if stratification.strata is None else stratification.strata,
            reference=stratification.reference,
            parameters=parameters,
            stratification=stratification.parameters,
            starting_from=previous,
        )
    if strategy == "matched-frequency":
        return sample_wnid_histogram(candidates, originals, wnids, parameters=parameters, starting_from=previous)
    chosen = sample_above_threshold if strategy == "threshold" else sample_best
    return chosen(candidates, wnids, parameters=parameters, starting_from=previous)


def _reviews(tables: Tables, revision: Revision, previous: Revision | None) -> list[ClassReview]:
    if previous is None:
        return [ClassReview(revision.name, wnid, reviewed=False, problematic=False) for wnid in sorted({w for _, w in revision.images})]
    return carry_over_reviews(tables.revisions.reviews(previous.name).values(), previous, revision)
