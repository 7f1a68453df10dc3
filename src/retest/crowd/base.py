"""The seam of the crowd: what every back end that answers HITs can do, and what it promises.

The words are Mechanical Turk's (method, section 4): a *HIT* is one page of images for one class, an *assignment* is
one annotator's answer to it. Money is counted in whole cents, durations in seconds, times are ISO-8601 in UTC.

All back ends pass the same conformance suite, :class:`retest.testing.crowd.CrowdContract`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from retest.crowd.parameters import CrowdParameters
from retest.errors import CrowdError, UsageError
from retest.records import Assignment, AssignmentStatus, ClassInfo, Hit

__all__ = ["Crowd", "HitProgress", "HitTask", "PublishedHit", "RawAnswer", "check_hit", "progress_histogram"]

MAX_UUID_LENGTH = 64
"""A HIT's uuid serves as UniqueRequestToken (at most 64 characters) and as RequesterAnnotation (at most 255)."""


@dataclass(frozen=True, slots=True)
class HitTask:
    """A HIT with everything a back end needs to show it.

    ``image_urls[i]`` is the opaque URL under which ``hit.images_all[i]`` is shown (method, section 3); back ends that
    show no page, such as the simulated crowd, accept an empty tuple. ``settings`` holds reward, durations and the
    page's texts. ``assignments`` is the number of different annotators wanted; 0 stands for ``settings.assignments``.

    Raises:
        UsageError: if the HIT or the number of URLs or assignments is not what it must be.
    """

    hit: Hit
    info: ClassInfo
    image_urls: tuple[str, ...] = ()
    settings: CrowdParameters = field(default_factory=CrowdParameters)
    assignments: int = 0

    def __post_init__(self) -> None:
        check_hit(self.hit)
        if self.info.wnid != self.hit.wnid:
            raise UsageError(
                f"the page describes class {self.info.wnid!r}, the HIT is for {self.hit.wnid!r}",
                item=self.hit.uuid,
                remedy="Pass the ClassInfo of the HIT's own class",
            )
        if self.image_urls and len(self.image_urls) != len(self.hit.images_all):
            raise UsageError(
                f"{len(self.image_urls)} image URLs for {len(self.hit.images_all)} images",
                item=self.hit.uuid,
                remedy="Pass one opaque URL per entry of images_all, in its order",
            )
        if self.assignments < 0:
            raise UsageError(f"{self.assignments} assignments", item=self.hit.uuid, remedy="Ask for at least one")
        if self.assignments == 0:
            object.__setattr__(self, "assignments", self.settings.assignments)


def check_hit(hit: Hit) -> None:
    """Check what every back end relies on.

    Raises:
        UsageError: if the uuid is empty or longer than 64 characters, or ``images_all`` is empty, repeats an image or
            is not a permutation of the images to label and the controls.
    """
    if not 0 < len(hit.uuid) <= MAX_UUID_LENGTH:
        raise UsageError(
            f"a HIT's uuid has 1 to {MAX_UUID_LENGTH} characters, this one has {len(hit.uuid)}",
            item=hit.uuid or "(empty)",
            remedy="Use a UUID; it becomes the UniqueRequestToken of the published HIT",
        )
    parts = Counter(hit.images_to_label + hit.images_pos_control + hit.images_neg_control)
    if not hit.images_all or Counter(hit.images_all) != parts:
        raise UsageError(
            "images_all is not a permutation of the images to label and the controls",
            item=hit.uuid,
            remedy="Plan the HIT again",
        )
    repeated = sorted(image for image, count in parts.items() if count > 1)
    if repeated:
        raise UsageError(f"image {repeated[0]!r} is shown twice", item=hit.uuid, remedy="Plan the HIT again")


@dataclass(frozen=True, slots=True)
class PublishedHit:
    """A HIT as the back end knows it. ``created`` is True only in the answer to the call that created it."""

    uuid: str
    hit_id: str
    hit_type_id: str
    assignments: int
    created: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class HitProgress:
    """How far one HIT is: numbers of assignments.

    ``available`` can still be taken, ``pending`` are being worked on, the others are answered. ``ended`` says that nobody new can
    take the HIT, because its lifetime is over or it was closed; then ``available`` is 0.
    """

    uuid: str
    assignments: int
    available: int = 0
    pending: int = 0
    submitted: int = 0
    approved: int = 0
    rejected: int = 0
    ended: bool = False

    @property
    def answered(self) -> int:
        """Answers that came in, whatever became of them."""
        return self.submitted + self.approved + self.rejected

    @property
    def valid(self) -> int:
        """Submitted or approved: those that count in the selection frequency (method, section 5)."""
        return self.submitted + self.approved

    @property
    def outstanding(self) -> int:
        """Answers that may still come."""
        return self.available + self.pending

    @classmethod
    def of(cls, uuid: str, *, assignments: int, statuses: Iterable[AssignmentStatus], pending: int = 0, open_: bool = True) -> HitProgress:
        """Count statuses; ``open_`` says whether annotators can still take the HIT."""
        counts = Counter(statuses)
        answered = sum(counts.values())
        return cls(
            uuid=uuid,
            assignments=assignments,
            available=max(assignments - answered - pending, 0) if open_ else 0,
            pending=pending,
            submitted=counts[AssignmentStatus.SUBMITTED],
            approved=counts[AssignmentStatus.APPROVED],
            rejected=counts[AssignmentStatus.REJECTED],
            ended=not open_,
        )


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """What came in, beside what it means.

    ``content`` is the answer exactly as the back end delivered it. ``worker_id`` is the back end's own id of the
    annotator: personal data, kept apart from the study and deletable, and never printed by ``repr``; None where the
    annotator is simulated or the back end itself keeps only the hash.
    """

    assignment: Assignment
    content: str
    worker_id: str | None = field(default=None, repr=False)


@runtime_checkable
class Crowd(Protocol):
    """A back end that shows HITs to annotators and brings their answers back.

    Contract, for every implementation:

    - HITs are known by their ``uuid``, whatever ids the back end adds (``PublishedHit`` hands those out).
    - Every HIT gets answers from ``assignments`` *different* annotators; no annotator answers the same HIT twice.
    - An answer, once given, never changes; only its status does (Submitted -> Approved or Rejected, Rejected -> Approved).
    - All methods can be repeated after any failure (a time-out after the work was done, a kill) without a second effect.
    - Failures of the back end are :class:`~retest.errors.CrowdError`; wrong arguments are
      :class:`~retest.errors.UsageError`. Nothing is printed.
    - Methods may be called from several threads.
    """

    @property
    def name(self) -> str:
        """Short name for reports. Contains "simulated" if and only if :attr:`simulated`."""
        ...

    @property
    def simulated(self) -> bool:
        """True if no person answers; results say so wherever they show."""
        ...

    @property
    def live(self) -> bool:
        """True if publishing costs real money."""
        ...

    def cost_cents(self, *, assignments: int, reward_cents: int) -> int:
        """Return what one HIT costs in whole cents, rewards and fees together, rounded up; 0 where nothing is paid."""
        ...

    def publish(self, task: HitTask) -> PublishedHit:
        """Show a HIT to annotators; idempotent by ``task.hit.uuid``.

        The uuid is the HIT's RequesterAnnotation and UniqueRequestToken. A repeat returns the HIT that exists, with
        ``created`` False, and never creates (or pays for) a second one; also when the first call seemed to fail.

        Raises:
            ConflictError: if a HIT with this uuid but another class, other images or another order exists.
            UsageError: if the back end cannot show such a task (too many assignments, page too large, no URLs).
            CrowdError: if the back end refuses or fails; a repeat is safe.
        """
        ...

    def published(self) -> Iterator[PublishedHit]:
        """All HITs of this account that the back end still knows, in no particular order (for the check both ways)."""
        ...

    def progress(self, hits: Sequence[Hit]) -> Mapping[str, HitProgress]:
        """Return progress by uuid. HITs that the back end does not know are absent from the result."""
        ...

    def collect(self, hits: Sequence[Hit], *, on_unreadable: Callable[[CrowdError], None] | None = None) -> Iterator[RawAnswer]:
        """All answers to these HITs so far, of every status, ordered by HIT as given, then by submission.

        Repeated calls repeat the answers: ``assignment.id`` identifies them. HITs that the back end does not know
        yield nothing. ``assignment.selected`` follows the order of ``images_all``. ``assignment.worker`` is a keyed
        hash, or a simulated name that starts with "simulated".

        Args:
            hits: which HITs; they carry the back end's ids and map the answers to images.
            on_unreadable: called with the error for each answer that cannot be read (it names the assignment), which is
                then left out: answers come from strangers, and one bad answer should not keep the others away.

        Raises:
            CrowdError: if the back end fails; without ``on_unreadable`` also if an answer cannot be read.
        """
        ...

    def approve(self, assignment_id: str, *, feedback: str = "", override_rejection: bool = False) -> None:
        """Approve (and pay) a submitted assignment; approving an approved one changes nothing.

        Raises:
            CrowdError: if there is no such assignment, or it is rejected and ``override_rejection`` is False.
        """
        ...

    def reject(self, assignment_id: str, *, feedback: str) -> None:
        """Reject a submitted assignment; it never counts. Rejecting a rejected one changes nothing.

        Raises:
            UsageError: if ``feedback``, which the annotator sees, is blank.
            CrowdError: if there is no such assignment, or it is approved.
        """
        ...

    def extend(self, hit: Hit, *, assignments: int) -> None:
        """Raise a HIT's number of assignments to this total (not by it, so a repeat has no second effect).

        Raises:
            CrowdError: if the HIT is unknown, deleted, or the back end does not allow the new total.
            UsageError: if the total is lower than the present one.
        """
        ...

    def expire(self, hit: Hit) -> None:
        """Stop handing the HIT out; those at work may finish. Repeats change nothing.

        Raises:
            CrowdError: if the HIT is unknown.
        """
        ...

    def delete(self, hit: Hit) -> None:
        """Remove a finished HIT from the back end; repeats change nothing.

        Raises:
            CrowdError: if the back end is :attr:`live` (paid HITs are never deleted), if annotators can still answer
                (expire it first), if an answer is still undecided (approve or reject it), or if the HIT is unknown.
        """
        ...

    def balance(self) -> int | None:
        """Money available for publishing, in whole cents; None where the back end knows no money."""
        ...


def progress_histogram(progress: Mapping[str, HitProgress]) -> dict[int, int]:
    """How many HITs have 0, 1, ... n submitted or approved assignments (method, section 4).

    Returns:
        Keys 0 .. n without gaps, n the largest number of assignments asked for or received.
    """
    counts = Counter(item.valid for item in progress.values())
    top = max((max(item.assignments, item.valid) for item in progress.values()), default=-1)
    return {number: counts[number] for number in range(top + 1)}


def unknown_hit(hit: Hit, crowd: str) -> CrowdError:
    """The error for a HIT that a back end does not know."""
    return CrowdError(f"the {crowd} has no such HIT", item=hit.uuid, remedy="Publish it first, or check the crowd setting")
