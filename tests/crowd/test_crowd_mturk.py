"""MTurkCrowd over real HTTP against the labelling server: the contract, lost replies, throttling, money, names."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
from datetime import UTC, datetime

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from crowd_http_server import Clock, LabelServer

from retest.crowd import Crowd, CrowdParameters
from retest.crowd.mturk import MTurkCrowd, mturk_fee_cents
from retest.crowd.workers import hash_worker, protocol_worker_id
from retest.errors import ConfigError, ConflictError, CrowdError, MissingExtraError, UsageError
from retest.records import Hit
from retest.testing.crowd import CrowdContract, example_hit, example_task

KEYS = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
WORKER_KEY = b"a key for tests only, 32 bytes.."


SESSION = boto3.session.Session()  # reads botocore's data once


def client_of(url: str, *, signed: bool):
    retries = {"total_max_attempts": 1, "mode": "standard"}
    config = Config(retries=retries) if signed else Config(retries=retries, signature_version=UNSIGNED)
    secret = {"aws_access_key_id": KEYS[0], "aws_secret_access_key": KEYS[1]} if signed else {}
    return SESSION.client("mturk", region_name="us-east-1", endpoint_url=url, config=config, **secret)


class ServedCrowd(MTurkCrowd):
    """An MTurkCrowd that knows its server and never waits."""

    def __init__(self, server: LabelServer, **options) -> None:
        self.server, self.waits = server, []
        parameters = CrowdParameters(backend="server", endpoint=server.url)
        client = client_of(server.url, signed=options.pop("signed", True))
        super().__init__(parameters, worker_key=WORKER_KEY, client=client, sleep=self.waits.append, **options)


def work(server: LabelServer, uuid: str, selections: list[list[int]], *, first: int = 0, seconds: float = 60.0) -> None:
    """Different annotators answer the HIT, one after another."""
    hits = {hit["RequesterAnnotation"]: hit["HITId"] for hit in server.api.handle("ListHITs", {"MaxResults": 100})["HITs"]}
    for number, chosen in enumerate(selections, start=first):
        lease = server.desk.accept(hits[uuid], f"AWORKER{number:04d}")
        server.clock.at += seconds
        server.desk.submit(lease.assignment_id, [("hit", uuid), ("shown", "10"), *((f"select-{index}", "1") for index in chosen)])


@pytest.fixture
def server():
    with LabelServer(keys=dict([KEYS])) as running:
        yield running


class TestOverHttp(CrowdContract):
    @pytest.fixture(autouse=True)
    def _server(self, server):
        self.server = server

    def make_crowd(self) -> Crowd:
        return ServedCrowd(self.server)

    def reopen(self, crowd: Crowd) -> Crowd:
        return ServedCrowd(self.server)

    def answer(self, crowd: Crowd, hit: Hit) -> None:
        (progress,) = crowd.progress([hit]).values()
        done = progress.valid + progress.rejected
        work(self.server, hit.uuid, [[number, 9] for number in range(done, progress.assignments)], first=done)


def count_hits(server: LabelServer) -> int:
    return server.api.handle("ListHITs", {"MaxResults": 100})["NumResults"]


# Answers


def test_answers_come_back_as_they_were_clicked(server):
    crowd, hit = ServedCrowd(server), example_hit(1)
    crowd.publish(example_task(1))
    work(server, hit.uuid, [[0, 3], [], [9, 8]])
    answers = list(crowd.collect([hit]))
    clicked = [item.assignment.selected for item in answers]
    assert clicked == [(hit.images_all[0], hit.images_all[3]), (), (hit.images_all[8], hit.images_all[9])]
    first = answers[0].assignment
    assert (first.accept_time, first.submit_time) == ("2027-01-15T08:00:00+00:00", "2027-01-15T08:01:00+00:00")
    assert first.worker == hash_worker(WORKER_KEY, "AWORKER0000")
    assert answers[0].worker_id == "AWORKER0000"
    assert "<QuestionIdentifier>select-3</QuestionIdentifier>" in answers[0].content


def test_an_answer_that_cannot_be_read_names_its_assignment(server):
    crowd, hit = ServedCrowd(server), example_hit(1)
    crowd.publish(example_task(1))
    work(server, hit.uuid, [[1], [10], [2]])
    with pytest.raises(CrowdError, match="the answer selects 'select-10', the HIT has 10 images") as caught:
        list(crowd.collect([hit]))
    listed = server.api.handle("ListAssignmentsForHIT", {"HITId": crowd.publish(example_task(1)).hit_id})["Assignments"]
    assert caught.value.item == listed[1]["AssignmentId"]
    problems = []
    read = [item.assignment.selected for item in crowd.collect([hit], on_unreadable=problems.append)]
    assert read == [(hit.images_all[1],), (hit.images_all[2],)]
    assert [problem.item for problem in problems] == [listed[1]["AssignmentId"]]


def test_a_hit_ends_with_its_lifetime(server):
    crowd, hit = ServedCrowd(server, now=lambda: datetime.fromtimestamp(server.clock.at, UTC)), example_hit(1)
    crowd.publish(example_task(1, assignments=5))
    work(server, hit.uuid, [[1], [2]])
    server.clock.at += CrowdParameters().lifetime_s - 121
    before = crowd.progress([hit])[hit.uuid]
    assert (before.available, before.pending, before.answered, before.ended) == (3, 0, 2, False)
    server.desk.accept(server.api.handle("ListHITs", {})["HITs"][0]["HITId"], "AWORKER0009")
    server.clock.at += 1
    after = crowd.progress([hit])[hit.uuid]
    assert (after.available, after.pending, after.answered, after.ended) == (0, 1, 2, True)


class AmazonCounts:
    """A client whose HITs go on counting free places after their end, as Amazon's do."""

    def __init__(self, client) -> None:
        self._client = client

    def __getattr__(self, name):
        return getattr(self._client, name)

    def get_hit(self, **arguments):
        response = self._client.get_hit(**arguments)
        response["HIT"]["NumberOfAssignmentsAvailable"] = response["HIT"]["MaxAssignments"]
        return response


def test_free_places_of_a_hit_that_ended_are_not_available(server):
    crowd, hit = ServedCrowd(server), example_hit(1)
    crowd.publish(example_task(1))
    crowd.expire(hit)
    counting = MTurkCrowd(crowd.parameters, worker_key=WORKER_KEY, client=AmazonCounts(client_of(server.url, signed=True)))
    item = counting.progress([dataclasses.replace(hit, hit_id=crowd.publish(example_task(1)).hit_id)])[hit.uuid]
    assert (item.available, item.ended, item.outstanding) == (0, True, 0)


def test_many_answers_come_in_pages(server):
    crowd, hit = ServedCrowd(server), example_hit(1)
    crowd.publish(example_task(1, assignments=230))
    work(server, hit.uuid, [[number % 10] for number in range(230)], seconds=1)
    answers = list(crowd.collect([hit]))
    assert [item.assignment.selected for item in answers] == [(hit.images_all[number % 10],) for number in range(230)]
    assert crowd.progress([hit])[hit.uuid].submitted == 230


def test_many_hits_are_listed_in_pages(server):
    crowd = ServedCrowd(server)
    hits = [example_hit(number) for number in range(120)]
    for number in range(120):
        crowd.publish(example_task(number, assignments=1))
    assert {item.uuid for item in crowd.published()} == {hit.uuid for hit in hits}
    progress = crowd.progress(hits)
    assert len(progress) == 120
    assert {item.available for item in progress.values()} == {1}
    # Nothing was answered, so two pages of HITs were all that had to be asked.
    assert server.seen[-2:] == ["ListHITs", "ListHITs"]


def test_running_leases_are_pending(server):
    crowd, hit = ServedCrowd(server), example_hit(1)
    made = crowd.publish(example_task(1))
    server.desk.accept(made.hit_id, "AONE")
    work(server, hit.uuid, [[1]])
    item = crowd.progress([hit])[hit.uuid]
    assert (item.available, item.pending, item.submitted) == (1, 1, 1)


# Nothing is bought twice


@pytest.mark.parametrize("fault", ["throttle", "fault", "drop before", "drop after", "twice"])
@pytest.mark.parametrize("at", range(4))
def test_one_hit_whatever_fails_once(server, fault, at):
    crowd = ServedCrowd(server)
    server.faults[:] = [None] * at + [fault]
    made = crowd.publish(example_task(1))
    assert count_hits(server) == 1
    assert made.uuid == example_hit(1).uuid
    assert [item.hit_id for item in crowd.published()] == [made.hit_id]
    assert crowd.publish(example_task(1)) == made


@pytest.mark.parametrize("fault", ["drop after", "fault", "throttle"])
def test_one_hit_when_every_call_fails_and_the_command_is_run_again(server, fault):
    crowd = ServedCrowd(server)
    crowd.publish(example_task(0))
    server.faults[:] = [fault] * 6
    with pytest.raises(CrowdError, match="Run the command again; nothing is published twice"):
        crowd.publish(example_task(1))
    assert count_hits(server) == (2 if fault == "drop after" else 1)
    for again in (crowd, ServedCrowd(server)):
        made = again.publish(example_task(1))
        assert count_hits(server) == 2
    assert {item.hit_id for item in crowd.published()} > {made.hit_id}


def test_back_off_grows_and_is_spread(server):
    crowd = ServedCrowd(server)
    server.faults[:] = ["throttle"] * 5
    crowd.balance()
    assert len(crowd.waits) == 5
    for wait, top in zip(crowd.waits, (0.5, 1, 2, 4, 8), strict=True):
        assert top / 2 <= wait <= top


def test_one_hit_when_the_token_is_forgotten_as_amazon_does():
    clock = Clock()
    with LabelServer(clock=clock, token_memory_s=86_400) as server:
        made = ServedCrowd(server, signed=False).publish(example_task(1))
        clock.at += 2 * 86_400
        again = ServedCrowd(server, signed=False).publish(example_task(1))
        assert again == made
        assert not again.created
        assert count_hits(server) == 1


def test_a_long_running_command_looks_again_before_tokens_are_forgotten():
    clock = Clock()
    with LabelServer(clock=clock, token_memory_s=86_400) as server:
        crowd, other = (ServedCrowd(server, signed=False, monotonic=clock) for _ in range(2))
        crowd.publish(example_task(0))
        made = other.publish(example_task(1))
        clock.at += 86_400
        assert crowd.publish(example_task(1)) == made
        assert count_hits(server) == 2


def test_the_id_that_the_study_holds_is_enough(server):
    crowd = ServedCrowd(server)
    made = crowd.publish(example_task(1))
    server.seen.clear()
    task = example_task(1)
    known = dataclasses.replace(task, hit=dataclasses.replace(task.hit, hit_id=made.hit_id))
    assert ServedCrowd(server).publish(known) == made
    assert server.seen == ["GetHIT"]


def test_an_id_of_another_server_does_not_mislead(server):
    task = example_task(1)
    stale = dataclasses.replace(task, hit=dataclasses.replace(task.hit, hit_id="3V8JSVE8YZ5PV3H77UAZ8TVWKSJYE4"))
    made = ServedCrowd(server).publish(stale)
    assert made.created
    assert list(ServedCrowd(server).collect([stale.hit])) == []


def test_the_id_of_another_hit_does_not_mislead(server):
    crowd = ServedCrowd(server)
    foreign = crowd.publish(example_task(2))
    task = example_task(1)
    confused = dataclasses.replace(task, hit=dataclasses.replace(task.hit, hit_id=foreign.hit_id))
    made = crowd.publish(confused)
    assert made.created
    assert made.hit_id != foreign.hit_id
    work(server, example_hit(2).uuid, [[1]])
    assert list(ServedCrowd(server).collect([confused.hit])) == []


def test_other_content_is_found_out_although_the_token_is_the_same(server):
    ServedCrowd(server).publish(example_task(1))
    task = example_task(1)
    other = dataclasses.replace(task.hit, images_all=task.hit.images_all[::-1])
    with pytest.raises(ConflictError, match="another class or other images"):
        ServedCrowd(server).publish(dataclasses.replace(task, hit=other))


@pytest.mark.parametrize("fault", ["drop after", "fault", "throttle", "twice"])
def test_extending_happens_once(server, fault):
    crowd, hit = ServedCrowd(server), example_hit(1)
    made = crowd.publish(example_task(1))
    server.faults[:] = [None, fault]
    crowd.extend(hit, assignments=5)
    assert server.api.handle("GetHIT", {"HITId": made.hit_id})["HIT"]["MaxAssignments"] == 5


@pytest.mark.parametrize("fault", ["drop after", "twice"])
def test_decisions_and_deletion_survive_lost_replies(server, fault):
    crowd, hit = ServedCrowd(server), example_hit(1)
    crowd.publish(example_task(1))
    work(server, hit.uuid, [[1], [2], [3]])
    names = [item.assignment.id for item in crowd.collect([hit])]
    for name in names[:2]:
        server.faults[:] = [fault]
        crowd.approve(name)
    server.faults[:] = [fault]
    crowd.reject(names[2], feedback="No image of the class was selected")
    server.faults[:] = [None, fault]
    crowd.expire(hit)
    server.faults[:] = [None, fault]
    crowd.delete(hit)
    assert list(crowd.published()) == []
    statuses = [entry["AssignmentStatus"] for entry in crowd._list_assignments(crowd.publish(example_task(1)).hit_id, hit.uuid)]
    assert statuses == ["Approved", "Approved", "Rejected"]


# Refusals in plain words


def test_extending_across_the_fee_limit_is_refused(server):
    crowd, hit = ServedCrowd(server), example_hit(1)
    crowd.publish(example_task(1, assignments=9))
    with pytest.raises(CrowdError, match=r"InvalidMaximumAssignmentsIncrease.*Publish another HIT"):
        crowd.extend(hit, assignments=10)


def test_wrong_keys_are_named(server):
    parameters = CrowdParameters(backend="server", endpoint=server.url)
    wrong = MTurkCrowd(parameters, worker_key=WORKER_KEY, keys=(KEYS[0], "x" * 40))
    with pytest.raises(CrowdError, match="Check the access key and the secret key"):
        wrong.balance()
    unsigned = MTurkCrowd(parameters, worker_key=WORKER_KEY)
    with pytest.raises(CrowdError, match="The server wants signed requests"):
        unsigned.balance()


def test_a_clock_that_is_off_is_named(server):
    server.signing_offset_s = 3600
    with pytest.raises(CrowdError, match="Check this computer's clock"):
        ServedCrowd(server).balance()


def test_a_server_that_is_down_is_named():
    with LabelServer() as server:
        crowd = ServedCrowd(server, signed=False)
    with pytest.raises(CrowdError, match="cannot be reached"):
        crowd.balance()
    assert len(crowd.waits) == 5


def test_too_large_pages_are_refused_before_anything_is_sent(server):
    task = example_task(1)
    long = tuple(f"{url}?{'x' * 9000}" for url in task.image_urls)
    with pytest.raises(UsageError, match="Mechanical Turk allows 65535"):
        ServedCrowd(server).publish(dataclasses.replace(task, image_urls=long))
    assert server.seen == []


def test_call_errors_cross_processes():
    with LabelServer() as server:
        crowd = ServedCrowd(server, signed=False)
        with pytest.raises(CrowdError) as caught:
            crowd.approve("NOSUCHASSIGNMENT")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.code) == (str(caught.value), "AssignmentDoesNotExist")


# Money, addresses and names


@pytest.mark.parametrize(
    ("assignments", "reward", "fee"),
    [(9, 10, 18), (10, 10, 40), (1, 1, 1), (10, 1, 10), (10, 7, 30), (3, 0, 3), (1, 100, 20), (10, 100, 400)],
)
def test_the_fee_is_mechanical_turks(assignments, reward, fee):
    assert mturk_fee_cents(assignments=assignments, reward_cents=reward) == fee


class NoClient:
    """Stands for a client that must not be used."""


@pytest.mark.parametrize(
    ("settings", "name", "live", "cost"),
    [
        ({}, "Mechanical Turk (sandbox)", False, 140),
        ({"live": True}, "Mechanical Turk (live)", True, 140),
        ({"endpoint": "https://mturk-requester-sandbox.us-east-1.amazonaws.com/"}, "Mechanical Turk (sandbox)", False, 140),
        ({"endpoint": "https://label.example/"}, "labelling server https://label.example", False, 100),
    ],
)
def test_names_and_costs(settings, name, live, cost):
    crowd = MTurkCrowd(CrowdParameters(backend="mturk", **settings), worker_key=WORKER_KEY, client=NoClient())
    assert (crowd.name, crowd.live, crowd.simulated) == (name, live, False)
    assert crowd.cost_cents(assignments=10, reward_cents=10) == cost


@pytest.mark.parametrize(
    "settings",
    [
        {"endpoint": "https://mturk-requester.us-east-1.amazonaws.com"},
        {"endpoint": "HTTPS://MTurk-Requester.us-east-1.amazonaws.com:443/x"},
        {"endpoint": "https://mturk-requester-sandbox.us-east-1.amazonaws.com", "live": True},
        {"endpoint": "ftp://label.example"},
        {"endpoint": "label.example"},
    ],
)
def test_real_money_is_never_an_accident(settings):
    with pytest.raises(ConfigError):
        MTurkCrowd(CrowdParameters(backend="mturk", **settings), worker_key=WORKER_KEY, client=NoClient())


def test_live_hits_are_never_deleted():
    crowd = MTurkCrowd(CrowdParameters(backend="mturk", live=True), worker_key=WORKER_KEY, client=NoClient())
    with pytest.raises(CrowdError, match="paid HITs are never deleted"):
        crowd.delete(example_hit(1))


def test_other_servers_never_see_amazon_credentials(server, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS[1])
    parameters = CrowdParameters(backend="server", endpoint=server.url)
    with pytest.raises(CrowdError, match="The server wants signed requests"):
        MTurkCrowd(parameters, worker_key=WORKER_KEY).balance()
    assert MTurkCrowd(parameters, worker_key=WORKER_KEY, keys=KEYS).balance() == 1_000_000


def test_worker_names_say_nothing_without_the_key():
    name = hash_worker(WORKER_KEY, "A2YUCJ28XANFOX")
    assert name == hash_worker(WORKER_KEY, "A2YUCJ28XANFOX")
    assert len({name, hash_worker(WORKER_KEY, "A2YUCJ28XANFOY"), hash_worker(WORKER_KEY[::-1], "A2YUCJ28XANFOX")}) == 3
    assert protocol_worker_id(WORKER_KEY, "somebody@example.org").isalnum()
    for make in (hash_worker, protocol_worker_id):
        with pytest.raises(UsageError, match="at least 16"):
            make(b"short", "x")


def test_without_boto3_the_extra_is_named():
    code = (
        "import sys; sys.modules['boto3'] = None; sys.modules['botocore'] = None\n"
        "from retest.crowd import CrowdParameters\nfrom retest.crowd.mturk import MTurkCrowd\n"
        "from retest.errors import MissingExtraError\n"
        "try:\n    MTurkCrowd(CrowdParameters(backend='mturk'), worker_key=bytes(16))\n"
        "except MissingExtraError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "the optional package 'boto3' is not installed. Install it with: pip install 'retest[mturk]'"
    assert issubclass(MissingExtraError, Exception)


def test_the_room_imports_without_boto3():
    code = "import sys, retest.crowd, retest.crowd.mturk, retest.crowd.taskserver; print([m for m in sys.modules if m.startswith('boto')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
