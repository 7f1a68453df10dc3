"""Whose forwarded headers are believed: by default nobody's, with ``--trusted-proxy`` those of the web server in front."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from security_server import served

from retest.errors import UsageError
from retest.web import ServerOptions


def sign_in(url: str, *, token: str, forwarded: str | None = None, **headers: str) -> httpx.Response:
    sent = headers if forwarded is None else {"X-Forwarded-For": forwarded, **headers}
    return httpx.post(f"{url}/review/sign-in", data={"token": token}, headers=sent, timeout=30)


def test_a_header_that_anybody_can_write_gives_no_new_tries(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """uvicorn alone believes every program of this machine, and an environment variable makes it believe all."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    with served(folder) as server:
        answers = [sign_in(server.url, token=f"wrong{i}", forwarded=f"192.0.2.{i}").status_code for i in range(11)]
        assert answers == [403] * 10 + [429]
        assert sign_in(server.url, token=server.token, forwarded="203.0.113.1").status_code == 429


def test_behind_a_trusted_proxy_every_client_has_tries_of_its_own(folder: Path):
    with served(folder, trusted_proxies=("127.0.0.1",)) as server:
        for number in range(10):
            assert sign_in(server.url, token=f"wrong{number}", forwarded="192.0.2.7").status_code == 403
        assert sign_in(server.url, token=server.token, forwarded="192.0.2.7").status_code == 429
        assert sign_in(server.url, token=server.token, forwarded="192.0.2.8").status_code == 303
        # What the client wrote itself stands to the left of what the proxy has seen.
        assert sign_in(server.url, token=server.token, forwarded="198.51.100.1, 192.0.2.7").status_code == 429
        assert sign_in(server.url, token=server.token, forwarded="127.0.0.1, 192.0.2.7").status_code == 429


def test_a_proxy_elsewhere_is_not_believed_for_this_machine(folder: Path):
    with served(folder, trusted_proxies=("10.0.3.0/24",)) as server:
        answers = [sign_in(server.url, token=f"wrong{i}", forwarded=f"192.0.2.{i}").status_code for i in range(11)]
        assert answers == [403] * 10 + [429]


def test_no_forwarded_header_moves_the_host_the_links_or_the_cookie(folder: Path):
    """Links and cookies are those of --public-url, whatever a request says about itself."""
    lies = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "Forwarded": "host=evil.example;proto=https"}
    for trusted in ((), ("127.0.0.1",)):
        with served(folder, trusted_proxies=trusted) as server, httpx.Client(headers=lies, timeout=30) as client:
            assert client.get(f"{server.url}/health", headers={"Host": "evil.example", "X-Forwarded-Host": "127.0.0.1"}).status_code == 421
            answer = sign_in(server.url, token=server.token, **lies)
            assert answer.headers["location"] == "/review"
            assert answer.headers["set-cookie"].startswith("retest-review=")  # not __Host-: the address is http
            assert "secure" not in answer.headers["set-cookie"].lower()
            for path in ("/", "/review/sign-in", "/nowhere", "/prolific"):
                assert "evil.example" not in client.get(server.url + path).text
    keys = {"requester_keys": ("retest", "a secret for tests only")}
    with served(folder, public_url="https://label.example.org", **keys) as server:
        host = {"Host": "label.example.org", "Origin": "https://label.example.org"}
        answer = sign_in(server.url, token=server.token, **host)
        assert answer.headers["set-cookie"].startswith("__Host-retest-review=")
        assert "Secure" in answer.headers["set-cookie"]
        assert sign_in(server.url, token=server.token, **{**host, "Origin": "https://evil.example"}).status_code == 403


@pytest.mark.parametrize(
    ("proxy", "message"), [("*", "no address"), ("proxy.example", "no address"), ("0.0.0.0/0", "everybody"), ("::/0", "everybody")]
)
def test_what_cannot_be_trusted_is_refused(proxy: str, message: str):
    with pytest.raises(UsageError, match=message):
        ServerOptions(trusted_proxies=(proxy,))
