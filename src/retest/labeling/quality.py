"""How good the answers are: controls, annotators, and flags for spam that a person decides on.

Nothing here changes a frequency: a flag is a reason to look.
"""

from __future__ import annotations

import statistics
from array import array
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from retest.records import VALID_STATUSES, Assignment, Hit
from retest.settings import check_count, check_number, plain_numbers

_LONGEST_S = 86_400.0


@dataclass(frozen=True, slots=True)
@plain_numbers
class QualityParameters:
    """When an answer or an annotator is flagged. Flags never exclude anything by themselves."""

    min_seconds_per_image: float = field(default=0.25, metadata={"help": "an answer given faster than this per image is flagged"})
    min_positive_accuracy: float = field(default=0.5, metadata={"help": "share of positive controls that must be selected"})
    min_negative_accuracy: float = field(default=0.5, metadata={"help": "share of negative controls that must be left unselected"})
    min_controls: int = field(default=3, metadata={"help": "controls of a kind that must have been shown before their share is judged"})
    max_flagged_share: float = field(default=0.25, metadata={"help": "an annotator with a larger share of flagged answers is flagged"})
    min_flagged_answers: int = field(default=2, metadata={"help": "flagged answers that an annotator needs before being flagged for them"})

    def __post_init__(self) -> None:
        for name in ("min_positive_accuracy", "min_negative_accuracy", "max_flagged_share"):
            check_number(name, getattr(self, name), high=1.0, remedy="Give a share, not a percentage.")
        check_number("min_seconds_per_image", self.min_seconds_per_image, high=_LONGEST_S, remedy="0 turns the rule off.")
        check_count("min_controls", self.min_controls, low=1, remedy="The default is 3.")
        check_count("min_flagged_answers", self.min_flagged_answers, low=1, remedy="The default is 2.")


@dataclass(frozen=True, slots=True)
class ControlAccuracy:
    """Control images shown and answered rightly: positive ones selected, negative ones left unselected."""

    positive_shown: int = 0
    positive_correct: int = 0
    negative_shown: int = 0
    negative_correct: int = 0

    @property
    def positive(self) -> float | None:
        """Share of positive controls selected; None when none were shown."""
        return self.positive_correct / self.positive_shown if self.positive_shown else None

    @property
    def negative(self) -> float | None:
        """Share of negative controls left unselected; None when none were shown."""
        return self.negative_correct / self.negative_shown if self.negative_shown else None

    def __add__(self, other: ControlAccuracy) -> ControlAccuracy:
        return ControlAccuracy(
            self.positive_shown + other.positive_shown,
            self.positive_correct + other.positive_correct,
            self.negative_shown + other.negative_shown,
            self.negative_correct + other.negative_correct,
        )


@dataclass(frozen=True, slots=True)
class AssignmentQuality:
    """One answer, judged. ``flags`` are (code, reason in words); codes: too_fast, all_selected, none_selected,
    failed_positive_controls, failed_negative_controls.
    """

    assignment_id: str
    hit_uuid: str
    worker: str
    controls: ControlAccuracy
    images: int
    selected: int
    duration_s: float | None
    agreement: float | None
    """Mean share of the HIT's other valid answers that agree with this one, over its images; None without others."""
    flags: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class WorkerQuality:
    """All valid answers of one annotator, judged. ``flags`` as in :class:`AssignmentQuality`, plus many_flagged_answers."""

    worker: str
    assignments: int
    controls: ControlAccuracy
    images: int
    selected: int
    median_duration_s: float | None
    agreement: float | None
    """Mean of the answers' agreement with the others, weighted by images."""
    flagged_assignments: int
    flags: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class QualityReport:
    """Answers, annotators (sorted by name), controls over all answers, and those per class and per HIT."""

    assignments: tuple[AssignmentQuality, ...]
    workers: tuple[WorkerQuality, ...]
    controls: ControlAccuracy
    controls_by_class: dict[str, ControlAccuracy]
    controls_by_hit: dict[str, ControlAccuracy]

    @property
    def flagged_workers(self) -> tuple[str, ...]:
        """Names of the annotators with at least one flag, sorted."""
        return tuple(worker.worker for worker in self.workers if worker.flags)


def judge_answers(
    hits: Iterable[Hit],
    assignments: Iterable[Assignment],
    *,
    parameters: QualityParameters | None = None,
    excluded_hits: Collection[str] = (),
) -> QualityReport:
    """Judge every valid answer and every annotator.

    Rejected assignments, unknown and excluded HITs are left out, as in :mod:`retest.labeling.frequency`; a selected image
    that the HIT does not show is ignored. Assignments must be distinct.
    """
    parameters = parameters or QualityParameters()
    excluded = frozenset(excluded_hits)
    known = {hit.uuid: hit for hit in hits if hit.uuid not in excluded}
    of_hit: dict[str, list[Assignment]] = {}
    for assignment in assignments:
        if assignment.hit_uuid in known and assignment.status in VALID_STATUSES:
            of_hit.setdefault(assignment.hit_uuid, []).append(assignment)

    judged: list[AssignmentQuality] = []
    for uuid in sorted(of_hit):
        judged.extend(_judge_hit(known[uuid], of_hit[uuid], parameters))
    by_class: dict[str, ControlAccuracy] = {}
    by_hit: dict[str, ControlAccuracy] = {}
    for item in judged:
        wnid = known[item.hit_uuid].wnid
        by_class[wnid] = by_class.get(wnid, ControlAccuracy()) + item.controls
        by_hit[item.hit_uuid] = by_hit.get(item.hit_uuid, ControlAccuracy()) + item.controls
    return QualityReport(
        assignments=tuple(judged),
        workers=judge_workers(judged, parameters=parameters),
        controls=sum(by_hit.values(), ControlAccuracy()),
        controls_by_class=dict(sorted(by_class.items())),
        controls_by_hit=by_hit,
    )


def _judge_hit(hit: Hit, answers: Sequence[Assignment], parameters: QualityParameters) -> list[AssignmentQuality]:
    images = tuple(dict.fromkeys(hit.images_all))
    chosen = [frozenset(answer.selected).intersection(images) for answer in answers]
    times_selected = dict.fromkeys(images, 0)
    for selection in chosen:
        for image in selection:
            times_selected[image] += 1
    return [
        _judge_answer(hit, images, answer, selection, _agreement(images, selection, times_selected, len(answers)), parameters)
        for answer, selection in sorted(zip(answers, chosen, strict=True), key=lambda pair: pair[0].id)
    ]


def _agreement(images: tuple[str, ...], selection: frozenset[str], times_selected: dict[str, int], answers: int) -> float | None:
    if answers < 2 or not images:
        return None
    agreeing = sum(times_selected[image] - 1 if image in selection else answers - 1 - times_selected[image] for image in images)
    return agreeing / ((answers - 1) * len(images))


def _judge_answer(
    hit: Hit,
    images: tuple[str, ...],
    answer: Assignment,
    selection: frozenset[str],
    agreement: float | None,
    parameters: QualityParameters,
) -> AssignmentQuality:
    positive, negative = set(hit.images_pos_control), set(hit.images_neg_control)
    controls = ControlAccuracy(len(positive), len(positive & selection), len(negative), len(negative - selection))
    duration = duration_s(answer)
    flags = []
    if duration is not None and duration < parameters.min_seconds_per_image * len(images):
        pace = parameters.min_seconds_per_image
        flags.append(("too_fast", f"answered {len(images)} images in {duration:g} s, faster than {pace:g} s per image"))
    if images and len(selection) == len(images):
        flags.append(("all_selected", f"selected all {len(images)} images"))
    if images and not selection:
        flags.append(("none_selected", f"selected none of {len(images)} images"))
    flags.extend(_control_flags(controls, parameters))
    return AssignmentQuality(answer.id, hit.uuid, answer.worker, controls, len(images), len(selection), duration, agreement, tuple(flags))


def _control_flags(controls: ControlAccuracy, parameters: QualityParameters) -> list[tuple[str, str]]:
    flags = []
    if (
        controls.positive_shown >= parameters.min_controls
        and controls.positive_correct < parameters.min_positive_accuracy * controls.positive_shown
    ):
        flags.append(("failed_positive_controls", f"selected {controls.positive_correct} of {controls.positive_shown} positive controls"))
    if (
        controls.negative_shown >= parameters.min_controls
        and controls.negative_correct < parameters.min_negative_accuracy * controls.negative_shown
    ):
        wrong = controls.negative_shown - controls.negative_correct
        flags.append(("failed_negative_controls", f"selected {wrong} of {controls.negative_shown} negative controls"))
    return flags


def judge_workers(judged: Iterable[AssignmentQuality], *, parameters: QualityParameters | None = None) -> tuple[WorkerQuality, ...]:
    """Judge annotators by their judged answers, sorted by name."""
    tally = WorkerTally()
    for item in judged:
        tally.add(item)
    return tally.workers(parameters=parameters)


@dataclass(slots=True)
class _Sums:
    """What is kept of one annotator's answers."""

    assignments: int = 0
    controls: ControlAccuracy = field(default_factory=ControlAccuracy)
    images: int = 0
    selected: int = 0
    flagged: int = 0
    codes: set[str] = field(default_factory=set)
    durations: array[float] = field(default_factory=lambda: array("d"))
    agreement: float = 0.0
    weight: int = 0


class WorkerTally:
    """Adds up judged answers as they stream by, for :func:`judge_workers`; memory is some bytes per answer."""

    def __init__(self) -> None:
        self._sums: dict[str, _Sums] = {}

    def add(self, answer: AssignmentQuality) -> None:
        """Count one answer for its annotator."""
        sums = self._sums.setdefault(answer.worker, _Sums())
        sums.assignments += 1
        sums.controls += answer.controls
        sums.images += answer.images
        sums.selected += answer.selected
        if answer.flags:
            sums.flagged += 1
            sums.codes.update(code for code, _ in answer.flags)
        if answer.duration_s is not None:
            sums.durations.append(answer.duration_s)
        if answer.agreement is not None:
            sums.agreement += answer.agreement * answer.images
            sums.weight += answer.images

    def workers(self, *, parameters: QualityParameters | None = None) -> tuple[WorkerQuality, ...]:
        """Every annotator so far, judged, sorted by name."""
        parameters = parameters or QualityParameters()
        return tuple(_judge_worker(worker, self._sums[worker], parameters) for worker in sorted(self._sums))


def _judge_worker(worker: str, sums: _Sums, parameters: QualityParameters) -> WorkerQuality:
    flags = _control_flags(sums.controls, parameters)
    if sums.flagged >= parameters.min_flagged_answers and sums.flagged > parameters.max_flagged_share * sums.assignments:
        codes = ", ".join(sorted(sums.codes))
        flags.append(("many_flagged_answers", f"{sums.flagged} of {sums.assignments} answers are flagged ({codes})"))
    return WorkerQuality(
        worker=worker,
        assignments=sums.assignments,
        controls=sums.controls,
        images=sums.images,
        selected=sums.selected,
        median_duration_s=statistics.median(sums.durations) if sums.durations else None,
        agreement=sums.agreement / sums.weight if sums.weight else None,
        flagged_assignments=sums.flagged,
        flags=tuple(flags),
    )


def duration_s(assignment: Assignment) -> float | None:
    """Seconds from acceptance to submission; None where a time is missing, unreadable, or only one has a time zone."""
    if assignment.accept_time is None or assignment.submit_time is None:
        return None
    try:
        accepted, submitted = datetime.fromisoformat(assignment.accept_time), datetime.fromisoformat(assignment.submit_time)
    except ValueError:
        return None
    if (accepted.tzinfo is None) != (submitted.tzinfo is None):
        return None
    return (submitted - accepted).total_seconds()
