"""Stratified matching: the target histogram is over a sub-category of the class (method, section 8; CIFAR-10.1)."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

from retest.errors import InputError
from retest.records import Revision
from retest.sampling.apportion import largest_remainder
from retest.sampling.driver import ClassChoice, ClassInput, sample_classes
from retest.sampling.facts import ByClass, CandidateFacts, sorted_classes
from retest.sampling.parameters import SamplingParameters, StratifiedParameters
from retest.sampling.result import SampleResult
from retest.sampling.strata import fill_strata, sort_into
from retest.sampling.strategies import choice_of

Reference = Mapping[str, Mapping[str, int]]
"""wnid -> stratum -> number of reference images."""

Strata = Mapping[str, str | Collection[str]]
"""image id -> its stratum, or its several strata."""


def reference_distribution(images: Iterable[tuple[str, str]], strata: Strata) -> dict[str, dict[str, int]]:
    """Count reference images by class and stratum; every image counts in exactly one stratum.

    An image with several strata (an ambiguous keyword) counts in the one that most images of its class have, counting each
    image under all of its strata; among equals the alphabetically last, as in CIFAR-10.1. Images without strata are skipped.

    Args:
        images: pairs (image id, wnid).
        strata: image id -> its stratum or strata.
    """
    listed = [(wnid, _strata_of(image, strata)) for image, wnid in images]
    votes: dict[str, Counter[str]] = {}
    for wnid, names in listed:
        votes.setdefault(wnid, Counter()).update(names)
    result: dict[str, Counter[str]] = {}
    for wnid, names in listed:
        if names:
            result.setdefault(wnid, Counter())[_one_stratum(names, votes[wnid])] += 1
    return {wnid: dict(sorted(counts.items())) for wnid, counts in sorted(result.items())}


def stratum_targets(
    reference: Reference, classes: Iterable[str], *, per_class: int, stratification: StratifiedParameters
) -> dict[str, dict[str, int]]:
    """Places per class and stratum, strata in their ascending order (see :class:`StratifiedParameters`).

    Args:
        reference: reference images per class and stratum, e.g. by :func:`reference_distribution`.
        classes: wnids; one without reference images gets no strata.
        per_class: images per class, for the rule ``largest_remainder``.
        stratification: rule, order and tie-break.

    Raises:
        InputError: a reference count is no number of at least 0.
    """
    wnids = sorted(set(classes))
    counted = _effective(reference, stratification)
    result = {}
    for wnid in wnids:
        counts = counted.get(wnid, {})
        _check_counts(wnid, counts)
        result[wnid] = _class_targets(counts, per_class, stratification)
    return result


def sample_stratified(
    candidates: Iterable[CandidateFacts] | ByClass[CandidateFacts],
    classes: Iterable[str],
    *,
    strata: Strata | Callable[[str], Strata],
    reference: Reference,
    parameters: SamplingParameters,
    stratification: StratifiedParameters | None = None,
    starting_from: Revision | None = None,
) -> SampleResult:
    """Sample a test set whose strata have the reference's proportions in every class (method, section 8).

    Places come from :func:`stratum_targets`; the strata are filled in ascending order exactly as the bins of
    :func:`sample_wnid_histogram`: carried (a random part where there are more than places), drawn, and with the policy
    ``upward`` taken from the nearest higher stratum. With ``redistribute`` the places that a stratum cannot fill go, before
    anything is drawn, to strata with usable images to spare, in proportion to their reference counts by largest remainder,
    again and again until all are placed or nothing is left.

    Args:
        candidates: the study's candidates, in any order, or class by class; those of other classes are ignored.
        classes: classes to sample.
        strata: candidate id -> its stratum or strata, or a function that gives those of a wnid's candidates. One with several counts
            in that with the most reference images in its class (the alphabetically last among equals); one without a stratum that has
            places is never taken.
        reference: reference images per class and stratum, e.g. by :func:`reference_distribution`.
        parameters: uses per_class (rule ``largest_remainder``), seed, min_num_annotations, near_duplicate_review_targets.
        stratification: rule, order, tie-break and shortfall policy.
        starting_from: previous revision.

    Returns:
        The images in their final, shuffled order; not valid when a class has fewer images than places or no reference.

    Raises:
        SamplingError: ``starting_from`` has an image twice in a class.
        InputError: a candidate is given twice or has an impossible frequency, a reference count is impossible, no classes.
    """
    settings = stratification or StratifiedParameters()
    wnids = sorted_classes(classes)
    places = stratum_targets(reference, wnids, per_class=parameters.per_class, stratification=settings)
    return sample_classes(
        "sample_stratified",
        _Chooser(strata, _effective(reference, settings), places, parameters.per_class, settings),
        candidates,
        wnids,
        parameters=parameters,
        published=_published(parameters, settings, places),
        starting_from=starting_from,
        threshold_of=lambda wnid: settings.threshold,
    )


@dataclass(frozen=True, slots=True)
class _Chooser:
    """Chooses the images of one class after the other."""

    strata: Strata | Callable[[str], Strata]
    counted: Reference
    places: Mapping[str, Mapping[str, int]]
    per_class: int
    settings: StratifiedParameters

    def __call__(self, group: ClassInput, rng: random.Random) -> ClassChoice:
        wanted = self.places[group.wnid]
        stratum_of = self._strata_of(group, list(wanted))
        usable = sort_into(stratum_of, stratum_of, len(wanted))
        draws = fill_strata(
            rng,
            targets=self._targets(group.wnid, usable),
            usable=usable,
            previous=sort_into(group.carried, stratum_of, len(wanted)),
            previous_ids=set(group.previous),
            upward=self.settings.shortfall == "upward",
        )
        targets = list(wanted.values())
        total = self.per_class if self.settings.rule == "largest_remainder" else sum(targets)
        problems = () if wanted else ("no reference image has a stratum, so there is no distribution to match",)
        choice = choice_of(list(wanted), draws, targets, usable, total, problems)
        return replace(choice, outside=len(group.usable) - len(stratum_of))

    def _strata_of(self, group: ClassInput, names: Sequence[str]) -> dict[str, int]:
        """image id -> number of its stratum, of those that have one among ``names``."""
        numbers, counts = {name: number for number, name in enumerate(names)}, self.counted.get(group.wnid, {})
        strata = self.strata(group.wnid) if callable(self.strata) else self.strata
        found = {}
        for image in group.usable:
            given = strata.get(image, ())
            known = [name for name in ((given,) if isinstance(given, str) else given) if name in numbers]
            if known:
                found[image] = numbers[_one_stratum(known, counts)]
        return found

    def _targets(self, wnid: str, usable: Sequence[Sequence[str]]) -> list[int]:
        """Places per stratum, or what the policy ``redistribute`` makes of them."""
        wanted = self.places[wnid]
        if self.settings.shortfall != "redistribute":
            return list(wanted.values())
        return redistribute(list(wanted.values()), [len(ids) for ids in usable], [self.counted[wnid][name] for name in wanted])


def _published(parameters: SamplingParameters, settings: StratifiedParameters, places: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    return {
        "min_num_annotations": parameters.min_num_annotations,
        "near_duplicate_review_targets": dict(parameters.near_duplicate_review_targets),
        "selection_frequency_threshold": settings.threshold,
        "rule": settings.rule,
        "top_strata": settings.top_strata,
        "divisor": settings.divisor,
        "min_quota": settings.min_quota,
        "order": settings.order,
        "tie_break": settings.tie_break,
        "shortfall": settings.shortfall,
        "shared_strata": settings.shared_strata,
        "stratum_targets": places,
    }


def redistribute(targets: Sequence[int], capacities: Sequence[int], weights: Sequence[int]) -> list[int]:
    """Targets within the capacities: places that an entry cannot fill go to others in proportion to their weights.

    The unfilled places are shared out by :func:`largest_remainder` over the entries with capacity to spare and a weight
    above 0, later entries first among equal remainders, until all are placed or no such entry is left.
    """
    result = [min(target, capacity) for target, capacity in zip(targets, capacities, strict=True)]
    missing = sum(targets) - sum(result)
    while missing:
        spare = [index for index, weight in enumerate(weights) if weight > 0 and result[index] < capacities[index]]
        if not spare:
            break
        for index, share in zip(spare, largest_remainder([weights[index] for index in spare], missing), strict=True):
            result[index] = min(capacities[index], result[index] + share)
        missing = sum(targets) - sum(result)
    return result


def _check_counts(wnid: str, counts: Mapping[str, int]) -> None:
    for name, count in counts.items():
        if not isinstance(count, Real) or not 0 <= count < math.inf:
            problem = f"stratum {name} has the reference count {count!r}, not a number of at least 0"
            raise InputError(problem, item=wnid, remedy="Count the reference images again")


def _class_targets(counts: Mapping[str, int], per_class: int, settings: StratifiedParameters) -> dict[str, int]:
    frequent = sorted(counts, key=lambda name: (-counts[name], name))[: settings.top_strata]
    names = sorted(frequent, key=lambda name: (counts[name], name)) if settings.order == "count" else sorted(frequent)
    ordered = [counts[name] for name in names]
    if settings.rule == "ceiling":
        quotas = [count / settings.divisor for count in ordered]
        return {name: 0 if quota < settings.min_quota else math.ceil(quota) for name, quota in zip(names, quotas, strict=True)}
    ascending = list(range(len(names)))
    priority = ascending[::-1] if settings.tie_break == "higher" else ascending
    return dict(zip(names, largest_remainder(ordered, per_class, priority=priority), strict=True))


def _effective(reference: Reference, settings: StratifiedParameters) -> Reference:
    """The counts from which places are computed.

    With ``shared_strata = one_class`` a name that several classes have is one stratum, of the class with most of its images
    (the smallest wnid among equals), and counts the images of all classes, as CIFAR-10.1 v4 did.
    """
    if settings.shared_strata == "per_class":
        return reference
    owners: dict[str, str] = {}
    totals: Counter[str] = Counter()
    for wnid in sorted(reference):
        totals.update(reference[wnid])
        for name, count in reference[wnid].items():
            if name not in owners or count > reference[owners[name]][name]:
                owners[name] = wnid
    return {wnid: {name: totals[name] for name in counts if owners[name] == wnid} for wnid, counts in reference.items()}


def _strata_of(image: str, strata: Strata) -> list[str]:
    names = strata.get(image, ())
    return [names] if isinstance(names, str) else sorted(set(names))


def _one_stratum(names: Iterable[str], counts: Mapping[str, int]) -> str:
    """The name with the highest count, the alphabetically last among equals."""
    return max(names, key=lambda name: (counts.get(name, 0), name))
