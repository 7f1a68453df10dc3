"""HITs, answers and annotators are judged here for the review pages, block by block; the figures are kept in the database.

In a small study they are brought up to date when somebody asks. In a large one :func:`refresh_figures` does it beside the requests, and
the older ones are shown meanwhile. A HIT is judged anew when answers to it change, an annotator when one of their HITs is.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field

from retest.labeling import AssignmentQuality, ControlAccuracy, QualityParameters, WorkerQuality, judge_answers, judge_workers
from retest.records import Assignment, AssignmentStatus
from retest.stages._review_memo import Memo, generations_key
from retest.store import Tables
from retest.store.hit_figures import AnswerRow, HitFigures, JudgedHit, WorkerRow
from retest.store.review_hits import NumberedHit
from retest.study import Study

__all__ = ["NOW", "refresh_figures", "settle"]

NOW = 20_000
"""Answers, or tenths of HITs, up to which a study is small."""

_NEW_HITS = 1000
_HITS = 50
_WORKERS = 5
_STAGE = "review hit figures"


def settle(study: Study, memo: Memo, *, workers: bool) -> bool:
    """Whether the figures of HITs, and (``workers``) of annotators, are of now; in a small study they are brought up to date first."""
    with study.database.read() as tables:
        if _settled(tables, workers=workers):
            return True
        size = memo.get("number of answers and HITs", generations_key(tables.generations.of("assignments", "hits")), lambda: _size(tables))
    if size > NOW:
        return False
    while _step(study, workers=workers):
        pass
    return True


def refresh_figures(study: Study, memo: Memo, *, stop: Callable[[], bool] = lambda: False) -> bool:
    """Bring all figures up to date, however long that takes; whether that came to its end.

    Args:
        study: an open study.
        memo: where the steps are done (:meth:`Memo.aside`).
        stop: asked between steps, each of which is stored; True ends the work.
    """
    while memo.aside(study, _step):
        if stop():
            return False
    return True


def _size(tables: Tables) -> int:
    """Answers, and ten for every HIT: a HIT takes as long to read whether it was answered or not."""
    return max(tables.assignments.count(), 10 * tables.hits.numbers()[0])


def _rules() -> str:
    return json.dumps(asdict(QualityParameters()))


def _settled(tables: Tables, *, workers: bool) -> bool:
    return tables.completions.key(_STAGE, "rules") == _rules() and tables.hit_figures.settled(workers=workers)


def _step(study: Study, *, workers: bool = True) -> bool:
    """Judge the next HITs, or annotators when no HIT waits; False when nothing waits.

    What is judged is worked out before the transaction that writes, and once more within it should HITs or answers have changed since.
    """
    with study.database.read() as tables:
        if _settled(tables, workers=workers):
            return False
        work, seen = _next(tables), _seen(tables)
    with study.database.write() as tables:
        if tables.completions.key(_STAGE, "rules") != _rules():
            tables.hit_figures.start_again()
            tables.completions.put(_STAGE, "rules", _rules())
        elif not tables.hit_figures.note_hits(_NEW_HITS):
            now = work if seen == _seen(tables) else _next(tables)
            tables.hit_figures.put_hits(now.hits)
            tables.hit_figures.put_workers(now.workers)
    return True


@dataclass(frozen=True, slots=True)
class _Work:
    hits: tuple[JudgedHit, ...] = ()
    workers: Mapping[str, WorkerRow | None] = field(default_factory=dict)


def _seen(tables: Tables) -> dict[str, int]:
    return tables.generations.of("hits", "assignments", "hit_figures", "answer_figures", "worker_figures")


def _next(tables: Tables) -> _Work:
    waiting = tables.hit_figures.waiting_hits(_HITS)
    if waiting:
        return _Work(hits=judged_hits(tables, waiting))
    return _Work(workers={name: _worker(tables, name) for name in tables.hit_figures.waiting_workers(_WORKERS)})


def judged_hits(tables: Tables, uuids: Iterable[str]) -> tuple[JudgedHit, ...]:
    """These HITs and the answers to them, judged by the rules of :mod:`retest.labeling.quality`, excluded or not."""
    numbered = tables.review_hits.numbered(uuids)
    answers: dict[str, list[Assignment]] = {}
    for answer in tables.assignments.of_hits(one.hit.uuid for one in numbered):
        answers.setdefault(answer.hit_uuid, []).append(answer)
    judged = judge_answers((one.hit for one in numbered), (a for of_one in answers.values() for a in of_one))
    qualities = {one.assignment_id: one for one in judged.assignments}
    return tuple(_judged_hit(one, answers.get(one.hit.uuid, []), qualities) for one in numbered)


def _judged_hit(numbered: NumberedHit, answers: list[Assignment], qualities: Mapping[str, AssignmentQuality]) -> JudgedHit:
    hit = numbered.hit
    valid = [qualities[one.id] for one in answers if one.id in qualities]
    agreeing = [one.agreement for one in valid if one.agreement is not None]
    durations = [one.duration_s for one in valid if one.duration_s is not None]
    figures = HitFigures(
        no=numbered.no,
        uuid=hit.uuid,
        wnid=hit.wnid,
        wanted=numbered.wanted,
        submitted=hit.submitted,
        images=len(hit.images_all),
        valid=len(valid),
        rejected=sum(one.status is AssignmentStatus.REJECTED for one in answers),
        controls=_share(sum((one.controls for one in valid), ControlAccuracy())),
        agreement=statistics.fmean(agreeing) if agreeing else None,
        median_duration_s=statistics.median(durations) if durations else None,
        flagged=sum(bool(one.flags) for one in valid),
    )
    rows = ((a.worker, AnswerRow(a.id, a.hit_uuid, hit.wnid, str(a.status), a.submit_time, qualities.get(a.id))) for a in answers)
    return JudgedHit(figures, tuple(rows))


def _share(controls: ControlAccuracy) -> float | None:
    shown = controls.positive_shown + controls.negative_shown
    return (controls.positive_correct + controls.negative_correct) / shown if shown else None


def _worker(tables: Tables, worker: str) -> WorkerRow | None:
    """The judgement of an annotator over answers that count; None for one without answers."""
    judged = judge_workers(row.quality for row in tables.hit_figures.answers_of(worker, counting=True) if row.quality)
    rejected = tables.hit_figures.rejected_of(worker)
    if not judged and not rejected and not tables.hit_figures.times_of(worker)[0]:
        return None
    return WorkerRow(judged[0] if judged else WorkerQuality(worker, 0, ControlAccuracy(), 0, 0, None, None, 0, ()), rejected)
