"""The annotators' side: leases, drafts, submissions; under concurrency, over time and through kill -9."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from crowd_http_server import Clock
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from retest.crowd.answers import read_answers
from retest.crowd.page import html_question
from retest.crowd.taskserver import (
    LeaseStatus,
    ProtocolError,
    RequesterApi,
    SqliteTaskRepository,
    TaskDesk,
    TaskRefusedError,
    new_entity_id,
)
from retest.errors import CrowdError, StoreError, UsageError

DURATION_S = 600
HIT = {
    "Title": "Label images",
    "Description": "Select",
    "Reward": "0.10",
    "AssignmentDurationInSeconds": DURATION_S,
    "LifetimeInSeconds": 86_400,
    "AutoApprovalDelayInSeconds": 86_400,
    "Question": html_question("<p>Which?</p>", item="x"),
}


class World:
    """A repository with both of its sides and a clock."""

    def __init__(self, path=None) -> None:
        self.clock = Clock()
        self.repository = SqliteTaskRepository(path)
        self.desk = TaskDesk(self.repository, now=self.clock)
        self.api = RequesterApi(self.repository, now=self.clock)

    def hit(self, places: int = 2, **changes) -> str:
        return self.api.handle("CreateHIT", {**HIT, "MaxAssignments": places, **changes})["HIT"]["HITId"]

    def state(self, hit_id: str) -> tuple[str, int, int, int]:
        hit = self.api.handle("GetHIT", {"HITId": hit_id})["HIT"]
        done = self.api.handle("ListAssignmentsForHIT", {"HITId": hit_id, "MaxResults": 100})["NumResults"]
        return hit["HITStatus"], hit["NumberOfAssignmentsAvailable"], hit["NumberOfAssignmentsPending"], done


@pytest.fixture
def world():
    return World()


def refused(reason: str):
    """A refusal for this reason, in words for the annotator and with a way on."""
    return pytest.raises(TaskRefusedError, check=lambda error: error.reason == reason and bool(error.remedy))


def fields_of(assignment) -> dict[str, str]:
    return read_answers(assignment.answer, item=assignment.id)


# Leases


def test_a_place_is_taken_and_answered(world):
    hit = world.hit()
    lease = world.desk.accept(hit, "AONE")
    assert (lease.hit_id, lease.deadline - lease.accepted_at) == (hit, DURATION_S)
    assert world.state(hit) == ("Assignable", 1, 1, 0)
    world.clock.at += 50
    done = world.desk.submit(lease.assignment_id, [("assignmentId", lease.assignment_id), ("select-2", "1")])
    assert (done.status, done.submitted_at - done.accepted_at) == (LeaseStatus.SUBMITTED, 50)
    assert fields_of(done) == {"select-2": "1"}
    assert world.state(hit) == ("Assignable", 1, 0, 1)


def test_reloading_the_page_keeps_the_lease(world):
    hit = world.hit()
    lease = world.desk.accept(hit, "AONE")
    world.clock.at += 10
    assert world.desk.accept(hit, "AONE") == lease
    assert world.desk.accept_any("AONE") == lease
    assert world.state(hit) == ("Assignable", 1, 1, 0)


def test_no_annotator_answers_a_hit_twice(world):
    hit = world.hit(places=3)
    world.desk.submit(world.desk.accept(hit, "AONE").assignment_id, [])
    with refused("answered"):
        world.desk.accept(hit, "AONE")
    assert world.desk.accept_any("AONE") is None


def test_no_more_places_than_asked_for(world):
    hit = world.hit(places=2)
    for worker in ("AONE", "ATWO"):
        world.desk.accept(hit, worker)
    with refused("full"):
        world.desk.accept(hit, "ATHREE")
    world.clock.at += DURATION_S - 1
    with refused("full"):
        world.desk.accept(hit, "ATHREE")


def test_an_expired_lease_frees_its_place(world):
    hit = world.hit(places=1)
    late = world.desk.accept(hit, "AONE")
    world.clock.at += DURATION_S
    assert world.desk.assignment(late.assignment_id).status is LeaseStatus.ABANDONED
    other = world.desk.accept(hit, "ATWO")
    with refused("lease_over"):
        world.desk.submit(late.assignment_id, [])
    world.desk.submit(other.assignment_id, [])
    with refused("lease_over"):
        world.desk.submit(late.assignment_id, [])
    assert world.state(hit) == ("Reviewable", 0, 0, 1)


def test_a_late_answer_counts_while_its_place_is_free(world):
    hit = world.hit(places=1)
    late = world.desk.accept(hit, "AONE")
    world.clock.at += 10 * DURATION_S
    assert world.desk.submit(late.assignment_id, []).status is LeaseStatus.SUBMITTED
    assert world.state(hit) == ("Reviewable", 0, 0, 1)


def test_who_comes_back_late_goes_on_with_the_same_assignment(world):
    hit = world.hit(places=1)
    late = world.desk.accept(hit, "AONE")
    world.desk.save(late.assignment_id, [("select-1", "1")])
    world.clock.at += 2 * DURATION_S
    again = world.desk.accept(hit, "AONE")
    assert again.assignment_id == late.assignment_id
    assert again.deadline == world.clock.at + DURATION_S
    assert world.desk.draft(again.assignment_id) == [("select-1", "1")]


def test_a_returned_task_is_offered_to_others_only(world):
    hit = world.hit(places=1)
    lease = world.desk.accept(hit, "AONE")
    world.desk.save(lease.assignment_id, [("select-1", "1")])
    for _ in range(2):
        world.desk.give_back(lease.assignment_id)
    with refused("returned"):
        world.desk.accept(hit, "AONE")
    with refused("returned"):
        world.desk.submit(lease.assignment_id, [])
    with refused("returned"):
        world.desk.save(lease.assignment_id, [])
    assert world.desk.accept_any("AONE") is None
    assert world.desk.accept_any("ATWO").hit_id == hit
    assert world.desk.draft(lease.assignment_id) == []


def test_closed_hits_take_nobody_new(world):
    hit = world.hit(LifetimeInSeconds=30)
    lease = world.desk.accept(hit, "AONE")
    world.clock.at += 30
    with refused("expired"):
        world.desk.accept(hit, "ATWO")
    assert world.desk.accept_any("ATWO") is None
    assert world.desk.submit(lease.assignment_id, []).status is LeaseStatus.SUBMITTED


def test_unknown_things_are_refused(world):
    for call in (world.desk.preview, world.desk.assignment, world.desk.draft, world.desk.give_back):
        with refused("unknown"):
            call("NOSUCH")
    with refused("unknown"):
        world.desk.accept("NOSUCH", "AONE")
    for call in (world.desk.save, world.desk.submit):
        with refused("unknown"):
            call("NOSUCH", [])


@pytest.mark.parametrize("worker", ["", "BONE", "Aone", "A", "A" * 65, "A-1", "AONE\n", "A'; DROP TABLE hits"])
def test_worker_ids_have_mechanical_turks_form(world, worker):
    with pytest.raises(UsageError, match="a worker id is an A followed by"):
        world.desk.accept(world.hit(), worker)
    with pytest.raises(UsageError):
        world.desk.accept_any(worker)


# Which HIT is next


def test_an_annotator_walks_through_all_hits_once(world):
    hits = [world.hit(places=2) for _ in range(6)]
    seen = []
    while (lease := world.desk.accept_any("AONE")) is not None:
        seen.append(lease.hit_id)
        world.desk.submit(lease.assignment_id, [])
    assert seen == hits
    extended = world.hit(places=1)
    assert world.desk.accept_any("AONE").hit_id == extended


def test_hits_that_were_full_are_found_again(world):
    first, second = world.hit(places=1), world.hit(places=1)
    busy = world.desk.accept(first, "ATWO")
    lease = world.desk.accept_any("AONE")
    assert lease.hit_id == second
    world.desk.submit(lease.assignment_id, [])
    world.desk.give_back(busy.assignment_id)
    assert world.desk.accept_any("AONE").hit_id == first


# Drafts and submissions


def test_the_last_draft_wins_and_ends_with_the_submission(world):
    lease = world.desk.accept(world.hit(), "AONE")
    assert world.desk.draft(lease.assignment_id) == []
    for fields in ([("select-1", "1")], [("select-2", "1"), ("assignmentId", "x"), ("note", 'a"b')]):
        world.desk.save(lease.assignment_id, fields)
    assert world.desk.draft(lease.assignment_id) == [("select-2", "1"), ("note", 'a"b')]
    world.desk.submit(lease.assignment_id, [("select-3", "1")])
    assert world.desk.draft(lease.assignment_id) == []
    with refused("answered"):
        world.desk.save(lease.assignment_id, [("select-4", "1")])


def test_an_answer_is_submitted_once(world):
    hit = world.hit()
    lease = world.desk.accept(hit, "AONE")
    first = world.desk.submit(lease.assignment_id, [("select-1", "1")])
    world.clock.at += 5
    assert world.desk.submit(lease.assignment_id, [("select-2", "1")]) == first
    with refused("answered"):
        world.desk.give_back(lease.assignment_id)
    world.api.handle("RejectAssignment", {"AssignmentId": lease.assignment_id, "RequesterFeedback": "no"})
    again = world.desk.submit(lease.assignment_id, [("select-3", "1")])
    assert (again.status, fields_of(again)) == (LeaseStatus.REJECTED, {"select-1": "1"})


def test_answers_have_a_largest_size(world):
    lease = world.desk.accept(world.hit(), "AONE")
    for call in (world.desk.save, world.desk.submit):
        with refused("too_large"):
            call(lease.assignment_id, [("note", "x" * 70_000)])
    assert world.desk.assignment(lease.assignment_id).status is LeaseStatus.ACCEPTED


def test_deleted_hits_take_no_late_answers(world):
    hit = world.hit(places=1)
    late = world.desk.accept(hit, "AONE")
    world.clock.at += 2 * 86_400
    world.api.handle("DeleteHIT", {"HITId": hit})
    with refused("lease_over"):
        world.desk.submit(late.assignment_id, [])
    with refused("expired"):
        world.desk.accept(hit, "ATWO")


def test_refusals_cross_processes():
    for error in (
        TaskRefusedError("Closed", reason="expired", remedy="Take another"),
        ProtocolError("no", kind="X", code="Y", http_status=403, remedy="z"),
    ):
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), vars(copy), str(copy)) == (type(error), vars(error), str(error))


def test_secrets_do_not_show_in_logs(world):
    lease = world.desk.accept(world.hit(), "ASECRETWORKER")
    assert "ASECRETWORKER" not in repr(lease)
    assert "ASECRETWORKER" not in repr(world.desk.submit(lease.assignment_id, []))


def test_ids_cannot_be_guessed():
    ids = {new_entity_id() for _ in range(2000)}
    assert len(ids) == 2000
    assert all(len(name) == 30 and name.isalnum() and name.upper() == name for name in ids)
    counts = Counter("".join(ids))
    assert len(counts) == 36
    assert max(counts.values()) < 1.2 * min(counts.values())


# Any sequence of events, against a model


def outcome(call, *arguments):
    """(result, refusal), one of them None."""
    try:
        return call(*arguments), None
    except CrowdError as error:
        return None, error


class DeskMachine(RuleBasedStateMachine):
    """Annotators and time do what they like; the model is a dictionary per HIT."""

    @initialize(places=st.lists(st.integers(1, 3), min_size=1, max_size=3))
    def publish(self, places):
        self.world = World()
        self.places = {self.world.hit(places=number, LifetimeInSeconds=31_536_000): number for number in places}
        self.answers: dict[str, dict[str, str]] = {}  # assignment -> fields as first submitted
        self.leases: dict[tuple[str, str], str] = {}  # (HIT, worker) -> assignment

    worker = st.sampled_from(["AONE", "ATWO", "ATHREE", "AFOUR"])
    pick = st.integers(0, 100)

    def hit(self, number):
        return list(self.places)[number % len(self.places)]

    @rule(worker=worker, number=pick)
    def accept(self, worker, number):
        hit = self.hit(number)
        free = self.world.state(hit)[1]
        lease, refusal = outcome(self.world.desk.accept, hit, worker)
        if lease is not None:
            assert self.leases.setdefault((hit, worker), lease.assignment_id) == lease.assignment_id
        elif refusal.reason == "full":
            assert free == 0
        else:
            assert (hit, worker) in self.leases

    @rule(worker=worker)
    def accept_any(self, worker):
        lease = self.world.desk.accept_any(worker)
        if lease is None:
            for hit in self.places:
                assert (hit, worker) in self.leases or self.world.state(hit)[1] == 0
        else:
            assert self.leases.setdefault((lease.hit_id, worker), lease.assignment_id) == lease.assignment_id

    @rule(number=pick, choice=st.integers(0, 9))
    def submit(self, number, choice):
        if self.leases:
            name = list(self.leases.values())[number % len(self.leases)]
            done, refusal = outcome(self.world.desk.submit, name, [(f"select-{choice}", "1")])
            if done is None:
                assert refusal.reason in ("returned", "lease_over")
                assert name not in self.answers
            else:
                assert self.answers.setdefault(name, fields_of(done)) == fields_of(done)

    @rule(number=pick)
    def give_back(self, number):
        if self.leases:
            name = list(self.leases.values())[number % len(self.leases)]
            _, refusal = outcome(self.world.desk.give_back, name)
            assert (refusal is not None) == (name in self.answers)

    @rule(seconds=st.sampled_from([1, 200, DURATION_S, 3 * DURATION_S, 86_400]))
    def wait(self, seconds):
        self.world.clock.at += seconds

    @rule(number=pick)
    def extend(self, number):
        hit = self.hit(number)
        if self.places[hit] < 5:
            self.world.api.handle("CreateAdditionalAssignmentsForHIT", {"HITId": hit, "NumberOfAdditionalAssignments": 1})
            self.places[hit] += 1

    @rule(number=pick)
    def decide(self, number):
        if self.answers:
            name = list(self.answers)[number % len(self.answers)]
            request = {"AssignmentId": name, "RequesterFeedback": "no"}
            before = self.world.desk.assignment(name).status
            _, refusal = outcome(self.world.api.handle, "RejectAssignment", request)
            assert (refusal is None) == (before is LeaseStatus.SUBMITTED)
            assert self.world.desk.assignment(name).status in (LeaseStatus.REJECTED, before)

    @invariant()
    def every_hit_adds_up(self):
        for hit, places in self.places.items():
            status, free, pending, answered = self.world.state(hit)
            assert free + pending + answered == places
            assert answered == sum(name in self.answers for (of, _), name in self.leases.items() if of == hit)
            assert status == ("Assignable" if free else "Unassignable" if pending else "Reviewable")
            listed = self.world.api.handle("ListAssignmentsForHIT", {"HITId": hit, "MaxResults": 100})["Assignments"]
            assert len({entry["WorkerId"] for entry in listed}) == answered
            for entry in listed:
                assert read_answers(entry["Answer"], item="x") == self.answers[entry["AssignmentId"]]

    @invariant()
    def the_counter_agrees_with_the_rows(self):
        with self.world.repository.reading() as session:
            rows = session._db.execute("SELECT id, taken FROM hits").fetchall()
            assert dict(rows) == {hit: session.hit(hit).taken for hit in self.places}


DeskMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestAnySequence = DeskMachine.TestCase


# Concurrency and death


def test_many_annotators_at_once_fill_every_place_once(tmp_path):
    world = World(tmp_path / "tasks.db")
    hits = [world.hit(places=3) for _ in range(5)]
    start = threading.Barrier(12)

    def annotator(number: int) -> None:
        # Each has its own connection, as workers of a server in several processes do.
        desk = TaskDesk(SqliteTaskRepository(tmp_path / "tasks.db"), now=world.clock)
        start.wait()
        while (lease := desk.accept_any(f"A{number}")) is not None:
            desk.submit(lease.assignment_id, [(f"select-{number}", "1")])

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(annotator, range(12)))
    for hit in hits:
        assert world.state(hit) == ("Reviewable", 0, 0, 3)
        listed = world.api.handle("ListAssignmentsForHIT", {"HITId": hit})["Assignments"]
        assert len({entry["WorkerId"] for entry in listed}) == 3


ANNOTATOR = """
import sys
from retest.crowd.taskserver import SqliteTaskRepository, TaskDesk
desk = TaskDesk(SqliteTaskRepository(sys.argv[1]), now=lambda: 1_800_000_000.0)
while (lease := desk.accept_any("AWORKER")) is not None:
    print("accepted", lease.assignment_id, flush=True)
    desk.submit(lease.assignment_id, [("select-1", "1")])
    print("submitted", lease.assignment_id, flush=True)
"""


def test_kill_9_loses_no_submitted_answer(tmp_path):
    world = World(tmp_path / "tasks.db")
    for _ in range(400):
        world.hit(places=1)
    process = subprocess.Popen([sys.executable, "-c", ANNOTATOR, str(tmp_path / "tasks.db")], stdout=subprocess.PIPE, text=True)
    told = []
    for line in process.stdout:
        told.append(line.split())
        if len(told) == 61:
            os.kill(process.pid, signal.SIGKILL)
            break
    told += [line.split() for line in process.stdout]
    assert process.wait() == -signal.SIGKILL
    again = World(tmp_path / "tasks.db")
    confirmed = [line[1] for line in told if line[0] == "submitted" and len(line) == 2]
    assert len(confirmed) >= 30
    for name in confirmed:
        assert again.desk.assignment(name).status is LeaseStatus.SUBMITTED
    # The annotator goes on where the server died.
    while (lease := again.desk.accept_any("AWORKER")) is not None:
        again.desk.submit(lease.assignment_id, [])
    page = again.api.handle("ListReviewableHITs", {"MaxResults": 100})
    assert page["NumResults"] == 100
    count = 0
    with again.repository.reading() as session:
        ((count,),) = session._db.execute("SELECT count(*) FROM assignments WHERE status = 'Submitted'").fetchall()
    assert count == 400


def test_a_failed_operation_leaves_nothing(world):
    hit = world.hit(places=2)

    def fail_half_way() -> None:
        with world.repository.writing() as session:
            session.change_hit(hit, disposed=True)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert world.state(hit)[0] == "Assignable"


def test_state_that_cannot_be_opened_is_a_store_error(tmp_path):
    with pytest.raises(StoreError, match="the labelling server's state cannot be used"):
        SqliteTaskRepository(tmp_path / "no folder" / "tasks.db")
