"""boto3, unmodified, against ``retest serve``; signatures; who may connect."""

from __future__ import annotations

import boto3
import httpx
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from web_annotator import Annotator
from web_server import KEYS, ServeProcess, ServeThread, retest

from retest.crowd.page import html_question

SIGNED = {"RETEST_SERVER_KEY_ID": KEYS[0], "RETEST_SERVER_SECRET_KEY": KEYS[1]}


def client_of(url, keys=None):
    config = Config(retries={"total_max_attempts": 1}, **({} if keys else {"signature_version": UNSIGNED}))
    key_id, secret = keys or (None, None)
    return boto3.client(
        "mturk", region_name="us-east-1", endpoint_url=url, aws_access_key_id=key_id, aws_secret_access_key=secret, config=config
    )


def create(client, token="once"):
    kind = client.create_hit_type(
        AssignmentDurationInSeconds=600, Reward="0.10", Title="t", Description="d", AutoApprovalDelayInSeconds=600, Keywords="k"
    )["HITTypeId"]
    page = '<form><input name="select-0"></form>'
    return client.create_hit_with_hit_type(
        HITTypeId=kind,
        MaxAssignments=2,
        LifetimeInSeconds=3600,
        Question=html_question(page, item="x"),
        RequesterAnnotation="note",
        UniqueRequestToken=token,
    )["HIT"]["HITId"]


def test_boto3_publishes_workers_answer_boto3_decides(study):
    with ServeThread(study, open_workers=True) as server:
        client = client_of(server.url)
        hit_id = create(client)
        with pytest.raises(ClientError, match="already exists"):
            create(client)
        for worker, value in (("AONE", "first"), ("ATWO", "second")):
            with httpx.Client(follow_redirects=True) as http:
                page = http.get(f"{server.url}/task", params={"hitId": hit_id, "workerId": worker})
                assert page.url.params["workerId"] == worker
                assert page.url.params["turkSubmitTo"] == server.url
                form = {"assignmentId": page.url.params["assignmentId"], "said": value}
                assert http.post(f"{server.url}/mturk/externalSubmit", data=form).status_code == 200
                # The answer is in: a repeat changes nothing, whatever it carries.
                assert http.post(f"{server.url}/mturk/externalSubmit", data={**form, "said": "again"}).status_code == 200
        answers = client.list_assignments_for_hit(HITId=hit_id)["Assignments"]
        assert {a["WorkerId"] for a in answers} == {"AONE", "ATWO"}
        assert all("<QuestionIdentifier>said</QuestionIdentifier><FreeText>" in a["Answer"] for a in answers)
        assert sorted("first" in a["Answer"] for a in answers) == [False, True]
        assert not any("again" in a["Answer"] for a in answers)
        first = answers[0]["AssignmentId"]
        client.reject_assignment(AssignmentId=first, RequesterFeedback="why")
        client.approve_assignment(AssignmentId=first, OverrideRejection=True)
        client.approve_assignment(AssignmentId=answers[1]["AssignmentId"])
        client.delete_hit(HITId=hit_id)
        assert client.list_hits()["HITs"] == []
        assert client.get_account_balance()["AvailableBalance"] == "10000.00"


def test_with_keys_only_signed_requests_are_served(study):
    with ServeProcess(study, **SIGNED) as server:
        assert client_of(server.url, KEYS).list_hits()["HITs"] == []
        for keys, message in ((None, "Missing"), ((KEYS[0], "another secret, as long"), "invalid"), (("who", KEYS[1]), "invalid")):
            with pytest.raises(ClientError, match=message) as caught:
                client_of(server.url, keys).list_hits()
            assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
        options = ("--study", study, "--crowd", "server", "--endpoint", server.url)
        assert "4 HITs published" in retest("label", "submit", *options, **SIGNED).stdout
        assert "MissingAuthenticationToken" in retest("label", "check", *options, check=False).stderr
        annotator = Annotator(server.url)
        assert annotator.client.get(server.url).status_code == 200
    for file in study.rglob("*"):
        if file.is_file():
            assert KEYS[1].encode() not in file.read_bytes(), file


@pytest.mark.parametrize(
    ("options", "changes", "message"),
    [
        (("--host", "0.0.0.0"), {}, "does not know its own"),
        (("--host", "0.0.0.0", "--public-url", "https://label.example.org"), {}, "without keys anybody could"),
        (("--public-url", "https://label.example.org"), {}, "without keys anybody could"),
        (("--public-url", "label.example.org"), {}, "is not the http(s) address of a host"),
        (("--public-url", "https://example.org/label"), {}, "without a path"),
        ((), {"RETEST_WORKER_KEY": "short"}, "at least 16"),
        ((), {"RETEST_SERVER_KEY_ID": "only"}, "both are needed"),
    ],
)
def test_a_server_that_would_be_open_to_others_does_not_start(study, options, changes, message):
    done = retest("serve", "--study", study, "--port", "0", *options, check=False, **changes)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_port_that_is_taken_is_one_readable_line(server, study):
    done = retest("serve", "--study", study, "--port", server.port, check=False)
    assert done.returncode == 2
    assert "cannot be listened on" in done.stderr


def test_other_host_names_are_refused(server):
    """A page elsewhere that lets its own name point here (DNS rebinding) could otherwise send operations."""
    headers = {
        "Host": "evil.example",
        "X-Amz-Target": "MTurkRequesterServiceV20170117.ListHITs",
        "Content-Type": "application/x-amz-json-1.1",
    }
    assert httpx.post(server.url, headers=headers, content=b"{}").status_code == 421
    assert httpx.post(server.url, headers={**headers, "Host": f"localhost:{server.port}"}, content=b"{}").status_code == 200


def test_requests_that_are_too_large_are_refused(server):
    headers = {"X-Amz-Target": "MTurkRequesterServiceV20170117.ListHITs", "Content-Type": "application/x-amz-json-1.1"}
    assert httpx.post(server.url, headers=headers, content=b" " * 1_100_000).status_code == 413
    reply = httpx.post(f"{server.url}/mturk/externalSubmit", data={"assignmentId": "X", "a": "x" * 200_000})
    assert reply.status_code == 413


def test_the_server_stops_when_told(study):
    with ServeProcess(study) as server:
        assert server.stop() in (0, -15)
