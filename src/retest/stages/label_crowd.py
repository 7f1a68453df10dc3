"""Stage: published HITs on a crowd back end: progress, decisions about answers, closing, deleting, the check both ways."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from retest.crowd import Crowd, progress_histogram
from retest.errors import CrowdError, NotFoundError, UsageError
from retest.records import AssignmentStatus, Hit
from retest.stages._closing import record_closed
from retest.stages._common import Progress, Stamp, silent
from retest.stages._hit_pages import asked_pages, published_pages
from retest.store.hit_pages import HitEntry
from retest.study import Study

_SUMMED = ("assignments", "valid", "rejected", "pending", "available")
_LINES_AT_ONCE = 2000
_CLOSED_AT_ONCE = 200


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
        until = tables.hit_pages.newest()
    histogram: Counter[int] = Counter()
    sums = Counter(dict.fromkeys(_SUMMED, 0))
    hits = known = ended = 0
    for page in asked_pages(study, until=until, include_excluded=False):
        found = crowd.progress(page)
        histogram.update(progress_histogram(found))
        for item in found.values():
            sums.update({name: getattr(item, name) for name in _SUMMED})
            ended += item.ended and not item.pending and item.answered < item.assignments
        hits, known = hits + len(page), known + len(found)
    by_number = {number: histogram[number] for number in range(max(histogram, default=-1) + 1)}
    return CrowdProgress(histogram=by_number, hits=hits, unknown=hits - known, ended=ended, **sums)


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


def list_hits(study: Study, *, state: str | None = None) -> Iterator[HitRow]:
    """The HITs in the order in which they were planned, read page by page; those in one state if ``state`` is given."""
    after = 0
    while True:
        with study.database.read() as tables:
            page = tables.hit_pages.lines(after=after, limit=_LINES_AT_ONCE)
        if not page:
            return
        for line in page:
            found = "excluded" if line.excluded else "closed" if line.closed else "published" if line.submitted else "planned"
            if state in (None, found):
                yield HitRow(
                    line.uuid, line.wnid, found, line.hit_id or "", line.assignments, line.valid, line.rejected, line.images_to_label
                )
        after = page[-1].no


def unknown_hits(study: Study, uuids: Iterable[str]) -> list[str]:
    """Those of these uuids that are no HITs of the study."""
    wanted = list(uuids)
    with study.database.read() as tables:
        known = tables.hit_pages.lines_of(wanted)
    return [uuid for uuid in wanted if uuid not in known]


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
        return tables.hit_pages.undecided_answers()


def _decide(
    study: Study,
    decisions: Sequence[Decision],
    status: AssignmentStatus,
    act: Callable[[Decision], None],
    stamp: Stamp,
    progress: Progress,
) -> DecisionCounts:
    with study.database.read() as tables:
        known = tables.hit_pages.answer_statuses(decision.assignment_id for decision in decisions)
    for decision in decisions:
        if decision.assignment_id not in known:
            raise NotFoundError("no such answer has been collected", item=decision.assignment_id, remedy="Run: retest label collect")
    failures: dict[str, str] = {}
    decided = unchanged = 0
    with progress(f"{status} answers", total=len(decisions)) as advance:
        for decision in decisions:
            name, before = decision.assignment_id, known[decision.assignment_id]
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

    def remove(hit: Hit) -> None:
        present = crowd.progress([hit]).get(hit.uuid)
        with study.database.read() as tables:
            collected = tables.hit_pages.answers_of([hit.uuid]).get(hit.uuid, 0)
        if present is not None and present.answered > collected:
            raise CrowdError("has answers that are not collected yet", item=hit.uuid, remedy="Run: retest label collect")
        crowd.delete(hit)

    return _close(study, uuids, stamp, "Delete HITs", remove, progress)


def _close(
    study: Study, uuids: Iterable[str] | None, stamp: Stamp, label: str, act: Callable[[Hit], None], progress: Progress
) -> ClosingCounts:
    pages, total = _published(study, uuids)
    failures: dict[str, str] = {}
    with progress(label, total=total) as advance:
        for page in pages:
            with study.database.read() as tables:
                closed = tables.hit_pages.closed_among(entry.hit.uuid for entry in page)
            for entry in page:
                uuid = entry.hit.uuid
                try:
                    act(entry.hit)
                except CrowdError as error:  # this HIT's own trouble; the others go on
                    failures[uuid] = str(error)
                else:
                    if uuid not in closed:
                        with study.database.write() as tables:
                            record_closed(tables, [uuid], label, stamp=stamp)
                advance(1)
    return ClosingCounts(total - len(failures), failures)


def _published(study: Study, uuids: Iterable[str] | None) -> tuple[Iterable[list[HitEntry]], int]:
    """The HITs that this study published itself, all or those named, in pages; and how many they are."""
    if uuids is None:
        with study.database.read() as tables:
            until, total = tables.hit_pages.newest(), tables.hit_pages.count_published()
        return published_pages(study, until=until, size=_CLOSED_AT_ONCE), total
    chosen = list(dict.fromkeys(uuids))
    with study.database.read() as tables:
        found = tables.hit_pages.published_among(chosen)
    for uuid in chosen:
        if uuid not in found:
            raise NotFoundError("no such HIT is published", item=uuid, remedy="See them with: retest label list")
    return [[found[uuid] for uuid in chosen]], len(chosen)


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
    found: list[CrowdFinding] = []

    def add(uuid: str, kind: str, problem: str) -> None:
        found.append(CrowdFinding(uuid, kind, problem, _REMEDIES[kind]))

    with study.database.read() as tables:
        until = tables.hit_pages.newest()
        known = tables.hit_pages.lines_of(there)
    for page in asked_pages(study, until=until):  # imported HITs were published elsewhere, long ago
        with study.database.read() as tables:
            closed = tables.hit_pages.closed_among(hit.uuid for hit in page)
        for hit in page:
            if hit.uuid not in there and hit.uuid not in closed:
                add(hit.uuid, "missing_on_crowd", f"published as {hit.hit_id}, but the {crowd.name} does not show it")
    for uuid, published in there.items():
        line = known.get(uuid)
        if line is None:
            add(uuid, "unknown_here", f"the {crowd.name} has it as {published.hit_id}, the study does not know it")
        elif not line.submitted:
            add(uuid, "not_marked_published", f"the {crowd.name} has it as {published.hit_id}, the study holds it for unpublished")
        elif published.assignments != line.assignments:
            add(uuid, "other_number", f"{line.assignments} assignments planned, {published.assignments} on the {crowd.name}")
    asked = [Hit(line.uuid, line.wnid, (), (), (), (), submitted=line.submitted, hit_id=line.hit_id) for line in known.values()]
    received = {uuid: line.received for uuid, line in known.items()}
    progress = crowd.progress(asked)
    for uuid in there:
        if uuid in progress and (lacking := progress[uuid].answered - received[uuid]) > 0:
            add(uuid, "not_collected", f"{lacking} answers are not collected")
    return found
