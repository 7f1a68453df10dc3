"""Who gets in, with which role; CSRF, other sites, other hosts, rate limits, read-only mode, the key."""

from __future__ import annotations

import re
import stat

import httpx
import pytest
from review_server import KEY, STAMP, ReviewServer

from retest.errors import StoreError, UsageError
from retest.stages import review_people
from retest.web.review import session_key
from retest.web.review.session import Limiter

GONE = {"reason": "not the class", "detail": ""}


def body(server, number=0):
    return {"changes": [{"kind": "exclusion", "item": server.ids()[number], "after": GONE, "version": 0}]}


def test_nobody_sees_anything_without_signing_in(server):
    with server.client(None) as nobody:
        page = nobody.get("/review?q=apple")
        assert (page.status_code, page.headers["location"]) == (303, "/review/sign-in?next=%2Freview%3Fq%3Dapple")
        assert nobody.get("/review/api/decisions").status_code == 401
        assert nobody.get("/review/images/display", params={"id": server.ids()[0]}).status_code == 401
        assert nobody.post("/review/api/decisions", json=body(server)).status_code == 401


def test_a_token_signs_in_and_goes_where_one_wanted_but_never_to_another_site(server):
    for wanted, reached in (
        ("/review/audit?kind=exclusion", "/review/audit?kind=exclusion"),
        ("https://evil.example/", "/review"),
        ("//evil.example/review", "/review"),
        ("/review\\..\\x", "/review"),
        ("/reviewx", "/review"),
    ):
        with server.client(None) as client:
            done = client.post("/review/sign-in", data={"token": server.tokens["Rex"], "next": wanted})
            assert (done.status_code, done.headers["location"]) == (303, reached)
            assert client.get("/review").status_code == 200


def test_the_cookie_is_httponly_and_samesite_and_over_https_secure_and_bound_to_the_host(server, folder):
    with server.client(None) as client:
        cookie = client.post("/review/sign-in", data={"token": server.tokens["Rex"]}).headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie
    from starlette.responses import Response

    from retest.web.review.session import Sessions

    response = Response()
    person = review_people.by_name(server.study, "Rex")
    Sessions(server.study, KEY, secure=True, local_admin=None).begin(response, person)
    assert response.headers["set-cookie"].startswith("__Host-retest-review=")
    assert "Secure" in response.headers["set-cookie"]


def test_a_session_ends_when_the_token_is_replaced_or_revoked(server):
    with server.browser_client("Rex") as rex, server.browser_client("Ann") as ann:
        review_people.give_token(server.study, "Rex", review_people.Role.REVIEWER, stamp=STAMP)
        review_people.revoke(server.study, "Ann", stamp=STAMP)
        assert rex.get("/review").status_code == 303
        assert ann.get("/review").status_code == 303
    with server.client("Rex") as script:
        assert script.get("/review/api/who").status_code == 401


def test_a_forged_or_altered_cookie_is_nobody(server):
    with server.browser_client("Ann") as ann:
        name, value = next(iter(ann.cookies.items()))
    for forged in (value[:-2] + "xx", "x" + value, "", "a.b.c", value.replace(".", "", 1)):
        assert httpx.get(f"{server.url}/review/api/who", cookies={name: forged}).status_code == 401


def test_a_change_needs_the_csrf_token_and_a_page_of_this_site(server):
    with server.browser_client() as rex:
        token = rex.headers.pop("X-CSRF-Token")
        assert rex.post("/review/api/decisions", json=body(server)).status_code == 403
        assert rex.post("/review/api/decisions", json=body(server), headers={"X-CSRF-Token": "0" * 64}).status_code == 403
        for elsewhere in (
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ):
            answer = rex.post("/review/api/decisions", json=body(server), headers={"X-CSRF-Token": token, **elsewhere})
            assert answer.status_code == 403, elsewhere
        fine = rex.post("/review/api/decisions", json=body(server), headers={"X-CSRF-Token": token, "Origin": server.url})
        assert fine.status_code == 200
    with server.browser_client("Ada") as ada:  # another session's token is of no use
        assert ada.post("/review/api/decisions", json=body(server, 1), headers={"X-CSRF-Token": token}).status_code == 403


def test_signing_in_or_out_from_another_site_is_refused(server):
    with server.client(None) as client:
        for path in ("/review/sign-in", "/review/sign-out"):
            done = client.post(path, data={"token": server.tokens["Rex"]}, headers={"Origin": "https://evil.example"})
            assert done.status_code == 403
            assert "set-cookie" not in done.headers


def test_roles_are_kept(server):
    with server.client("Ann") as ann, server.client("Rex") as rex:
        assert ann.post("/review/api/decisions", json=body(server)).status_code == 403
        number = rex.post("/review/api/decisions", json=body(server)).json()["decided"][0]["no"]
        assert ann.post("/review/api/take-back", json={"numbers": [number]}).status_code == 403
        assert ann.get("/review/api/decisions").status_code == 200


def test_a_wrong_name_is_the_admins_to_correct_and_a_full_disk_is_not(server, monkeypatch):
    def fail(*_, **__):
        raise StoreError("the database is full", remedy="Free some space")

    with server.browser_client("Ada") as ada:

        def give(name):
            csrf = ada.headers["X-CSRF-Token"]
            return ada.post("/review/people", data={"csrf": csrf, "name": name, "role": "reviewer"})

        wrong = give("<nobody>")
        assert (wrong.status_code, "is no name" in wrong.text, "Give a token" in wrong.text) == (422, True, True)
        monkeypatch.setattr(review_people, "give_token", fail)
        full = give("Eve")
        assert (full.status_code, "the database is full" in full.text) == (503, True)


def test_read_only_lets_everybody_look_and_nobody_decide(folder):
    with ReviewServer(folder, read_only=True) as server, server.client("Ada") as ada:
        assert ada.get("/review/api/who").json() == {"name": "Ada", "role": "admin", "read_only": True}
        assert ada.post("/review/api/decisions", json=body(server)).status_code == 403
        with server.browser_client("Ada") as page:
            assert 'data-may-decide="no"' in page.get("/review").text


def test_wrong_tokens_are_limited_and_the_right_one_waits_too(server):
    with server.client(None) as client:
        answers = [client.post("/review/sign-in", data={"token": f"wrong{i}"}).status_code for i in range(11)]
        assert answers == [403] * 10 + [429]
        late = client.post("/review/sign-in", data={"token": server.tokens["Rex"]})
        assert late.status_code == 429
        assert int(late.headers["retry-after"]) > 0
        assert client.get("/review/api/who", headers={"Authorization": "Bearer wrong"}).status_code == 429


def test_the_limiter_forgets_after_its_window():
    clock = [0.0]
    limiter = Limiter(lambda: clock[0], most=2, window_s=60)
    for second in (0.0, 30.0):
        clock[0] = second
        limiter.failed("a")
    assert limiter.wait_s("a") == 31
    assert limiter.wait_s("b") == 0
    clock[0] = 61.0
    assert limiter.wait_s("a") == 0


def test_the_operators_link_signs_in_as_admin_until_the_server_stops(folder):
    with ReviewServer(folder, local_admin="operator") as server:
        link = f"/review/enter/{server.app.state.review_desk.sessions.local_code}"
        with server.client(None) as client:
            page = client.get(link)
            assert page.status_code == 200
            assert "set-cookie" not in page.headers  # a program that previews links is not signed in
            assert client.post(link).status_code == 303
            assert "operator (admin)" in client.get("/review").text
            assert client.post("/review/enter/wrong").status_code == 404
            server.pause()
            server.resume()
            assert client.get("/review").status_code == 303


def test_without_being_asked_there_is_no_link(server):
    link = f"/review/enter/{server.app.state.review_desk.sessions.local_code}"
    with server.client(None) as client:
        assert client.get(link).status_code == 404
        assert client.post(link).status_code == 404


def test_pages_carry_a_strict_policy_and_nothing_inline(server):
    with server.browser_client("Ada") as ada:
        for path in ("/review", "/review/sign-in", "/review/nowhere"):
            page = ada.get(path, follow_redirects=True)
            policy = page.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=", page.text)
            assert page.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["../visit.py", "%2e%2e/visit.py", "..%2f..%2fapp.py", "/etc/passwd", "....//visit.py"])
def test_nothing_outside_the_static_files_is_reachable(server, path):
    with server.client("Ada") as ada:
        answer = ada.get(f"/review/static/x/{path}")
        assert answer.status_code == 404
        assert not {"import", "root:"} & set(answer.text.split())


@pytest.mark.parametrize("image", ["../study.toml", "..%2Fstudy.db", "/etc/passwd", "\0", "a" * 5000, "<script>"])
def test_an_id_that_is_no_image_gives_the_placeholder_and_no_file(server, image):
    with server.browser_client("Ada") as ada:
        answer = ada.get("/review/images/display", params={"id": image})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")
    assert "no image stored" in answer.text


def test_the_key_is_made_once_readable_by_its_owner_only_and_the_environment_comes_first(tmp_path):
    key = session_key(tmp_path, {})
    assert session_key(tmp_path, {}) == key
    assert stat.S_IMODE((tmp_path / "review.key").stat().st_mode) == 0o600
    assert session_key(tmp_path, {"RETEST_REVIEW_KEY": "an operator's own key"}) == b"an operator's own key"
    with pytest.raises(UsageError, match="RETEST_REVIEW_KEY: has 5 bytes"):
        session_key(tmp_path, {"RETEST_REVIEW_KEY": "short"})
