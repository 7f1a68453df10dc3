"""Stage: published HITs on a crowd back end: progress, decisions about answers, closing, deleting, the check both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from retest.crowd import Crowd, progress_histogram
from retest.errors import CrowdError, NotFoundError, UsageError
from retest.records import VALID_STATUSES, AssignmentStatus, Hit
from retest.stages._closing import closed_hits, record_closed
from retest.stages._common import Progress, Stamp, silent
from retest.study import Study


@dataclass(frozen=True, slots=True)
class CrowdProgress:
    """How far the published HITs are on the back end.

    ``histogram``: number of HITs with 0, 1, ... valid answers; ``ended``: HITs that lack answers and get no more.
    """

    histogram: Mapping[int, int]
    hits: int
    unknown: int
    assignments: int
    valid: int
    rejected: int
    pending: int
    available: int
    ended: int

    @property
    def done(self) -> bool:
        """Whether no answer can come any more."""
        return self.pending == 0 and self.available == 0


def crowd_progress(study: Study, crowd: Crowd) -> CrowdProgress:
    """Ask the back end about every HIT that the study published and that is not excluded."""
    with study.database.read() as tables:
        own = tables.hits.published_here()
        hits = [hit for hit in tables.hits.all(submitted=True, include_excluded=False) if hit.uuid in own]
    found = crowd.progress(hits)
    items = found.values()
    return CrowdProgress(
        histogram=progress_histogram(found),
        hits=len(hits),
        unknown=len(hits) - len(found),
        assignments=sum(item.assignments for item in items),
        valid=sum(item.valid for item in items),
        rejected=sum(item.rejected for item in items),
        pending=sum(item.pending for item in items),
        available=sum(item.available for item in items),
        ended=sum(item.ended and not item.pending and item.answered < item.assignments for item in items),
    )


@dataclass(frozen=True, slots=True)
class HitRow:
    """One HIT as the study knows it. ``state``: planned, published, closed or excluded."""

    uuid: str
    wnid: str
    state: str
    hit_id: str
    assignments: int
    valid: int
    rejected: int
    images_to_label: int


def list_hits(study: Study) -> list[HitRow]:
    """All HITs in the order in which they were planned."""
    with study.database.read() as tables:
        excluded, wanted, counts = tables.hits.excluded(), tables.hits.requested_assignments(), tables.assignments.counts_by_hit()
        closed = closed_hits(tables)
        rows = []
        for hit in tables.hits.all():
            by_status = counts.get(hit.uuid, {})
            state = "excluded" if hit.uuid in excluded else "closed" if hit.uuid in closed else "published" if hit.submitted else "planned"
            valid = sum(number for status, number in by_status.items() if status in VALID_STATUSES)
            rejected = by_status.get(AssignmentStatus.REJECTED, 0)
            rows.append(HitRow(hit.uuid, hit.wnid, state, hit.hit_id or "", wanted[hit.uuid], valid, rejected, len(hit.images_to_label)))
    return rows


# Decisions about answers


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided about one answer. ``feedback`` is what the annotator reads."""

    assignment_id: str
    feedback: str = ""


@dataclass(frozen=True, slots=True)
class DecisionCounts:
    """How many answers were decided now, how many were so already, and failures by assignment."""

    decided: int
    unchanged: int
    failures: Mapping[str, str]


def approve(
    study: Study,
    crowd: Crowd,
    decisions: Sequence[Decision],
    *,
    stamp: Stamp,
    override_rejection: bool = False,
    progress: Progress = silent,
) -> DecisionCounts:
    """Approve collected answers on the back end, then in the study, with a record of who and when; repeats change nothing.

    Raises:
        NotFoundError: an answer is not in the study (collect first); nothing was done.
    """

    def act(decision: Decision) -> None:
        crowd.approve(decision.assignment_id, feedback=decision.feedback, override_rejection=override_rejection)

    return _decide(study, decisions, AssignmentStatus.APPROVED, act, stamp, progress)


def reject(study: Study, crowd: Crowd, decisions: Sequence[Decision], *, stamp: Stamp, progress: Progress = silent) -> DecisionCounts:
    """Reject collected answers: they are not paid and count nowhere. As :func:`approve`.

    Raises:
        NotFoundError: an answer is not in the study; nothing was done.
        UsageError: an answer has no feedback; nothing was done.
    """
    for decision in decisions:
        if not decision.feedback.strip():
            raise UsageError("a rejection needs feedback", item=decision.assignment_id, remedy="Tell the annotator why")
    return _decide(
        study, decisions, AssignmentStatus.REJECTED, lambda d: crowd.reject(d.assignment_id, feedback=d.feedback), stamp, progress
    )


def submitted_answers(study: Study) -> list[str]:
    """Ids of the collected answers that nobody has decided about yet, sorted; imported ones are not ours to decide."""
    with study.database.read() as tables:
        own = tables.hits.published_here()
        return sorted(a.id for a in tables.assignments.all() if a.status is AssignmentStatus.SUBMITTED and a.hit_uuid in own)


def _decide(
    study: Study,
    decisions: Sequence[Decision],
    status: AssignmentStatus,
    act: Callable[[Decision], None],
    stamp: Stamp,
    progress: Progress,
) -> DecisionCounts:
    with study.database.read() as tables:
        known = tables.assignments.get(decision.assignment_id for decision in decisions)
    for decision in decisions:
        if decision.assignment_id not in known:
            raise NotFoundError("no such answer has been collected", item=decision.assignment_id, remedy="Run: retest label collect")
    failures: dict[str, str] = {}
    decided = unchanged = 0
    with progress(f"{status} answers", total=len(decisions)) as advance:
        for decision in decisions:
            name, before = decision.assignment_id, known[decision.assignment_id].status
            try:
                act(decision)
            except CrowdError as error:  # this answer's own trouble; the others go on
                failures[name] = str(error)
            else:
                if before is status:
                    unchanged += 1
                else:
                    decided += 1
                    with study.database.write() as tables:
                        tables.assignments.set_status(name, status)
                        after = {"status": str(status), "feedback": decision.feedback}
                        tables.decisions.add(
                            time=stamp.time, user=stamp.user, kind="decide_answer", item=name, before={"status": str(before)}, after=after
                        )
            advance(1)
    return DecisionCounts(decided, unchanged, failures)


# Closing and deleting


@dataclass(frozen=True, slots=True)
class ClosingCounts:
    """How many HITs were closed (or deleted) and what went wrong, by HIT."""

    done: int
    failures: Mapping[str, str]


def expire(study: Study, crowd: Crowd, uuids: Iterable[str] | None = None, *, stamp: Stamp, progress: Progress = silent) -> ClosingCounts:
    """Stop handing published HITs out; answers that they still lack are no longer expected, so that they can be planned anew.

    Raises:
        NotFoundError: a HIT is not published by this study; nothing was done.
    """
    return _close(study, uuids, stamp, "Close HITs", crowd.expire, progress)


def delete(study: Study, crowd: Crowd, uuids: Iterable[str] | None = None, *, stamp: Stamp, progress: Progress = silent) -> ClosingCounts:
    """Remove finished HITs from the back end; the study keeps them and their answers. HITs with uncollected answers stay.

    Raises:
        CrowdError: the back end is live: HITs that were paid for are never deleted.
        NotFoundError: a HIT is not published by this study; nothing was done.
    """
    if crowd.live:
        raise CrowdError("paid HITs are never deleted", item=crowd.name, remedy="Close them with: retest label expire")
    with study.database.read() as tables:
        collected = {uuid: sum(counts.values()) for uuid, counts in tables.assignments.counts_by_hit().items()}

    def remove(hit: Hit) -> None:
        present = crowd.progress([hit]).get(hit.uuid)
        if present is not None and present.answered > collected.get(hit.uuid, 0):
            raise CrowdError("has answers that are not collected yet", item=hit.uuid, remedy="Run: retest label collect")
        crowd.delete(hit)

    return _close(study, uuids, stamp, "Delete HITs", remove, progress)


def _close(
    study: Study, uuids: Iterable[str] | None, stamp: Stamp, label: str, act: Callable[[Hit], None], progress: Progress
) -> ClosingCounts:
    with study.database.read() as tables:
        own, closed = tables.hits.published_here(), closed_hits(tables)
        published = {hit.uuid: hit for hit in tables.hits.all(submitted=True) if hit.uuid in own}
    chosen = list(published) if uuids is None else list(dict.fromkeys(uuids))
    for uuid in chosen:
        if uuid not in published:
            raise NotFoundError("no such HIT is published", item=uuid, remedy="See them with: retest label list")
    failures: dict[str, str] = {}
    with progress(label, total=len(chosen)) as advance:
        for uuid in chosen:
            try:
                act(published[uuid])
            except CrowdError as error:  # this HIT's own trouble; the others go on
                failures[uuid] = str(error)
            else:
                if uuid not in closed:
                    with study.database.write() as tables:
                        record_closed(tables, [uuid], label, stamp=stamp)
            advance(1)
    return ClosingCounts(len(chosen) - len(failures), failures)


# Study against crowd


@dataclass(frozen=True, slots=True)
class CrowdFinding:
    """A difference between study and back end, and what to do about it."""

    uuid: str
    kind: str
    problem: str
    remedy: str


_REMEDIES = {
    "missing_on_crowd": "Check the crowd settings; a HIT that was lost there is published again only as a new plan",
    "unknown_here": "It belongs to another study, or this study's database was put back; look at it on the back end",
    "not_marked_published": "Run retest label submit again: it finds the HIT and creates nothing",
    "other_number": "Run retest label plan after collecting; it asks for what is missing",
    "not_collected": "Run: retest label collect",
}


def check_crowd(study: Study, crowd: Crowd) -> list[CrowdFinding]:
    """Compare study and back end both ways; an empty list means that they agree.

    Kinds: ``missing_on_crowd``, ``unknown_here``, ``not_marked_published``, ``other_number`` (of assignments), ``not_collected``.
    """
    there = {published.uuid: published for published in crowd.published()}
    with study.database.read() as tables:
        hits = {hit.uuid: hit for hit in tables.hits.all()}
        own = tables.hits.published_here()  # imported HITs were published elsewhere, long ago
        wanted, closed = tables.hits.requested_assignments(), closed_hits(tables)
        counts = {uuid: sum(c.values()) for uuid, c in tables.assignments.counts_by_hit().items()}
    found: list[CrowdFinding] = []

    def add(uuid: str, kind: str, problem: str) -> None:
        found.append(CrowdFinding(uuid, kind, problem, _REMEDIES[kind]))

    for uuid, hit in hits.items():
        if uuid in own and uuid not in there and uuid not in closed:
            add(uuid, "missing_on_crowd", f"published as {hit.hit_id}, but the {crowd.name} does not show it")
    for uuid, published in there.items():
        if uuid not in hits:
            add(uuid, "unknown_here", f"the {crowd.name} has it as {published.hit_id}, the study does not know it")
        elif not hits[uuid].submitted:
            add(uuid, "not_marked_published", f"the {crowd.name} has it as {published.hit_id}, the study holds it for unpublished")
        elif published.assignments != wanted[uuid]:
            add(uuid, "other_number", f"{wanted[uuid]} assignments planned, {published.assignments} on the {crowd.name}")
    for uuid, item in crowd.progress([hits[uuid] for uuid in there if uuid in hits]).items():
        if item.answered > counts.get(uuid, 0):
            add(uuid, "not_collected", f"{item.answered - counts.get(uuid, 0)} answers are not collected")
    return found
