"""One HIT with its answers, judged by the rules of :mod:`retest.labeling.quality`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from retest.errors import NotFoundError
from retest.labeling import AssignmentQuality, judge_answers
from retest.records import Assignment, Hit
from retest.study import Study


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
        info = tables.classes.get([hit.wnid]).get(hit.wnid)
    judged = {item.assignment_id: item for item in judge_answers([hit], answers).assignments}
    valid = [answer for answer in answers if answer.id in judged]
    roles = {image: role for role, images in _roles(hit) for image in images}
    return HitInspection(
        hit=hit,
        class_name=info.name if info else hit.wnid,
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
