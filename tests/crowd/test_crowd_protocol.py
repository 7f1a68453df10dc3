"""The requester protocol, held against botocore's own model and driven by an unmodified boto3 client."""

from __future__ import annotations

import base64
import http.client
import json
import re
from datetime import UTC, datetime

import boto3
import botocore.session
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.validate import ParamValidator
from crowd_http_server import Clock, LabelServer
from hypothesis import given
from hypothesis import strategies as st

from retest.crowd.page import MAX_QUESTION_BYTES, external_question, html_question
from retest.crowd.taskserver import (
    OPERATIONS,
    ProtocolError,
    RequesterApi,
    RequesterEndpoint,
    SqliteTaskRepository,
    TaskDesk,
    sigv4,
    verify_signature,
)
from retest.crowd.taskserver.shapes import Shape, check_request
from retest.errors import StoreError, UsageError

MODEL = botocore.session.get_session().get_service_model("mturk")
SESSION = boto3.session.Session()
KEYS = {"AKIDEXAMPLE": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
QUESTION = html_question("<!DOCTYPE html><p>Which?</p>", item="x")
TYPE = {"Title": "Label images", "Description": "Select", "Reward": "0.1", "AssignmentDurationInSeconds": 600}
HIT = {**TYPE, "LifetimeInSeconds": 3600, "Question": QUESTION}
ANSWER_NAMESPACE = "http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas/2005-10-01/QuestionFormAnswers.xsd"


# The shapes, against botocore's model


def as_shape(shape) -> Shape:
    """botocore's shape in our terms."""
    kind = {"long": "integer"}.get(shape.type_name, shape.type_name)
    if kind == "structure":
        members = {name: as_shape(member) for name, member in shape.members.items()}
        return Shape("structure", members=members, required=frozenset(shape.required_members))
    if kind == "list":
        return Shape("list", item=as_shape(shape.member))
    limits = shape.metadata
    return Shape(
        kind, low=limits.get("min"), high=limits.get("max"), pattern=limits.get("pattern"), enum=tuple(getattr(shape, "enum", ()) or ())
    )


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_shapes_are_those_of_the_published_model(operation):
    assert OPERATIONS[operation] == as_shape(MODEL.operation_model(operation).input_shape)


def test_all_operations_asked_for_are_served():
    asked = {
        "CreateHITType", "CreateHITWithHITType", "CreateHIT", "GetHIT", "ListHITs", "ListReviewableHITs", "ListAssignmentsForHIT",
        "GetAssignment", "ApproveAssignment", "RejectAssignment", "UpdateExpirationForHIT", "CreateAdditionalAssignmentsForHIT",
        "DeleteHIT", "GetAccountBalance",
    }  # fmt: skip
    assert set(OPERATIONS) == asked


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 200) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)


@given(data=st.data())
def test_no_request_gets_past_the_shapes_that_botocore_would_refuse(data):
    """Whatever our check accepts, botocore's own validator accepts as well (types, required members, ranges)."""
    operation = data.draw(st.sampled_from(sorted(OPERATIONS)))
    names = st.sampled_from([*OPERATIONS[operation].members, "Unknown"])
    likely = st.sampled_from(["A1", "0.10", "Approved", 600, 1, True, ["Submitted"], 1.5, "Reviewable"])
    request = data.draw(st.dictionaries(names, likely | json_values, max_size=8))
    try:
        check_request(operation, request)
    except ProtocolError:
        return
    given_members = {name: value for name, value in request.items() if value is not None}
    report = ParamValidator().validate(given_members, MODEL.operation_model(operation).input_shape)
    assert not report.has_errors(), report.generate_report()


@pytest.mark.parametrize(
    ("operation", "request_", "fault"),
    [
        ("GetHIT", {}, "1 validation error detected: HITId is required"),
        ("GetHIT", {"HITId": None}, "HITId is required"),
        ("GetHIT", {"HITId": "abc"}, "HITId must match"),
        ("GetHIT", {"HITId": "ABC\n"}, "HITId must match"),
        ("GetHIT", {"HITId": ""}, "the length of HITId must be at least 1"),
        ("GetHIT", {"HITId": "A" * 65}, "the length of HITId must be at most 64"),
        ("GetHIT", {"HITId": 5}, "HITId must be of type string"),
        ("GetHIT", {"HITId": "A", "Colour": 1}, "Colour is unknown"),
        ("GetHIT", [], "the request must be of type structure"),
        ("ListHITs", {"MaxResults": 101}, "MaxResults must be at most 100"),
        ("ListHITs", {"MaxResults": 0}, "MaxResults must be at least 1"),
        ("ListHITs", {"MaxResults": True}, "MaxResults must be of type integer"),
        ("ListHITs", {"MaxResults": 10.0}, "MaxResults must be of type integer"),
        ("ListAssignmentsForHIT", {"HITId": "A", "AssignmentStatuses": ["Accepted"]}, r"AssignmentStatuses\[0\] must be one of"),
        ("CreateHIT", {**HIT, "Reward": "0.105"}, "Reward must match"),
        ("CreateHIT", {**HIT, "Reward": "-1"}, "Reward must match"),
        ("CreateHIT", {**HIT, "UniqueRequestToken": "x" * 65}, "the length of UniqueRequestToken must be at most 64"),
        ("CreateHIT", {**HIT, "Title": "\ud800"}, "Title is not Unicode text"),
        ("UpdateExpirationForHIT", {"HITId": "A", "ExpireAt": float("nan")}, "ExpireAt is not a time"),
        ("UpdateExpirationForHIT", {"HITId": "A", "ExpireAt": "2026-01-01"}, "ExpireAt must be of type timestamp"),
    ],
)
def test_faults_of_shape_are_named(operation, request_, fault):
    with pytest.raises(ProtocolError, match=fault):
        check_request(operation, request_)


# An unmodified boto3 client over real HTTP; every response is checked against botocore's model


class Checked:
    """A boto3 client whose raw responses are validated against the model's output shapes."""

    def __init__(self, server: LabelServer, **client) -> None:
        self.client = SESSION.client(
            "mturk",
            region_name="us-east-1",
            endpoint_url=server.url,
            aws_access_key_id="AKIDEXAMPLE",
            aws_secret_access_key=KEYS["AKIDEXAMPLE"],
            **client,
        )
        self.checked = 0
        self.client.meta.events.register("after-call.mturk", self._check)

    def _check(self, http_response, parsed, model, **_) -> None:
        if http_response.status_code != 200:
            return
        raw = json.loads(http_response.content)
        if model.output_shape is not None:
            report = ParamValidator().validate(raw, model.output_shape)
            assert not report.has_errors(), report.generate_report()
            assert_known(raw, model.output_shape)
        self.checked += 1

    def __getattr__(self, name):
        return getattr(self.client, name)


def assert_known(raw, shape) -> None:
    """No member that the model does not have, no value outside of its enumerations and patterns."""
    if shape.type_name == "structure":
        assert set(raw) <= set(shape.members)
        for name, value in raw.items():
            assert_known(value, shape.members[name])
    elif shape.type_name == "list":
        for value in raw:
            assert_known(value, shape.member)
    elif shape.type_name == "string":
        assert not shape.enum or raw in shape.enum
        assert "pattern" not in shape.metadata or re.fullmatch(shape.metadata["pattern"], raw)


@pytest.fixture
def server():
    with LabelServer(keys=KEYS) as running:
        yield running


@pytest.fixture
def turk(server):
    return Checked(server)


def answer(server, hit_id: str, worker: str, fields=(("select-1", "1"),)) -> str:
    lease = server.desk.accept(hit_id, worker)
    server.clock.at += 30
    server.desk.submit(lease.assignment_id, list(fields))
    return lease.assignment_id


def refusal(turk, call, **arguments) -> tuple[str, str]:
    with pytest.raises(turk.exceptions.RequestError) as caught:
        getattr(turk, call)(**arguments)
    return caught.value.response["TurkErrorCode"].removeprefix("AWS.MechanicalTurk."), caught.value.response["Error"]["Message"]


def test_the_life_of_a_hit_through_boto3(server, turk):
    hit_type = turk.create_hit_type(**TYPE, Keywords="images")["HITTypeId"]
    assert turk.create_hit_type(**{**TYPE, "Reward": "0.10"}, Keywords="images")["HITTypeId"] == hit_type
    assert turk.create_hit_type(**{**TYPE, "Reward": "0.11"}, Keywords="images")["HITTypeId"] != hit_type
    made = turk.create_hit_with_hit_type(
        HITTypeId=hit_type, MaxAssignments=2, LifetimeInSeconds=3600, Question=QUESTION, RequesterAnnotation="mine", UniqueRequestToken="t"
    )["HIT"]
    assert (made["HITStatus"], made["Reward"], made["MaxAssignments"], made["RequesterAnnotation"]) == ("Assignable", "0.10", 2, "mine")
    assert made["Expiration"] - made["CreationTime"] == datetime.fromtimestamp(3600, UTC) - datetime.fromtimestamp(0, UTC)
    hit_id = made["HITId"]

    first = answer(server, hit_id, "AONE", [("select-3", "1"), ("comment", "<b>&amp;\"'")])
    lease = server.desk.accept(hit_id, "ATWO")
    busy = turk.get_hit(HITId=hit_id)["HIT"]
    counters = ["NumberOfAssignmentsAvailable", "NumberOfAssignmentsPending", "NumberOfAssignmentsCompleted"]
    assert (busy["HITStatus"], [busy[name] for name in counters]) == ("Unassignable", [0, 1, 0])
    server.desk.submit(lease.assignment_id, [])
    assert turk.get_hit(HITId=hit_id)["HIT"]["HITStatus"] == "Reviewable"
    assert [hit["HITId"] for hit in turk.list_reviewable_hits(HITTypeId=hit_type)["HITs"]] == [hit_id]

    listed = turk.list_assignments_for_hit(HITId=hit_id)["Assignments"]
    assert [entry["WorkerId"] for entry in listed] == ["AONE", "ATWO"]
    assert listed[0]["AutoApprovalTime"] > listed[0]["SubmitTime"] > listed[0]["AcceptTime"]
    assert "&lt;b&gt;&amp;amp;\"'" in listed[0]["Answer"]
    assert ANSWER_NAMESPACE in listed[0]["Answer"]

    turk.approve_assignment(AssignmentId=first, RequesterFeedback="Thanks")
    turk.reject_assignment(AssignmentId=lease.assignment_id, RequesterFeedback="Nothing selected")
    got = turk.get_assignment(AssignmentId=first)
    assert (got["Assignment"]["AssignmentStatus"], got["Assignment"]["RequesterFeedback"], got["HIT"]["HITId"]) == (
        "Approved",
        "Thanks",
        hit_id,
    )
    assert got["HIT"]["NumberOfAssignmentsCompleted"] == 2
    by_status = turk.list_assignments_for_hit(HITId=hit_id, AssignmentStatuses=["Rejected"])["Assignments"]
    assert [(entry["AssignmentId"], entry["RejectionTime"] is not None) for entry in by_status] == [(lease.assignment_id, True)]
    turk.approve_assignment(AssignmentId=lease.assignment_id, OverrideRejection=True)

    turk.create_additional_assignments_for_hit(HITId=hit_id, NumberOfAdditionalAssignments=1, UniqueRequestToken="more")
    assert turk.get_hit(HITId=hit_id)["HIT"]["HITStatus"] == "Assignable"
    turk.update_expiration_for_hit(HITId=hit_id, ExpireAt=datetime(2015, 1, 1, tzinfo=UTC))
    turk.delete_hit(HITId=hit_id)
    assert turk.get_hit(HITId=hit_id)["HIT"]["HITStatus"] == "Disposed"
    assert turk.list_hits()["HITs"] == []
    assert turk.get_account_balance()["AvailableBalance"] == "10000.00"
    assert turk.checked >= 20


def test_boto3s_paginators_see_everything_once(server, turk):
    ids = [turk.create_hit(**HIT)["HIT"]["HITId"] for _ in range(23)]
    assert len({turk.get_hit(HITId=hit_id)["HIT"]["HITTypeId"] for hit_id in ids}) == 1
    for size in (None, 1, 10, 23, 100):
        pages = turk.get_paginator("list_hits").paginate(PaginationConfig={"PageSize": size})
        assert [hit["HITId"] for page in pages for hit in page["HITs"]] == ids
    turk.update_expiration_for_hit(HITId=ids[5], ExpireAt=datetime(2015, 1, 1, tzinfo=UTC))
    turk.update_expiration_for_hit(HITId=ids[9], ExpireAt=datetime(2015, 1, 1, tzinfo=UTC))
    pages = turk.get_paginator("list_reviewable_hits").paginate(PaginationConfig={"PageSize": 1})
    assert [hit["HITId"] for page in pages for hit in page["HITs"]] == [ids[5], ids[9]]
    assert turk.list_reviewable_hits(Status="Reviewing")["HITs"] == []

    big = turk.create_hit(**HIT, MaxAssignments=25)["HIT"]["HITId"]
    names = [answer(server, big, f"A{number}") for number in range(25)]
    pages = turk.get_paginator("list_assignments_for_hit").paginate(HITId=big, PaginationConfig={"PageSize": 4})
    assert [entry["AssignmentId"] for page in pages for entry in page["Assignments"]] == names


def test_request_tokens(server, turk):
    made = turk.create_hit(**HIT, UniqueRequestToken="once")["HIT"]["HITId"]
    code, message = refusal(turk, "create_hit", **HIT, UniqueRequestToken="once")
    assert code == "HitAlreadyExists"
    assert made in message
    code, message = refusal(
        turk, "create_hit_with_hit_type", HITTypeId=turk.create_hit_type(**TYPE)["HITTypeId"], LifetimeInSeconds=60, Question=QUESTION,
        UniqueRequestToken="once",
    )  # fmt: skip
    assert (code, made in message) == ("HitAlreadyExists", True)
    extra = {"HITId": made, "NumberOfAdditionalAssignments": 2}
    turk.create_additional_assignments_for_hit(**extra, UniqueRequestToken="once")
    assert refusal(turk, "create_additional_assignments_for_hit", **extra, UniqueRequestToken="once")[0] == "DuplicateRequest"
    assert turk.get_hit(HITId=made)["HIT"]["MaxAssignments"] == 3
    server.clock.at += 10 * 86_400
    assert refusal(turk, "create_hit", **HIT, UniqueRequestToken="once")[0] == "HitAlreadyExists"


def test_request_tokens_can_be_forgotten_as_amazon_does():
    with LabelServer(keys=KEYS, token_memory_s=86_400) as server:
        turk = Checked(server)
        made = turk.create_hit(**HIT, UniqueRequestToken="once")["HIT"]["HITId"]
        server.clock.at += 86_399
        assert refusal(turk, "create_hit", **HIT, UniqueRequestToken="once")[0] == "HitAlreadyExists"
        server.clock.at += 1
        assert turk.create_hit(**HIT, UniqueRequestToken="once")["HIT"]["HITId"] != made


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"Question": ""}, "AWS.MissingParameters"),
        ({"Question": "x" * (MAX_QUESTION_BYTES + 1)}, "StringLengthConstraintFailure"),
        ({"Question": "no XML"}, "XMLParseError"),
        ({"Question": "<!DOCTYPE a [<!ENTITY b 'c'>]><HTMLQuestion>&b;</HTMLQuestion>"}, "XMLParseError"),
        ({"Question": "<QuestionForm/>"}, "InvalidParameterValue"),
        ({"HITLayoutId": "ABC"}, "InvalidParameterValue"),
        ({"HITReviewPolicy": {"PolicyName": "x"}}, "InvalidParameterValue"),
        ({"QualificationRequirements": [{"QualificationTypeId": "1", "Comparator": "Exists"}]}, "InvalidParameterValue"),
        ({"Title": "x" * 129}, "StringLengthConstraintFailure"),
        ({"Description": "x" * 2001}, "StringLengthConstraintFailure"),
        ({"Keywords": "x" * 1001}, "StringLengthConstraintFailure"),
        ({"RequesterAnnotation": "x" * 256}, "StringLengthConstraintFailure"),
        ({"AssignmentDurationInSeconds": 29}, "AWS.ParameterOutOfRange"),
        ({"LifetimeInSeconds": 31_536_001}, "AWS.ParameterOutOfRange"),
        ({"AutoApprovalDelayInSeconds": 2_592_001}, "AWS.ParameterOutOfRange"),
        ({"MaxAssignments": 0}, "AWS.ParameterOutOfRange"),
    ],
)
def test_limits_of_hits(server, turk, change, code):
    assert refusal(turk, "create_hit", **{**HIT, **change})[0] == code
    assert turk.list_hits()["HITs"] == []


def test_limits_are_inclusive(turk):
    question = html_question("x" * (MAX_QUESTION_BYTES - len(html_question("", item="x"))), item="x")
    assert len(question) == MAX_QUESTION_BYTES
    widest = {"Title": "x" * 128, "Description": "x" * 2000, "Keywords": "x" * 1000, "RequesterAnnotation": "x" * 255}
    numbers = {"AssignmentDurationInSeconds": 30, "LifetimeInSeconds": 31_536_000, "AutoApprovalDelayInSeconds": 0}
    made = turk.create_hit(**{**HIT, **widest, **numbers}, MaxAssignments=1_000_000_000, UniqueRequestToken="é" * 64)["HIT"]
    assert made["MaxAssignments"] == 1_000_000_000
    assert turk.create_hit(**{**HIT, "Question": question})["HIT"]["Question"] == question
    turk.create_hit(**{**HIT, "Question": external_question("https://label.example/task")})


def test_things_that_do_not_exist(turk):
    assert refusal(turk, "get_hit", HITId="NOSUCH") == ("HITDoesNotExist", "HIT NOSUCH does not exist")
    for call in ("delete_hit", "list_assignments_for_hit"):
        assert refusal(turk, call, HITId="NOSUCH")[0] == "HITDoesNotExist"
    for call in ("get_assignment", "approve_assignment"):
        assert refusal(turk, call, AssignmentId="NOSUCH")[0] == "AssignmentDoesNotExist"
    wanted = {"HITTypeId": "NOSUCH", "LifetimeInSeconds": 60, "Question": QUESTION}
    assert refusal(turk, "create_hit_with_hit_type", **wanted)[0] == "HITTypeDoesNotExist"
    assert refusal(turk, "list_hits", NextToken="made up")[0] == "InvalidParameterValue"
    for text in ("after:-1", "after:", "after:" + "9" * 23, "before:1", "after:1\n", "after:\u0661"):
        token = base64.urlsafe_b64encode(text.encode()).decode()
        assert refusal(turk, "list_hits", NextToken=token)[0] == "InvalidParameterValue"


def test_states_of_assignments(server, turk):
    hit_id = turk.create_hit(**HIT, MaxAssignments=3)["HIT"]["HITId"]
    lease = server.desk.accept(hit_id, "AONE").assignment_id
    for call in ("get_assignment", "approve_assignment"):
        code, message = refusal(turk, call, AssignmentId=lease)
        assert (code, "This operation can be called with a status of" in message) == ("InvalidAssignmentState", True)
    assert turk.list_assignments_for_hit(HITId=hit_id)["NumResults"] == 0
    server.desk.submit(lease, [])
    assert refusal(turk, "reject_assignment", AssignmentId=lease, RequesterFeedback=" ")[0] == "InvalidParameterValue"
    turk.approve_assignment(AssignmentId=lease)
    for call, extra in (("approve_assignment", {}), ("reject_assignment", {"RequesterFeedback": "no"})):
        assert refusal(turk, call, AssignmentId=lease, **extra)[0] == "InvalidAssignmentState"


def test_rejections_can_be_overridden_for_30_days(server, turk):
    hit_id = turk.create_hit(**HIT, MaxAssignments=2)["HIT"]["HITId"]
    names = [answer(server, hit_id, worker) for worker in ("AONE", "ATWO")]
    for name in names:
        turk.reject_assignment(AssignmentId=name, RequesterFeedback="no")
        assert refusal(turk, "approve_assignment", AssignmentId=name)[0] == "InvalidAssignmentState"
    first = turk.get_assignment(AssignmentId=names[0])["Assignment"]["SubmitTime"].timestamp()
    server.clock.at = first + 30 * 86_400
    turk.approve_assignment(AssignmentId=names[0], OverrideRejection=True)
    server.clock.at += 60
    code, message = refusal(turk, "approve_assignment", AssignmentId=names[1], OverrideRejection=True)
    assert (code, "30 days" in message) == ("InvalidAssignmentState", True)


def test_undecided_answers_are_approved_in_time(server, turk):
    hit_id = turk.create_hit(**{**HIT, "AutoApprovalDelayInSeconds": 100})["HIT"]["HITId"]
    name = answer(server, hit_id, "AONE")
    server.clock.at += 99
    assert turk.get_assignment(AssignmentId=name)["Assignment"]["AssignmentStatus"] == "Submitted"
    server.clock.at += 5
    got = turk.get_assignment(AssignmentId=name)["Assignment"]
    assert got["AssignmentStatus"] == "Approved"
    assert got["ApprovalTime"] == got["AutoApprovalTime"]
    turk.delete_hit(HITId=hit_id)


def test_only_finished_hits_are_deleted(server, turk):
    hit_id = turk.create_hit(**HIT)["HIT"]["HITId"]
    assert refusal(turk, "delete_hit", HITId=hit_id)[0] == "InvalidHITState"  # assignable
    lease = server.desk.accept(hit_id, "AONE").assignment_id
    assert refusal(turk, "delete_hit", HITId=hit_id)[0] == "InvalidHITState"  # somebody is at work
    server.desk.submit(lease, [])
    assert "1 undecided" in refusal(turk, "delete_hit", HITId=hit_id)[1]
    turk.reject_assignment(AssignmentId=lease, RequesterFeedback="no")
    turk.delete_hit(HITId=hit_id)
    assert refusal(turk, "delete_hit", HITId=hit_id)[0] == "InvalidHITState"
    assert refusal(turk, "update_expiration_for_hit", HITId=hit_id, ExpireAt=2_000_000_000)[0] == "InvalidHITState"
    assert refusal(turk, "create_additional_assignments_for_hit", HITId=hit_id, NumberOfAdditionalAssignments=1)[0] == "InvalidHITState"
    assert refusal(turk, "approve_assignment", AssignmentId=lease, OverrideRejection=True)[0] == "InvalidAssignmentState"
    assert [entry["AssignmentId"] for entry in turk.list_assignments_for_hit(HITId=hit_id)["Assignments"]] == [lease]


def test_expiration_stops_handing_out_but_lets_annotators_finish(server, turk):
    hit_id = turk.create_hit(**HIT, MaxAssignments=2)["HIT"]["HITId"]
    lease = server.desk.accept(hit_id, "AONE").assignment_id
    turk.update_expiration_for_hit(HITId=hit_id, ExpireAt=datetime(2015, 1, 1, tzinfo=UTC))
    hit = turk.get_hit(HITId=hit_id)["HIT"]
    assert (hit["HITStatus"], hit["NumberOfAssignmentsAvailable"], hit["NumberOfAssignmentsPending"]) == ("Unassignable", 0, 1)
    server.desk.submit(lease, [])
    assert turk.get_hit(HITId=hit_id)["HIT"]["HITStatus"] == "Reviewable"
    turk.update_expiration_for_hit(HITId=hit_id, ExpireAt=datetime(2100, 1, 1, tzinfo=UTC))
    assert turk.get_hit(HITId=hit_id)["HIT"]["HITStatus"] == "Assignable"


@pytest.mark.parametrize(("start", "more", "allowed"), [(9, 1, False), (1, 9, False), (9, 0, None), (10, 1, True), (3, 6, True)])
def test_extensions_across_the_fee_limit(turk, start, more, allowed):
    hit_id = turk.create_hit(**HIT, MaxAssignments=start)["HIT"]["HITId"]
    call = {"HITId": hit_id, "NumberOfAdditionalAssignments": more}
    if allowed:
        turk.create_additional_assignments_for_hit(**call)
        assert turk.get_hit(HITId=hit_id)["HIT"]["MaxAssignments"] == start + more
    else:
        expected = "AWS.ParameterOutOfRange" if allowed is None else "InvalidMaximumAssignmentsIncrease"
        assert refusal(turk, "create_additional_assignments_for_hit", **call)[0] == expected


def test_qualifications_can_be_let_through_openly():
    with LabelServer(keys=KEYS, ignore_qualifications=True) as server:
        turk = Checked(server)
        wanted = [{"QualificationTypeId": "000000000000000000L0", "Comparator": "GreaterThan", "IntegerValues": [95]}]
        made = turk.create_hit(**HIT, QualificationRequirements=wanted)["HIT"]
        assert made["QualificationRequirements"] == wanted
        assert refusal(turk, "create_hit", **HIT, QualificationRequirements=wanted * 11)[0] == "InvalidParameterValue"


def test_operations_outside_of_the_list_are_refused_by_name(turk):
    with pytest.raises(turk.client.exceptions.ClientError, match="the operation 'ListBonusPayments' is not served") as caught:
        turk.list_bonus_payments(HITId="A")
    assert caught.value.response["Error"]["Code"] == "UnknownOperationException"


# HTTP


def post(server, body=b"{}", *, headers=None, method="POST", path="/"):
    connection = http.client.HTTPConnection("127.0.0.1", int(server.origin.rpartition(":")[2]))
    named = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "MTurkRequesterServiceV20170117.GetAccountBalance"}
    connection.request(method, path, body=body, headers={**named, **(headers or {})})
    reply = connection.getresponse()
    text = reply.read()
    connection.close()
    return reply.status, json.loads(text)


@pytest.mark.parametrize(
    ("changes", "status", "kind"),
    [
        ({"body": b"{"}, 400, "SerializationException"),
        ({"body": b"[]"}, 400, "SerializationException"),
        ({"body": b"\xff"}, 400, "SerializationException"),
        ({"body": b"[" * 100_000}, 400, "SerializationException"),
        ({"body": b" " * 1_048_577}, 413, "SerializationException"),
        ({"headers": {"X-Amz-Target": "Other.GetHIT"}}, 400, "UnknownOperationException"),
        ({"headers": {"X-Amz-Target": "MTurkRequesterServiceV20170117.__init__"}}, 400, "UnknownOperationException"),
        ({"headers": {"Content-Type": "text/plain"}}, 415, "UnknownOperationException"),
        ({"headers": {"Content-Type": "application/x-www-form-urlencoded"}}, 415, "UnknownOperationException"),
    ],
)
def test_requests_that_are_no_operations(changes, status, kind):
    with LabelServer() as server:
        got_status, document = post(server, **changes)
        assert (got_status, document["__type"]) == (status, kind)
        assert document["Message"]


def test_errors_look_as_amazon_sends_them():
    with LabelServer() as server:
        status, document = post(server, b'{"HITId": "X"}', headers={"X-Amz-Target": "MTurkRequesterServiceV20170117.GetHIT"})
    assert status == 400
    assert (document["__type"], document["TurkErrorCode"]) == ("RequestError", "AWS.MechanicalTurk.HITDoesNotExist")


def test_a_failing_store_is_the_servers_fault_and_tells_nothing():
    with LabelServer() as server:
        server.repository.close()
        status, document = post(server)
        assert (status, document) == post(server, headers={"X-Amz-Target": "MTurkRequesterServiceV20170117.GetAccountBalance"})
        status, document = post(server, headers={"X-Amz-Target": "MTurkRequesterServiceV20170117.ListHITs"})
        assert (status, document["__type"], document["TurkErrorCode"]) == (500, "ServiceFault", "AWS.ServiceUnavailable")
        assert "closed" not in json.dumps(document)
        assert [type(error) for error in server.failures] == [StoreError]


# Signatures, against botocore's signer


def signed(url="http://label.example/", *, body=b"{}", secret=KEYS["AKIDEXAMPLE"], key="AKIDEXAMPLE", headers=None):
    named = {"X-Amz-Target": "MTurkRequesterServiceV20170117.ListHITs", "Content-Type": "application/x-amz-json-1.1", **(headers or {})}
    request = AWSRequest(method="POST", url=url, data=body, headers=named)
    SigV4Auth(Credentials(key, secret), "mturk-requester", "us-east-1").add_auth(request)
    found = {name.lower(): value for name, value in request.headers.items()}
    return {"host": re.match(r"\w+://([^/]+)", url).group(1), **found}


def check(headers, *, body=b"{}", path="/", query="", method="POST", now=None, keys=KEYS):
    stamp = datetime.strptime(headers.get("x-amz-date", "20260101T000000Z"), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    moment = stamp.timestamp() if now is None else now
    return verify_signature(method=method, path=path, query=query, headers=headers, body=body, keys=keys, now=moment)


@pytest.mark.parametrize(
    ("url", "path", "query"),
    [
        ("http://label.example/", "/", ""),
        ("http://label.example:8080/", "/", ""),
        ("https://label.example/a/deep%20path/", "/a/deep%20path/", ""),
        ("https://label.example/?b=2&a=1&a=0&e=%C3%A9%20x", "/", "b=2&a=1&a=0&e=%C3%A9%20x"),
    ],
)
def test_botocores_signatures_are_accepted(url, path, query):
    assert check(signed(url), path=path, query=query) == "AKIDEXAMPLE"


@given(body=st.binary(max_size=50), words=st.text("abc  ", min_size=1, max_size=10).filter(str.strip))
def test_botocores_signatures_over_any_body_and_spacing_are_accepted(body, words):
    assert check(signed(body=body, headers={"X-Extra": words.strip()}), body=body) == "AKIDEXAMPLE"


def test_key_ids_may_hold_slashes():
    assert check(signed(key="a/b/c"), keys={"a/b/c": KEYS["AKIDEXAMPLE"]}) == "a/b/c"


def test_the_documented_example():
    """Case post-vanilla of the AWS Signature Version 4 test suite."""
    headers = {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z"}
    canonical = sigv4._canonical("POST", "/", "", headers, ["host", "x-amz-date"], b"")
    scope = ["20150830", "us-east-1", "service", "aws4_request"]
    signature = sigv4._signature("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", scope, "20150830T123600Z", canonical)
    assert signature == "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"


@pytest.mark.parametrize("change", ["body", "path", "query", "method", "secret", "target", "host", "unknown key", "unsigned"])
def test_changed_requests_are_refused(change):
    headers, options = signed(), {}
    if change == "body":
        options["body"] = b"{ }"
    elif change == "secret":
        headers = signed(secret="x" * 40)
    elif change == "target":
        headers["x-amz-target"] = headers["x-amz-target"].replace("ListHITs", "DeleteHIT")
    elif change == "host":
        headers["host"] = "other.example"
    elif change == "unknown key":
        headers = signed(key="SOMEBODY", secret="")
    elif change == "unsigned":
        del headers["authorization"]
    else:
        options[change] = {"path": "/x", "query": "a=1", "method": "GET"}[change]
    with pytest.raises(ProtocolError) as caught:
        check(headers, **options)
    assert caught.value.http_status == 403


def test_an_empty_secret_opens_nothing():
    with pytest.raises(ProtocolError):
        check(signed(key="SOMEBODY", secret=""), keys={})


@pytest.mark.parametrize("name", ["host", "x-amz-date", "x-amz-target"])
def test_what_matters_must_be_signed(name):
    headers = signed()
    headers["authorization"] = re.sub(rf"(SignedHeaders=[^,]*?);?{name}", r"\1", headers["authorization"]).replace("=;", "=")
    with pytest.raises(ProtocolError, match="must be signed"):
        check(headers)


@pytest.mark.parametrize(("offset", "fine"), [(0, True), (900, True), (-900, True), (901, False), (-901, False)])
def test_signatures_are_good_for_15_minutes(offset, fine):
    headers = signed()
    moment = datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    if fine:
        check(headers, now=moment + offset)
    else:
        with pytest.raises(ProtocolError, match="check the clocks"):
            check(headers, now=moment + offset)


@pytest.mark.parametrize("date", ["", "yesterday", "20261301T000000Z", "20260101T000000"])
def test_dates_that_are_none_are_refused(date):
    with pytest.raises(ProtocolError):
        verify_signature(method="POST", path="/", headers={**signed(), "x-amz-date": date}, body=b"{}", keys=KEYS, now=0.0)


@pytest.mark.parametrize("keys", [{}, {"": "x" * 40}, {"id": "short"}])
def test_keys_that_protect_nothing_are_refused(keys):
    api = RequesterApi(SqliteTaskRepository(), now=Clock())
    with pytest.raises(UsageError):
        RequesterEndpoint(api, keys=keys, now=Clock())


def test_a_server_under_a_path_prefix():
    with LabelServer(keys=KEYS, prefix="/label") as server:
        turk = Checked(server)
        assert turk.get_account_balance()["AvailableBalance"] == "10000.00"


def test_the_desk_and_the_api_share_a_repository():
    clock = Clock()
    repository = SqliteTaskRepository()
    api, desk = RequesterApi(repository, now=clock), TaskDesk(repository, now=clock)
    made = api.handle("CreateHIT", HIT)["HIT"]
    desk.submit(desk.accept(made["HITId"], "AONE").assignment_id, [("select-0", "1")])
    assert api.handle("ListAssignmentsForHIT", {"HITId": made["HITId"]})["NumResults"] == 1
