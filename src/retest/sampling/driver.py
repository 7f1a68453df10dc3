"""What all strategies for candidates share: classes in sorted order, one generator, the final shuffle, the reports."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from retest.errors import SamplingError
from retest.records import Revision
from retest.sampling.facts import ByClass, CandidateFacts, Reason, checked, ineligibility, sorted_classes
from retest.sampling.parameters import SamplingParameters
from retest.sampling.result import ClassReport, DroppedImage, SampleResult, StratumReport


@dataclass(frozen=True, slots=True)
class ClassInput:
    """One class before the choice: usable candidates by id in sorted order, and the previous revision's images in its order."""

    wnid: str
    usable: Mapping[str, CandidateFacts]
    previous: Sequence[str]
    """Every image that the previous revision has in the class, usable or not."""

    @property
    def carried(self) -> list[str]:
        """The previous revision's images that are still usable, in its order."""
        return [image for image in self.previous if image in self.usable]


@dataclass(frozen=True, slots=True)
class ClassChoice:
    """What a strategy chose for one class, in the order in which it is emitted."""

    images: Sequence[str]
    target: int
    upward: int = 0
    outside: int = 0
    """Candidates that pass the rule but belong to no stratum with places."""
    problems: tuple[str, ...] = ()
    strata: tuple[StratumReport, ...] = ()


Choose = Callable[[ClassInput, random.Random], ClassChoice]


def sample_classes(
    sampling_function: str,
    choose: Choose,
    candidates: Iterable[CandidateFacts] | ByClass[CandidateFacts],
    classes: Iterable[str],
    *,
    parameters: SamplingParameters,
    published: Mapping[str, Any],
    starting_from: Revision | None,
    threshold_of: Callable[[str], float | None] = lambda wnid: None,
) -> SampleResult:
    """Run ``choose`` on every class in sorted order with one generator, shuffle all images with it, and report.

    Candidates are screened as they come: of those that cannot be used nothing but the id is held, and given class by class those of one
    class only.
    """
    wnids = sorted_classes(classes)
    previous = images_by_class(starting_from)
    groups = _screen(candidates, {wnid: (threshold_of(wnid), frozenset(previous.get(wnid, ()))) for wnid in wnids}, parameters)
    rng = random.Random(parameters.seed)
    images: list[tuple[str, str]] = []
    reports: list[ClassReport] = []
    dropped: list[DroppedImage] = []
    for wnid, group in groups:
        usable = {facts.id: facts for facts in sorted(group.usable, key=lambda facts: facts.id)}
        group.usable.clear()
        before = previous.get(wnid, [])
        choice = choose(ClassInput(wnid, usable, before), rng)
        images += [(image, wnid) for image in choice.images]
        reports.append(_report(wnid, choice, before, group, len(usable)))
        dropped += _dropped(wnid, before, choice.images, usable, group.reasons)
    rng.shuffle(images)
    dropped += [DroppedImage(image, wnid, "unknown") for wnid in sorted(previous.keys() - set(wnids)) for image in previous[wnid]]
    return SampleResult(
        sampling_function=sampling_function,
        images=tuple(images),
        is_valid=all(report.is_complete for report in reports),
        seed=parameters.seed,
        parameters={"per_class": parameters.per_class, "target_size": sum(report.target for report in reports), **published},
        classes=tuple(reports),
        starting_from=starting_from.name if starting_from else None,
        dropped=tuple(dropped),
    )


def images_by_class(revision: Revision | None) -> dict[str, list[str]]:
    """A revision's images by class, in its order.

    Raises:
        SamplingError: it has an image twice in a class, so that it cannot be carried over.
    """
    groups: dict[str, list[str]] = {}
    for image, wnid in revision.images if revision else ():
        groups.setdefault(wnid, []).append(image)
    for wnid, images in groups.items():
        if len(set(images)) < len(images) and revision:
            twice = next(image for image, count in Counter(images).items() if count > 1)
            raise SamplingError(
                f"class {wnid} has image {twice} more than once, so it cannot be carried over",
                item=revision.name,
                remedy="Start from another revision",
            )
    return groups


@dataclass(slots=True)
class _Screened:
    """One class: its usable candidates as they came, how many have each reason against them, and the reasons of the previous images."""

    candidates: int = 0
    usable: list[CandidateFacts] = field(default_factory=list)
    unusable: Counter[Reason] = field(default_factory=Counter)
    reasons: dict[str, Reason] = field(default_factory=dict)


_Wanted = Mapping[str, tuple[float | None, frozenset[str]]]
"""wnid -> threshold, images of the previous revision."""


def _screen(
    candidates: Iterable[CandidateFacts] | ByClass[CandidateFacts], classes: _Wanted, parameters: SamplingParameters
) -> Iterator[tuple[str, _Screened]]:
    """The candidates of ``classes``, class after class."""
    if not isinstance(candidates, ByClass):
        return iter(_screen_all(checked(candidates), classes, parameters).items())
    source = candidates
    return ((wnid, _screen_all(source.checked_of(wnid), {wnid: wanted}, parameters)[wnid]) for wnid, wanted in classes.items())


def _screen_all(candidates: Iterable[CandidateFacts], classes: _Wanted, parameters: SamplingParameters) -> dict[str, _Screened]:
    minimum, targets = parameters.min_num_annotations, parameters.near_duplicate_review_targets
    groups = {wnid: _Screened() for wnid in classes}
    for candidate in candidates:
        group = groups.get(candidate.wnid)
        if group is None:
            continue
        threshold, previous = classes[candidate.wnid]
        group.candidates += 1
        reason = ineligibility(candidate, min_num_annotations=minimum, threshold=threshold, review_targets=targets)
        if reason is None:
            group.usable.append(candidate)
            continue
        group.unusable[reason] += 1
        if candidate.id in previous:
            group.reasons[candidate.id] = reason
    return groups


def _report(wnid: str, choice: ClassChoice, previous: Sequence[str], group: _Screened, usable: int) -> ClassReport:
    unusable = {reason.value: group.unusable[reason] for reason in Reason if reason in group.unusable}
    if choice.outside:
        unusable["outside_strata"] = choice.outside
    carried = len(set(previous).intersection(choice.images))
    return ClassReport(
        wnid=wnid,
        target=choice.target,
        selected=len(choice.images),
        carried=carried,
        drawn=len(choice.images) - carried,
        upward=choice.upward,
        candidates=group.candidates,
        usable=usable - choice.outside,
        unusable=unusable,
        problems=choice.problems,
        strata=choice.strata,
    )


def _dropped(
    wnid: str, previous: Sequence[str], chosen: Sequence[str], usable: Mapping[str, CandidateFacts], reasons: Mapping[str, Reason]
) -> list[DroppedImage]:
    kept = set(chosen)
    return [
        DroppedImage(image, wnid, "not_selected" if image in usable else str(reasons.get(image, "unknown")))
        for image in previous
        if image not in kept
    ]
