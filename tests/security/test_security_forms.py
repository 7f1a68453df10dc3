"""Forms and addresses that no page of ours has sent: every way into the server answers, and never with an internal error."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
import security_json as odd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from review_server import CLASSES
from security_server import Served, served

from retest.crowd.page import html_question
from retest.crowd.taskserver import OPERATIONS
from retest.stages import review_people

FORM = "application/x-www-form-urlencoded"
MANY = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
FIELDS = (
    "assignmentId",
    "hit",
    "shown",
    "missing",
    "select-0",
    "token",
    "next",
    "PROLIFIC_PID",
    "STUDY_ID",
    "SESSION_ID",
    "name",
    "role",
    "csrf",
)
FORMS = (
    "/mturk/externalSubmit", "/mturk/saveAnswer", "/mturk/returnAssignment", "/prolific", "/review/sign-in", "/review/sign-out",
    "/join/x", "/review/enter/x", "/review/people", "/review/people/revoke",
)  # fmt: skip
PAGES = (
    "/", "/task", "/next", "/mturk/done", "/mturk/saveAnswer", "/prolific", "/review/sign-in", "/review", "/review/audit", "/review/class",
    "/review/classes", "/review/pairs", "/review/component", "/review/revision", "/review/revision/diff", "/review/predictions",
    "/review/images/display", "/review/api/candidates", "/review/api/image",
)  # fmt: skip
QUERY = ("hitId", "assignmentId", "workerId", "after", "PROLIFIC_PID", "next", "q", "sort", "limit", "wnid", "id", "page", "bin", "kind")
HELD: dict[str, str] = {}
"""Values that lead past the first checks: an assignment that is being worked on, a token that is somebody's."""


@pytest.fixture(scope="module")
def server(fruit: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    import shutil

    folder = tmp_path_factory.mktemp("forms") / "study"
    shutil.copytree(fruit, folder)
    with served(folder, open_workers=True, trusted_proxies=("127.0.0.1",)) as running:
        review_people.note_seen(running.study, "Rex", time="2026-01-01T00:00:00+00:00")
        hit = _hit(running.url)
        HELD.update(hit=hit, token=running.token, wnid=CLASSES[0])
        HELD["assignment"] = at_work(running.url)
        yield running


_numbers = itertools.count(1)


def from_elsewhere() -> dict[str, str]:
    """As from another client each time: wrong tokens of one are limited."""
    number = next(_numbers)
    return {"X-Forwarded-For": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"}


def at_work(url: str) -> str:
    """An assignment that a new annotator is working on."""
    query = {"hitId": HELD["hit"], "workerId": f"AWORKER{next(_numbers)}"}
    return str(httpx.get(f"{url}/task", params=query, follow_redirects=True, timeout=60).url.params["assignmentId"])


def _operation(url: str, operation: str, content: bytes) -> httpx.Response:
    headers = {"X-Amz-Target": f"MTurkRequesterServiceV20170117.{operation}", "Content-Type": "application/x-amz-json-1.1"}
    return httpx.post(url, headers=headers, content=content, timeout=60)


def _hit(url: str) -> str:
    request = {
        "Title": "t", "Description": "d", "Reward": "0.10", "AssignmentDurationInSeconds": 60_000, "LifetimeInSeconds": 60_000,
        "MaxAssignments": 100_000, "Question": html_question('<form><input name="select-0"></form>', item="x"), "UniqueRequestToken": "t",
    }  # fmt: skip
    return str(_operation(url, "CreateHIT", json.dumps(request).encode()).json()["HIT"]["HITId"])


@pytest.fixture(autouse=True)
def no_traceback(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What Starlette answers with 500, uvicorn logs with its traceback."""
    caplog.set_level(logging.ERROR)
    yield
    assert [record.getMessage() for record in caplog.records if record.exc_info or "Exception" in record.getMessage()] == []


def texts() -> st.SearchStrategy[str]:
    return st.one_of(
        st.sampled_from(odd.ODD_TEXTS), st.text(max_size=20), st.sampled_from(sorted(HELD.values()) or ["x"]), st.just("1" * 50)
    )


def encoded(pairs: list[tuple[str, str]]) -> bytes:
    parts = [f"{quote(name, errors='surrogatepass')}={quote(value, errors='surrogatepass')}" for name, value in pairs]
    return "&".join(parts).encode()


def forms() -> st.SearchStrategy[bytes]:
    """Mostly fields of ours with strange values, twice or not at all; sometimes damaged, or no form."""
    fields = st.lists(st.tuples(st.one_of(st.sampled_from(FIELDS), st.text(max_size=5)), texts()), max_size=8).map(encoded)
    return st.one_of(fields, fields, fields.flatmap(odd.damaged), st.binary(max_size=100))


def answered(response: httpx.Response) -> None:
    assert response.status_code < 500, (str(response.request.url), response.status_code, response.text[:500])


@pytest.mark.parametrize("path", FORMS)
def test_forms(server: Served, path: str):
    with httpx.Client(base_url=server.url, timeout=60) as client:

        @MANY
        @given(forms(), st.sampled_from([FORM, FORM, "text/plain", "multipart/form-data; boundary=x", "", "\x7f"]), st.booleans())
        def check(content: bytes, kind: str, mine: bool) -> None:
            # The field that opens the door, so that the rest is looked at.
            known = encoded([("assignmentId", at_work(server.url))]) + b"&" if mine and path.startswith("/mturk") else b""
            answered(client.post(path, content=known + content, headers={"Content-Type": kind, **from_elsewhere()}))

        check()


def test_signed_in_forms(server: Served):
    """Behind the sign-in, with the right form token: names, roles and tokens are strange."""
    token = review_people.give_token(server.study, "Ada", review_people.Role.ADMIN, stamp=_stamp()).token
    with httpx.Client(base_url=server.url, timeout=60) as ada:
        assert ada.post("/review/sign-in", data={"token": token}, headers=from_elsewhere()).status_code == 303
        csrf = ada.get("/review").text.partition('data-csrf="')[2].partition('"')[0]
        assert csrf
        before = _names(server)

        @MANY
        @given(st.sampled_from(["/review/people", "/review/people/revoke"]), texts(), texts(), st.text(max_size=8))
        def check(path: str, name: str, role: str, other: str) -> None:
            fields = [("csrf", csrf), ("name", name if name not in ("Ada", "Rex") else "x"), ("role", role), (other, name)]
            answered(ada.post(path, content=encoded(fields), headers={"Content-Type": FORM}))

        check()
        assert before <= _names(server)
        assert ada.get("/review/people").status_code == 200  # whatever was stored can be shown


def _stamp():
    from review_server import STAMP

    return STAMP


def _names(server: Served) -> set[str]:
    return {person.name for person in review_people.people(server.study)}


@pytest.mark.parametrize("path", PAGES)
def test_addresses(server: Served, path: str):
    with httpx.Client(base_url=server.url, timeout=60) as client:
        client.post("/review/sign-in", data={"token": server.token}, headers=from_elsewhere())

        @MANY
        @given(st.lists(st.tuples(st.one_of(st.sampled_from(QUERY), st.text(max_size=4)), texts()), max_size=5))
        def check(pairs: list[tuple[str, str]]) -> None:
            query = encoded([(name, value[:500]) for name, value in pairs]).decode()
            answered(client.get(f"{path}?{query}"))

        check()


@MANY
@given(st.text(max_size=30), st.sampled_from(["/join/", "/public/", "/review/static/", "/review/enter/", "/review/", "/"]))
def test_paths(server: Served, rest: str, start: str):
    answered(httpx.get(server.url + start + quote(rest, errors="surrogatepass", safe="/"), timeout=60))


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_requester_operations(server: Served, operation: str):
    valid = {
        "HITId": HELD["hit"], "AssignmentId": HELD["assignment"], "MaxResults": 10, "NextToken": "x", "Title": "t", "Reward": "0.10",
        "MaxAssignments": 1, "LifetimeInSeconds": 60, "UniqueRequestToken": "u", "AssignmentStatuses": ["Submitted"], "ExpireAt": 1.5,
        "RequesterFeedback": "f", "NumberOfAdditionalAssignments": 1, "AutoApprovalDelayInSeconds": 60, "Question": "<x/>",
    }  # fmt: skip

    @settings(MANY, max_examples=8)
    @given(odd.documents(valid))
    def check(content: bytes) -> None:
        answered(_operation(server.url, operation, content))

    check()


@MANY
@given(
    st.sampled_from(["/review/api/decisions", "/review/api/take-back", "/review/api/undo", "/review/api/redo"]),
    odd.documents({"changes": [{"kind": "exclusion", "item": "x", "after": {"reason": "r", "detail": ""}, "version": 0}], "numbers": [1]}),
)
def test_review_operations(server: Served, path: str, content: bytes):
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    answered(httpx.post(server.url + path, content=content, headers=headers, timeout=60))


def test_a_form_without_end_is_cut_off(server: Served):
    response = httpx.post(f"{server.url}/mturk/saveAnswer", content=b"a=" + b"x" * 400_000, headers={"Content-Type": FORM}, timeout=60)
    assert response.status_code == 413
    many = b"&".join(b"f%d=1" % number for number in range(5000))
    assert httpx.post(f"{server.url}/mturk/saveAnswer", content=many, headers={"Content-Type": FORM}, timeout=60).status_code == 400
    assert _operation(server.url, "ListHITs", b'{"x": "' + b"y" * 2_000_000 + b'"}').status_code in (400, 413)


def test_the_doors_do_open(server: Served):
    """The values that lead past the first checks do, so the fuzzing gets further than them."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        assert client.post("/mturk/saveAnswer", data={"assignmentId": at_work(server.url), "select-0": "1"}).status_code == 204
        assert client.post("/review/sign-in", data={"token": server.token}, headers=from_elsewhere()).status_code == 303
        assert client.get("/review/classes").status_code == 200
    assert "HIT" in _operation(server.url, "GetHIT", json.dumps({"HITId": HELD["hit"]}).encode()).json()
