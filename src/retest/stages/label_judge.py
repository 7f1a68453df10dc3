"""Stage: how good the answers are, annotator by annotator and HIT by HIT. Nothing here changes a frequency."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from retest.labeling import (
    Agreement,
    AnswersByClass,
    AssignmentQuality,
    ControlAccuracy,
    QualityParameters,
    Sensitivity,
    WorkerQuality,
    WorkerTally,
    count_answers,
    dawid_skene,
    judge_answers,
    krippendorff_alpha,
    mace,
    one_coin,
    sensitivity_in_parts,
)
from retest.records import Assignment, Hit, SelectionFrequency
from retest.stages._inspect import HitInspection, InspectedAnswer, InspectedImage, inspect_hit
from retest.store import Tables
from retest.study import Study

__all__ = [
    "HitInspection",
    "InspectedAnswer",
    "InspectedImage",
    "JudgedAnswers",
    "LabelQuality",
    "PosteriorRow",
    "inspect_hit",
    "judge",
    "posteriors",
]


@dataclass(frozen=True, slots=True)
class JudgedAnswers:
    """All valid answers to HITs that count: how many, those with a flag (by class and HIT), annotators by name, and the controls."""

    answers: int
    flagged: tuple[AssignmentQuality, ...]
    workers: tuple[WorkerQuality, ...]
    controls: ControlAccuracy
    controls_by_class: dict[str, ControlAccuracy]

    @property
    def flagged_workers(self) -> tuple[str, ...]:
        """Names of the annotators with at least one flag, sorted."""
        return tuple(worker.worker for worker in self.workers if worker.flags)


@dataclass(frozen=True, slots=True)
class LabelQuality:
    """The answers judged as a whole.

    ``agreement`` is Krippendorff's alpha. ``sensitivity`` tells how the frequencies would move without the flagged annotators.
    ``hourly_wage_cents`` is what the reward came to at the median of the durations, in whole cents; None without durations or reward.
    """

    report: JudgedAnswers
    agreement: Agreement
    sensitivity: Sensitivity
    median_duration_s: float | None
    hourly_wage_cents: int | None


def judge(study: Study, *, parameters: QualityParameters | None = None, threshold: float = 0.7) -> LabelQuality:
    """Judge all valid answers to HITs that are not excluded; ``threshold`` is the frequency whose crossings are counted.

    The study is read class by class, and only flagged answers are kept.
    """
    with study.database.read() as tables:
        excluded = {uuid for wnid in tables.hits.count_by_class() for uuid in tables.hit_pages.excluded_of_class(wnid)}
        report, durations, counts = _judged(tables, excluded, parameters)
        moved = sensitivity_in_parts(_by_class(tables), report.flagged_workers, excluded_hits=excluded, threshold=threshold)
    median = float(np.median(np.asarray(durations))) if durations else None
    reward = study.config.crowd.reward_cents
    return LabelQuality(
        report=report,
        agreement=krippendorff_alpha(np.array(counts, dtype=np.int64).reshape(-1, 2)),
        sensitivity=moved,
        median_duration_s=median,
        hourly_wage_cents=math.floor(reward * 3600 / median) if median and reward else None,
    )


def _by_class(tables: Tables) -> Iterator[tuple[Iterator[Hit], Iterator[Assignment]]]:
    for wnid in tables.hits.count_by_class():
        yield tables.bulk.hits_of_class(wnid), tables.bulk.answers_of_class(wnid)


def _judged(tables: Tables, excluded: set[str], parameters: QualityParameters | None) -> tuple[JudgedAnswers, array[float], array[int]]:
    """The answers judged, their durations, and (selected, not selected) of every (image, class)."""
    tally, durations, counts = WorkerTally(), array("d"), array("q")
    flagged: list[AssignmentQuality] = []
    by_class: dict[str, ControlAccuracy] = {}
    answers = 0
    for wnid in tables.hits.count_by_class():
        hits, given = list(tables.bulk.hits_of_class(wnid)), list(tables.bulk.answers_of_class(wnid))
        judged = judge_answers(hits, given, parameters=parameters, excluded_hits=excluded)
        for item in judged.assignments:
            tally.add(item)
            if item.duration_s is not None:
                durations.append(item.duration_s)
        answers += len(judged.assignments)
        flagged += (item for item in judged.assignments if item.flags)
        by_class |= judged.controls_by_class
        for frequency in count_answers(hits, given, excluded_hits=excluded).frequencies():
            counts.extend((frequency.num_selected, frequency.num_assignments - frequency.num_selected))
    controls = sum(by_class.values(), ControlAccuracy())
    return JudgedAnswers(answers, tuple(flagged), tally.workers(parameters=parameters), controls, by_class), durations, counts


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


def posteriors(study: Study) -> Iterator[PosteriorRow]:
    """Label models over all valid answers, in the order of HITs and images; none without answers."""
    collected = AnswersByClass()
    with study.database.read() as tables:
        for wnid in tables.hits.count_by_class():
            excluded = tables.hit_pages.excluded_of_class(wnid)
            hits = ((entry.no, entry.hit) for entry in tables.hit_pages.of_class(wnid) if entry.hit.uuid not in excluded)
            collected.add(wnid, hits, tables.bulk.answers_of_class(wnid))
    answers = collected.answers()
    if not len(answers.item):
        return
    number, selected = np.bincount(answers.item), np.bincount(answers.item[answers.selected], minlength=len(answers.items))
    models = [fit(answers).posterior for fit in (dawid_skene, one_coin, mace)]
    for index in np.flatnonzero(number).tolist():
        image_id, wnid = answers.items[index]
        raw = SelectionFrequency(image_id, wnid, int(number[index]), int(selected[index]))
        yield PosteriorRow(image_id, wnid, raw.num_assignments, raw.value, *(float(model[index]) for model in models))
