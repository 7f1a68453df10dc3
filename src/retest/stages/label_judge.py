"""Stage: how good the answers are, annotator by annotator and HIT by HIT. Nothing here changes a frequency."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from retest.errors import NotFoundError
from retest.labeling import (
    Agreement,
    AssignmentQuality,
    QualityParameters,
    QualityReport,
    Sensitivity,
    agreement_of_frequencies,
    collect_answers,
    count_answers,
    dawid_skene,
    judge_answers,
    mace,
    one_coin,
    sensitivity,
)
from retest.records import Assignment, Hit
from retest.study import Study


@dataclass(frozen=True, slots=True)
class LabelQuality:
    """The answers judged as a whole.

    ``agreement`` is Krippendorff's alpha. ``sensitivity`` tells how the frequencies would move without the flagged annotators.
    ``hourly_wage_cents`` is what the reward came to at the median of the durations, in whole cents; None without durations or reward.
    """

    report: QualityReport
    agreement: Agreement
    sensitivity: Sensitivity
    median_duration_s: float | None
    hourly_wage_cents: int | None


def judge(study: Study, *, parameters: QualityParameters | None = None, threshold: float = 0.7) -> LabelQuality:
    """Judge all valid answers to HITs that are not excluded; ``threshold`` is the frequency whose crossings are counted."""
    hits, answers, excluded = _answers(study)
    report = judge_answers(hits, answers, parameters=parameters, excluded_hits=excluded)
    durations = [item.duration_s for item in report.assignments if item.duration_s is not None]
    median = statistics.median(durations) if durations else None
    reward = study.config.crowd.reward_cents
    return LabelQuality(
        report=report,
        agreement=agreement_of_frequencies(count_answers(hits, answers, excluded_hits=excluded).frequencies()),
        sensitivity=sensitivity(hits, answers, report.flagged_workers, excluded_hits=excluded, threshold=threshold),
        median_duration_s=median,
        hourly_wage_cents=math.floor(reward * 3600 / median) if median and reward else None,
    )


@dataclass(frozen=True, slots=True)
class PosteriorRow:
    """One (image, class): its raw selection frequency beside the probabilities that label models give it."""

    image_id: str
    wnid: str
    num_assignments: int
    frequency: float
    dawid_skene: float
    one_coin: float
    mace: float


def posteriors(study: Study) -> list[PosteriorRow]:
    """Label models over all valid answers, in the order of HITs and images; empty without answers."""
    hits, assignments, excluded = _answers(study)
    answers = collect_answers(hits, assignments, excluded_hits=excluded)
    if not len(answers.item):
        return []
    models = [fit(answers).posterior for fit in (dawid_skene, one_coin, mace)]
    counted = {(f.image_id, f.wnid): f for f in count_answers(hits, assignments, excluded_hits=excluded).frequencies()}
    rows = []
    for index, (image_id, wnid) in enumerate(answers.items):
        raw = counted[image_id, wnid]
        if raw.num_assignments:
            rows.append(PosteriorRow(image_id, wnid, raw.num_assignments, raw.value, *(float(model[index]) for model in models)))
    return rows


@dataclass(frozen=True, slots=True)
class InspectedImage:
    """One image of a HIT's page. ``role``: label, positive or negative; ``selected_by`` are annotators of valid answers."""

    image_id: str
    role: str
    selected_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class InspectedAnswer:
    """One answer to a HIT. ``delay_s`` runs from publishing to acceptance; ``quality`` is None for rejected answers."""

    assignment: Assignment
    delay_s: float | None
    quality: AssignmentQuality | None


@dataclass(frozen=True, slots=True)
class HitInspection:
    """Everything about one HIT: who selected what, delays, durations, controls."""

    hit: Hit
    class_name: str
    excluded: str | None
    images: tuple[InspectedImage, ...]
    answers: tuple[InspectedAnswer, ...]
    valid: int


def inspect_hit(study: Study, name: str) -> HitInspection:
    """Look at one HIT, named by its uuid or by the back end's id.

    Raises:
        NotFoundError: the study has no such HIT.
    """
    with study.database.read() as tables:
        hit = tables.hits.get([name]).get(name) or next(iter(tables.hits.by_crowd_id(name)), None)
        if hit is None:
            raise NotFoundError("the study has no such HIT", item=name, remedy="See them with: retest label list")
        answers = list(tables.assignments.all(hit_uuid=hit.uuid))
        excluded = tables.hits.excluded([hit.uuid]).get(hit.uuid)
        names = {info.wnid: info.name for info in tables.classes.all()}
    judged = {item.assignment_id: item for item in judge_answers([hit], answers).assignments}
    valid = [answer for answer in answers if answer.id in judged]
    roles = {image: role for role, images in _roles(hit) for image in images}
    return HitInspection(
        hit=hit,
        class_name=names.get(hit.wnid, hit.wnid),
        excluded=excluded,
        images=tuple(InspectedImage(i, roles[i], tuple(sorted(a.worker for a in valid if i in a.selected))) for i in hit.images_all),
        answers=tuple(InspectedAnswer(a, _delay_s(hit, a), judged.get(a.id)) for a in sorted(answers, key=lambda a: a.submit_time or "")),
        valid=len(valid),
    )


def _roles(hit: Hit) -> Sequence[tuple[str, tuple[str, ...]]]:
    return (("label", hit.images_to_label), ("positive", hit.images_pos_control), ("negative", hit.images_neg_control))


def _delay_s(hit: Hit, answer: Assignment) -> float | None:
    """Seconds from publishing to acceptance; None where a time is missing, unreadable or without time zone."""
    if not hit.submitted or not hit.time or answer.accept_time is None:
        return None
    try:
        published, accepted = datetime.fromisoformat(hit.time), datetime.fromisoformat(answer.accept_time)
    except ValueError:
        return None
    if published.tzinfo is None or accepted.tzinfo is None:
        return None
    return (accepted - published).total_seconds()


def _answers(study: Study) -> tuple[list[Hit], list[Assignment], set[str]]:
    with study.database.read() as tables:
        return list(tables.hits.all()), list(tables.assignments.all()), set(tables.hits.excluded())
