"""Stage: how good the answers are, annotator by annotator and HIT by HIT. Nothing here changes a frequency."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from retest.labeling import (
    Agreement,
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
from retest.stages._inspect import HitInspection, InspectedAnswer, InspectedImage, inspect_hit
from retest.study import Study

__all__ = [
    "HitInspection",
    "InspectedAnswer",
    "InspectedImage",
    "LabelQuality",
    "PosteriorRow",
    "inspect_hit",
    "judge",
    "posteriors",
]


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


def _answers(study: Study) -> tuple[list[Hit], list[Assignment], set[str]]:
    with study.database.read() as tables:
        return list(tables.hits.all()), list(tables.assignments.all()), set(tables.hits.excluded())
