"""Invitations, Prolific, the next task, returning, coming back, and the end: over real HTTP."""

from __future__ import annotations

import sqlite3

import httpx
import pytest
from web_annotator import Annotator
from web_server import CODE, ServeThread, invite, make_study, retest

from retest.errors import NotFoundError, UsageError
from retest.web import Participants

PROLIFIC = {"PROLIFIC_PID": "5f0000000000000000000001", "STUDY_ID": "600000000000000000000001", "SESSION_ID": "700000000000000000000001"}


def publish(study, server):
    retest("label", "submit", "--study", study, "--crowd", "server", "--endpoint", server.url)


def test_an_invited_annotator_gets_every_hit_once(study, server):
    publish(study, server)
    link = invite(study, server, "ALICE")
    alice = Annotator(server.url)
    welcome = alice.client.get(link)
    assert "consent to take part" in welcome.text
    assert "lab@example.org" in welcome.text
    seen = []
    going = alice.start(link)
    while going:
        seen.append(alice.hit)
        assert len(alice.images) == 8
        going = alice.submit(0)
    assert len(seen) == len(set(seen)) == 4
    assert "You have handed in 4 tasks" in alice.text()
    assert "/instructions" in alice.page.text
    assert "You have handed in 4 tasks" in alice.client.get(link).text
    assert not alice.start(link)  # nothing left for her, and no second chance


def test_opening_a_link_takes_no_task(study, server):
    publish(study, server)
    link = invite(study, server, "BOB")
    for _ in range(3):
        assert httpx.get(link).status_code == 200
    shown = retest("label", "progress", "--study", study, "--crowd", "server", "--endpoint", server.url).stdout
    assert "pending 0, available 12" in shown


def test_tokens_are_stored_hashed_and_can_be_replaced_and_revoked(study, server):
    publish(study, server)
    old = invite(study, server, "CAROL")
    token = old.rpartition("/")[2]
    for file in study.glob("participants.db*"):
        assert token.encode() not in file.read_bytes()
    carol = Annotator(server.url)
    assert carol.start(old)
    first = carol.hit
    new = invite(study, server, "CAROL")
    assert httpx.get(old).status_code == 404
    assert carol.start(new)
    assert carol.hit == first  # the same person: her running task, not another one
    assert "CAROL" in retest("label", "invite", "--study", study, "--list").stdout
    retest("label", "invite", "--study", study, "--revoke", "CAROL")
    assert httpx.get(new).status_code == 404
    assert not carol.submit(1)  # what she has is still taken, but there is no next one
    assert retest("label", "invite", "--study", study, "--revoke", "NOBODY", check=False).returncode == 1


def test_images_that_lie_elsewhere_may_be_shown(study, server):
    """`--image-url`: the images stay where the study that publishes has them, and the page's policy lets the browser load them."""
    elsewhere = "https://pictures.example:8443"
    retest("label", "submit", "--study", study, "--crowd", "mturk", "--endpoint", server.url, "--image-url", elsewhere)
    hugo = Annotator(server.url)
    hugo.start(invite(study, server, "HUGO"))
    assert all(url.startswith(f"{elsewhere}/public/") for url in hugo.images)
    sources = hugo.page.headers["content-security-policy"].partition("img-src ")[2].partition(";")[0].split()
    assert set(sources) == {"'self'", server.url, elsewhere}


def test_who_has_done_enough_is_done(tmp_path):
    study = make_study(tmp_path, serve={"tasks_per_participant": 1})
    with ServeThread(study) as server:
        publish(study, server)
        link = invite(study, server, "GIL")
        gil = Annotator(server.url)
        assert gil.start(link)
        assert not gil.submit(3)
        assert "You are done" in gil.text()
        assert not gil.start(link)
        assert "You are done" in gil.text()


def test_a_returned_task_is_another_annotators(study, server):
    publish(study, server)
    dora = Annotator(server.url)
    dora.start(invite(study, server, "DORA"))
    first = dora.hit
    dora.page = dora.client.post(f"{server.url}/mturk/returnAssignment", data=dora.form())
    assert "You have returned the task" in dora.text()
    dora.page = dora.client.get(f"{server.url}/next", params={"after": dora.assignment})
    assert dora.at_task
    assert dora.hit != first


def test_saved_answers_come_back_in_another_browser(study, server):
    publish(study, server)
    link = invite(study, server, "EVE")
    eve = Annotator(server.url)
    eve.start(link)
    assert eve.client.get(f"{server.url}/mturk/saveAnswer", params={"assignmentId": eve.assignment}).status_code == 204
    assert eve.client.post(f"{server.url}/mturk/saveAnswer", data=eve.form(2, 5)).status_code == 204
    elsewhere = Annotator(server.url)
    elsewhere.start(link)
    kept = elsewhere.client.get(f"{server.url}/mturk/saveAnswer", params={"assignmentId": elsewhere.assignment}).json()
    assert {name for name in kept if name.startswith("select-")} == {"select-2", "select-5"}


def test_strangers_get_no_task(study, server):
    publish(study, server)
    assert httpx.get(f"{server.url}/join/guess").status_code == 404
    assert httpx.post(f"{server.url}/join/guess").status_code == 404
    assert httpx.get(f"{server.url}/next", params={"after": "GUESS"}).status_code == 404
    hit_id = retest("label", "list", "--study", study, "--json").stdout.split('"hit_id": "')[1].partition('"')[0]
    preview = httpx.get(f"{server.url}/task", params={"hitId": hit_id, "workerId": "AGUESS"})
    assert preview.status_code == 200
    assert "assignmentId" not in preview.url.params
    reply = httpx.post(f"{server.url}/mturk/externalSubmit", data={"assignmentId": "GUESS"})
    assert reply.status_code == 404
    assert "text/plain" in reply.headers["content-type"]
    frank = Annotator(server.url)
    frank.start(invite(study, server, "FRANK"))
    other = {"hitId": hit_id, "assignmentId": frank.assignment, "workerId": "AGUESS"}
    assert httpx.get(f"{server.url}/task", params=other).status_code == 404


@pytest.fixture(scope="module")
def prolific(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prolific")
    study = make_study(
        folder, serve={"prolific_completion_code": CODE, "tasks_per_participant": 2, "prolific_study_id": PROLIFIC["STUDY_ID"]}
    )
    with ServeThread(study) as server:
        publish(study, server)
        yield study, server


def test_a_prolific_participant_answers_and_gets_the_code(prolific):
    study, server = prolific
    person = Annotator(server.url)
    welcome = person.client.get(f"{server.url}/", params=PROLIFIC)
    assert welcome.url.path == "/prolific"
    assert CODE not in welcome.text
    assert person.start(f"{server.url}/prolific", PROLIFIC)
    worker = person.page.url.params["workerId"]
    assert PROLIFIC["PROLIFIC_PID"] not in str(person.page.url)
    assert person.submit(0)
    assert not person.submit(0)  # two tasks each
    assert f'content="5; url=https://app.prolific.com/submissions/complete?cc={CODE}"' in person.page.text
    assert person.page.status_code == 200  # an own page: the task page's script cannot follow a redirect to another site
    again = Annotator(server.url)
    assert not again.start(f"{server.url}/prolific", PROLIFIC)
    assert CODE in again.page.text
    # The task server's own state knows no Prolific id; participants.db does.
    assert PROLIFIC["PROLIFIC_PID"].encode() not in b"".join(f.read_bytes() for f in study.glob("label-server.db*"))
    with sqlite3.connect(study / "participants.db") as db:
        assert db.execute("SELECT name FROM participants WHERE worker_id = ?", (worker,)).fetchall() == [(PROLIFIC["PROLIFIC_PID"],)]


def test_who_returns_a_later_task_still_gets_the_code(prolific):
    """What was handed in is paid for; returning the next task takes nothing away."""
    _, server = prolific
    person = Annotator(server.url)
    assert person.start(f"{server.url}/prolific", {**PROLIFIC, "PROLIFIC_PID": "5f0000000000000000000777"})
    assert person.submit(0)
    person.page = person.client.post(f"{server.url}/mturk/returnAssignment", data=person.form())
    assert "You have returned the task" in person.text()
    assert "Take another task" in person.text()
    assert f"https://app.prolific.com/submissions/complete?cc={CODE}" in person.page.text
    assert "http-equiv" not in person.page.text  # nobody is taken away before they have chosen


def test_who_returns_the_first_task_gets_no_code(prolific):
    _, server = prolific
    person = Annotator(server.url)
    assert person.start(f"{server.url}/prolific", {**PROLIFIC, "PROLIFIC_PID": "5f0000000000000000000778"})
    person.page = person.client.post(f"{server.url}/mturk/returnAssignment", data=person.form())
    assert CODE not in person.page.text


@pytest.mark.parametrize("change", [{"PROLIFIC_PID": ""}, {"PROLIFIC_PID": "<script>"}, {"STUDY_ID": "other0000000"}, {"SESSION_ID": ""}])
def test_incomplete_prolific_links_are_refused(prolific, change):
    _, server = prolific
    reply = httpx.get(f"{server.url}/prolific", params={**PROLIFIC, **change})
    assert reply.status_code == 400
    assert "<script>" not in reply.text
    assert httpx.post(f"{server.url}/prolific", data={**PROLIFIC, **change}).status_code == 400


def test_prolific_is_closed_unless_it_is_set_up(server):
    assert httpx.get(f"{server.url}/prolific", params=PROLIFIC).status_code == 404


def test_who_came_without_answering_gets_no_code(tmp_path):
    study = make_study(tmp_path, serve={"prolific_completion_code": CODE})
    with ServeThread(study) as server:
        person = Annotator(server.url)
        assert not person.start(f"{server.url}/prolific", PROLIFIC)  # nothing is published
        assert CODE not in person.page.text
        assert "return your submission" in person.text()


def test_the_list_of_participants(tmp_path):
    path = tmp_path / "participants.db"
    people = Participants(path)
    first = people.invite(" ALICE ", now=1.0)
    assert people.by_token(first.token).name == "ALICE"
    second = people.invite("ALICE", now=2.0)
    assert second.replaced
    assert second.worker_id == first.worker_id
    assert people.by_token(first.token) is None
    for _ in range(2):
        people.note_answered(first.worker_id, "X")
    assert people.by_worker(first.worker_id).answered == 1
    assert first.token not in repr(first)
    assert "ALICE" not in repr(people.by_worker(first.worker_id))
    with pytest.raises(UsageError, match="1 to 200"):
        people.invite("  ", now=1.0)
    with pytest.raises(NotFoundError, match="nobody of this name"):
        people.revoke("BOB")
    assert path.stat().st_mode & 0o077 == 0
    people.close()
