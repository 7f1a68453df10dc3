"""Stage: sample a new test set from the labelled, reviewed candidates and store it as a revision (method, section 7)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from retest.errors import SamplingError, UsageError
from retest.records import ClassReview, Split
from retest.sampling import (
    CandidateFacts,
    OriginalFacts,
    SampleResult,
    SamplingParameters,
    sample_above_threshold,
    sample_best,
    sample_val_annotated,
    sample_val_dummy,
    sample_wnid_histogram,
)
from retest.stages._common import Stamp
from retest.stages._duplicates import refresh_resolution
from retest.store import Tables
from retest.study import Study

STRATEGIES = ("threshold", "matched-frequency", "top-images", "original-annotated", "original")


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
    starting_from: str | None = None,
    allow_invalid: bool = False,
    store: bool = True,
) -> Sampled:
    """Sample by one of :data:`STRATEGIES` and store the revision with a fresh class-by-class review.

    An incomplete result is stored only with ``allow_invalid``; the caller shows its report.

    Raises:
        UsageError: unknown strategy.
        SamplingError: the previous revision does not fit, or original images are too few.
        ConflictError: another revision has this name.
    """
    if strategy not in STRATEGIES:
        raise UsageError("unknown strategy", item=strategy, remedy=f"Use one of: {', '.join(STRATEGIES)}")
    with study.database.write() as tables:
        refresh_resolution(study, tables)
        result = _run(study, tables, strategy, parameters, starting_from)
        keep = store and (result.is_valid or allow_invalid)
        if keep and not result.images:
            raise SamplingError("the test set would be empty", item=name, remedy="Label candidates first; see the report of --dry-run")
        stored = keep and tables.revisions.add(result.to_revision(name, user=stamp.user, time=stamp.time))
        if stored:
            wnids = sorted({wnid for _, wnid in result.images})
            tables.revisions.put_reviews(ClassReview(name, wnid, reviewed=False, problematic=False) for wnid in wnids)
    return Sampled(name, result, stored)


def _run(study: Study, tables: Tables, strategy: str, parameters: SamplingParameters, starting_from: str | None) -> SampleResult:
    wnids = [info.wnid for info in tables.classes.all()]
    previous = None if starting_from is None else tables.revisions.get(starting_from)
    if strategy == "threshold":
        return sample_above_threshold(_candidates(tables), wnids, parameters=parameters, starting_from=previous)
    if strategy == "matched-frequency":
        return sample_wnid_histogram(_candidates(tables), _originals(tables), wnids, parameters=parameters, starting_from=previous)
    if strategy == "top-images":
        return sample_best(_candidates(tables), wnids, parameters=parameters, starting_from=previous)
    if previous is not None:
        raise UsageError("samples of original images start from nothing", item="--starting-from", remedy="Leave it out")
    original = sample_val_annotated if strategy == "original-annotated" else sample_val_dummy
    return original(_originals(tables), wnids, parameters=parameters)


def _candidates(tables: Tables) -> Iterator[CandidateFacts]:
    frequencies = _frequencies(tables)
    excluded = set(tables.exclusions.all())
    near = {image for image, resolution in tables.pairs.resolutions().items() if resolution.near_duplicate}
    thresholds = tables.reviews.thresholds()
    none: dict[str, float] = {}
    for image, wnid, _, _, _ in tables.candidates.identities():
        value, number = frequencies.get((image, wnid), (0.0, 0))
        yield CandidateFacts(image, wnid, value, number, image in excluded, image in near, thresholds.get(image, none))


def _originals(tables: Tables) -> Iterator[OriginalFacts]:
    frequencies = _frequencies(tables)
    for image in tables.originals.all(split=Split.VAL):
        if image.wnid is not None:
            value, number = frequencies.get((image.id, image.wnid), (0.0, 0))
            yield OriginalFacts(image.id, image.wnid, value, number)


def _frequencies(tables: Tables) -> dict[tuple[str, str], tuple[float, int]]:
    return {(f.image_id, f.wnid): (f.value, f.num_assignments) for f in tables.frequencies.all()}
