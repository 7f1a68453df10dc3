"""Mechanical Turk, or any server that speaks its requester protocol, as a crowd (needs the extra ``mturk``).

Nothing is bought twice: a HIT's uuid is its UniqueRequestToken, which the server remembers for at least 24 hours, and
its RequesterAnnotation, by which HITs published earlier are found again before anything is created.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any

from retest.crowd._mturk_calls import AMAZON_LIVE, AMAZON_SANDBOX, MTurkCallError, MTurkCalls, endpoint_of, make_client
from retest.crowd._mturk_hits import HitFinder, KnownHit
from retest.crowd.answers import read_answers, selected_images
from retest.crowd.base import HitProgress, HitTask, PublishedHit, RawAnswer, unknown_hit
from retest.crowd.page import html_question, page_fingerprint, render_page
from retest.crowd.parameters import CrowdParameters
from retest.crowd.workers import check_worker_key, hash_worker
from retest.errors import ConflictError, CrowdError, UsageError
from retest.records import Assignment, AssignmentStatus, Hit

__all__ = ["MTurkCrowd", "mturk_fee_cents"]

_SUBMIT_BASES = {AMAZON_LIVE: "https://www.mturk.com", AMAZON_SANDBOX: "https://workersandbox.mturk.com"}
_LONG_AGO = datetime(2015, 1, 1, tzinfo=UTC)


def mturk_fee_cents(*, assignments: int, reward_cents: int) -> int:
    """Mechanical Turk's fee for one HIT in cents: 20 % of the reward, 40 % from 10 assignments on, at least 1 cent each.

    Rounded up for each assignment, so that an estimate is never too low.
    """
    percent = 40 if assignments >= 10 else 20
    return assignments * max(1, -(-reward_cents * percent // 100))


class MTurkCrowd:
    """A :class:`~retest.crowd.Crowd` over the MTurk requester protocol.

    Args:
        parameters: ``backend`` is mturk or server; ``endpoint`` and ``live`` say which server.
        worker_key: at least 16 secret bytes; answers are stored under a keyed hash of the worker id.
        keys: (access key id, secret key). None uses boto3's usual places for Amazon, and no signature for other servers.
        client: a ready boto3 client, instead of making one.
        sleep, monotonic: waiting and the clock for it, replaceable in tests.
        now: the clock that tells whether a HIT's lifetime is over.

    Raises:
        ConfigError: if endpoint and ``live`` contradict each other.
        MissingExtraError: if boto3 is not installed.
        UsageError: if the key is too short.
    """

    def __init__(
        self,
        parameters: CrowdParameters,
        *,
        worker_key: bytes,
        keys: tuple[str, str] | None = None,
        client: Any = None,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        check_worker_key(worker_key)
        self.parameters = parameters
        self._endpoint = endpoint_of(parameters)
        self._worker_key, self._now = worker_key, now
        made = client if client is not None else make_client(self._endpoint, keys=keys)
        self._calls = MTurkCalls(made, name=self.name, sleep=sleep, jitter=random.Random().random)
        self._lock = threading.RLock()
        self._hits = HitFinder(self._calls, monotonic=monotonic)
        self._hit_types: dict[CrowdParameters, str] = {}

    @property
    def name(self) -> str:
        """Mechanical Turk, live or sandbox, or the address of another server."""
        if self._endpoint in _SUBMIT_BASES:
            return f"Mechanical Turk ({'live' if self.live else 'sandbox'})"
        return f"labelling server {self._endpoint}"

    @property
    def simulated(self) -> bool:
        """False: people answer."""
        return False

    @property
    def live(self) -> bool:
        """Whether publishing costs real money."""
        return self.parameters.live

    def cost_cents(self, *, assignments: int, reward_cents: int) -> int:
        """As in the contract; the sandbox tells what the same would cost live, other servers take no fee."""
        fee = mturk_fee_cents(assignments=assignments, reward_cents=reward_cents) if self._endpoint in _SUBMIT_BASES else 0
        return assignments * reward_cents + fee

    # Publishing

    def publish(self, task: HitTask) -> PublishedHit:
        """Create the HIT with the page as its HTMLQuestion, unless one with its uuid exists; see :meth:`Crowd.publish`.

        Raises:
            ConflictError: a HIT with this uuid shows another class or other images.
            UsageError: the page is too large, or has no images.
            CrowdError: the server refuses or cannot be reached; a repeat is safe.
        """
        hit = task.hit
        base = _SUBMIT_BASES.get(self._endpoint, self._endpoint)
        question = html_question(render_page(task, submit_bases=(base,)), item=hit.uuid)
        known = self._hits.lookup(hit, rescan=False)
        if known is None:
            made = self._create(task, question)
            if made is not None:
                return made
            known = self._hits.lookup(hit, rescan=True)
        if known is None:
            raise CrowdError(
                "the server says the HIT exists but does not show it", item=hit.uuid, remedy="Run the command again in a while"
            )
        if known.fingerprint != page_fingerprint(hit):
            raise ConflictError(
                f"HIT {known.hit_id} with this uuid but another class or other images is already published",
                item=hit.uuid,
                remedy="Give every planned HIT its own uuid",
            )
        return known.published(hit.uuid)

    def _create(self, task: HitTask, question: str) -> PublishedHit | None:
        """None if the HIT existed already; the index then holds it as far as the server told."""
        uuid = task.hit.uuid
        try:
            response = self._calls(
                "create_hit_with_hit_type",
                item=uuid,
                HITTypeId=self._hit_type(task.settings),
                MaxAssignments=task.assignments,
                LifetimeInSeconds=task.settings.lifetime_s,
                Question=question,
                RequesterAnnotation=uuid,
                UniqueRequestToken=uuid,
            )
        except MTurkCallError as error:
            if error.code != "HitAlreadyExists":
                raise
            self._hits.remember_named(uuid, error.problem)
            return None
        # The answer may lack optional members; what was asked for is what exists.
        known = KnownHit.of({"MaxAssignments": task.assignments, "Question": question, **response["HIT"]})
        self._hits.remember(uuid, known)
        return known.published(uuid, created=True)

    def _hit_type(self, settings: CrowdParameters) -> str:
        with self._lock:
            if settings not in self._hit_types:
                response = self._calls(
                    "create_hit_type",
                    item="HIT type",
                    AutoApprovalDelayInSeconds=settings.auto_approval_s,
                    AssignmentDurationInSeconds=settings.assignment_duration_s,
                    Reward=f"{settings.reward_cents // 100}.{settings.reward_cents % 100:02d}",
                    Title=settings.title,
                    Keywords=settings.keywords,
                    Description=settings.description,
                )
                self._hit_types[settings] = response["HITTypeId"]
            return self._hit_types[settings]

    def published(self) -> Iterator[PublishedHit]:
        """All HITs of the account that have a uuid and are not deleted."""
        for document in self._hits.listing():
            uuid = document.get("RequesterAnnotation")
            if uuid and document.get("HITStatus") != "Disposed":
                yield KnownHit.of(document).published(uuid)

    # Answers

    def progress(self, hits: Sequence[Hit]) -> Mapping[str, HitProgress]:
        """Progress by uuid; answers are listed only of HITs on which somebody has worked."""
        result = {}
        for hit, document in self._hits.documents(hits):
            places, free, pending = (
                document[name] for name in ("MaxAssignments", "NumberOfAssignmentsAvailable", "NumberOfAssignmentsPending")
            )
            answers = self._list_assignments(document["HITId"], hit.uuid) if free + pending < places else iter(())
            counts = dict.fromkeys(AssignmentStatus, 0)
            for answer in answers:
                counts[AssignmentStatus(answer["AssignmentStatus"])] += 1
            ended = document["Expiration"] <= self._now()
            result[hit.uuid] = HitProgress(
                uuid=hit.uuid,
                assignments=places,
                available=0 if ended else free,  # Amazon goes on counting places that nobody can take
                pending=pending,
                submitted=counts[AssignmentStatus.SUBMITTED],
                approved=counts[AssignmentStatus.APPROVED],
                rejected=counts[AssignmentStatus.REJECTED],
                ended=ended,
            )
        return result

    def collect(self, hits: Sequence[Hit], *, on_unreadable: Callable[[CrowdError], None] | None = None) -> Iterator[RawAnswer]:
        """All answers so far, ordered by HIT and submission, of annotators known by a keyed hash; see :meth:`Crowd.collect`."""
        for hit in hits:
            hit_id = self._hits.hit_id(hit)
            if hit_id is None:
                continue
            documents = sorted(self._list_assignments(hit_id, hit.uuid), key=lambda entry: (entry["SubmitTime"], entry["AssignmentId"]))
            for document in documents:
                try:
                    answer = self._answer(hit, document)
                except CrowdError as error:
                    if on_unreadable is None:
                        raise
                    on_unreadable(error)
                else:
                    yield answer

    def _answer(self, hit: Hit, document: Mapping[str, Any]) -> RawAnswer:
        name, content = document["AssignmentId"], document.get("Answer", "")
        fields = read_answers(content, item=name)
        assignment = Assignment(
            id=name,
            hit_uuid=hit.uuid,
            worker=hash_worker(self._worker_key, document["WorkerId"]),
            status=AssignmentStatus(document["AssignmentStatus"]),
            selected=selected_images(fields, hit, item=name),
            accept_time=document["AcceptTime"].astimezone(UTC).isoformat(),
            submit_time=document["SubmitTime"].astimezone(UTC).isoformat(),
        )
        return RawAnswer(assignment=assignment, content=content, worker_id=document["WorkerId"])

    def approve(self, assignment_id: str, *, feedback: str = "", override_rejection: bool = False) -> None:
        """Approve and pay an answer; see :meth:`Crowd.approve`."""
        arguments: dict[str, Any] = {"AssignmentId": assignment_id, "OverrideRejection": override_rejection}
        if feedback:
            arguments["RequesterFeedback"] = feedback
        self._decide("approve_assignment", AssignmentStatus.APPROVED, arguments)

    def reject(self, assignment_id: str, *, feedback: str) -> None:
        """Reject an answer, with the reason that the annotator reads; see :meth:`Crowd.reject`."""
        if not feedback.strip():
            raise UsageError("a rejection needs feedback", item=assignment_id, remedy="Tell the annotator why")
        self._decide("reject_assignment", AssignmentStatus.REJECTED, {"AssignmentId": assignment_id, "RequesterFeedback": feedback})

    def _decide(self, operation: str, wanted: AssignmentStatus, arguments: dict[str, Any]) -> None:
        name = arguments["AssignmentId"]
        try:
            self._calls(operation, item=name, **arguments)
        except MTurkCallError as error:
            if error.code != "InvalidAssignmentState":
                raise
            present = self._calls("get_assignment", item=name, AssignmentId=name)["Assignment"]["AssignmentStatus"]
            if present != wanted:
                raise

    # The life of a HIT

    def extend(self, hit: Hit, *, assignments: int) -> None:
        """Raise the number of assignments to a total; the request token keeps a repeat from adding more. See :meth:`Crowd.extend`."""
        document = self._present(hit)
        present = document["MaxAssignments"]
        if assignments < present:
            raise UsageError(
                f"has {present} assignments already, {assignments} is fewer", item=hit.uuid, remedy="Assignments can only be added"
            )
        if assignments == present:
            return
        try:
            self._calls(
                "create_additional_assignments_for_hit",
                item=hit.uuid,
                HITId=document["HITId"],
                NumberOfAdditionalAssignments=assignments - present,
                UniqueRequestToken=sha256(f"{hit.uuid} extended from {present} to {assignments}".encode()).hexdigest(),
            )
        except MTurkCallError:
            # A call that seemed to fail may have done its work.
            if self._present(hit)["MaxAssignments"] < assignments:
                raise

    def expire(self, hit: Hit) -> None:
        """Set the HIT's expiration into the past; see :meth:`Crowd.expire`."""
        document = self._present(hit)
        if document["Expiration"] <= _LONG_AGO:
            return
        try:
            self._calls("update_expiration_for_hit", item=hit.uuid, HITId=document["HITId"], ExpireAt=_LONG_AGO)
        except MTurkCallError:
            # Amazon refuses the same expiration twice ("idempotency token ... has already been processed").
            if self._present(hit)["HITStatus"] == "Assignable":
                raise

    def delete(self, hit: Hit) -> None:
        """Delete a finished HIT, never a paid one; see :meth:`Crowd.delete`."""
        if self.live:
            raise CrowdError("paid HITs are never deleted", item=hit.uuid, remedy="Let it expire; its answers stay on record")
        document = self._hits.document(hit)
        if document is None:
            raise unknown_hit(hit, self.name)
        if document["HITStatus"] == "Disposed":
            return
        try:
            self._calls("delete_hit", item=hit.uuid, HITId=document["HITId"])
        except MTurkCallError:
            again = self._hits.document(hit)
            if again is not None and again["HITStatus"] != "Disposed":
                raise

    def balance(self) -> int | None:
        """What the account holds, in whole cents."""
        available = self._calls("get_account_balance", item="account")["AvailableBalance"]
        return int(Decimal(available) * 100)

    def _present(self, hit: Hit) -> dict[str, Any]:
        document = self._hits.document(hit)
        if document is None or document["HITStatus"] == "Disposed":
            raise unknown_hit(hit, self.name)
        return document

    def _list_assignments(self, hit_id: str, uuid: str) -> Iterator[dict[str, Any]]:
        try:
            yield from self._calls.pages("list_assignments_for_hit", "Assignments", item=uuid, HITId=hit_id)
        except MTurkCallError as error:
            if error.code != "HITDoesNotExist":
                raise
