"""Images are reachable under their opaque names, all alike, and nothing else is reachable."""

from __future__ import annotations

from contextlib import closing

import httpx
import pytest

from retest.stages._common import public_blob_key
from retest.study import open_study

SECRET_HEADERS = {"last-modified", "etag", "server", "x-powered-by", "accept-ranges", "set-cookie"}


@pytest.fixture
def names(study):
    with closing(open_study(study)) as opened, opened.database.read() as tables:
        return tables.opaque_names.all(1), {image.id for image in tables.originals.all()}


def test_controls_and_candidates_are_served_alike(server, study, names):
    named, originals = names
    headers = {}
    with closing(open_study(study)) as opened:
        for image, name in named.items():
            reply = httpx.get(f"{server.url}/{public_blob_key(name)}")
            assert reply.status_code == 200
            assert reply.content == opened.blobs.get(public_blob_key(name))
            assert not SECRET_HEADERS & set(reply.headers)
            rest = {key: value for key, value in reply.headers.items() if key not in ("date", "content-length")}
            headers.setdefault(image in originals, []).append(rest)
    assert set(headers) == {True, False}
    assert all(one == headers[True][0] for kind in headers.values() for one in kind)
    assert "immutable" in headers[True][0]["cache-control"]


def test_nothing_else_is_reachable(server, study, names):
    name = next(iter(names[0].values()))
    (study / "blobs" / "public" / "secret.txt").write_text("secret")
    for path in (
        "public",
        "public/",
        f"public/{name[:2]}",
        f"public/{name[:2]}/",
        f"public/00/{name}.jpg",
        f"public/{name[:2]}/{name}.png",
        f"public/{name[:2]}/{name.upper()}.jpg",
        "public/secret.txt",
        "public/../study.toml",
        "public/%2e%2e/%2e%2e/study.toml",
        f"public/{name[:2]}/%2e%2e/secret.txt",
        "public/..%2f..%2fstudy.db",
        "study.toml",
        "label-server.db",
        "images/",
    ):
        # httpx would tidy the dots away.
        with httpx.Client(base_url=server.url) as client:
            reply = client.send(client.build_request("GET", "/", extensions={"target": f"/{path}".encode()}))
        assert reply.status_code == 404, path
        assert b"secret" not in reply.content


def test_unknown_images_look_alike(server):
    replies = [httpx.get(f"{server.url}/public/{name}") for name in ("ab/" + "ab" * 16 + ".jpg", "no", "aa/" + "b" * 32 + ".jpg")]
    assert len({(reply.status_code, reply.text) for reply in replies}) == 1


def test_every_answer_says_that_it_is_not_to_be_referred_to(server):
    for path in ("/", "/health", "/nowhere", "/task?hitId=x", "/instructions", "/join/x", "/prolific", "/mturk/done"):
        reply = httpx.get(server.url + path)
        assert reply.headers["referrer-policy"] == "no-referrer", path
        assert reply.headers["x-content-type-options"] == "nosniff", path
        if "html" in reply.headers["content-type"]:
            policy = reply.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert reply.headers["cache-control"] == "no-store"
    assert httpx.get(f"{server.url}/health").json() == {"status": "ok"}
