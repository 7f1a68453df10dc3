"""Where reviewers' images come from: this server, an object store at signed addresses (moto over HTTP), or a local copy alone."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from review_server import KEY, ReviewServer

from retest.errors import StoreError, UsageError
from retest.images import content_hash
from retest.stages import publish
from retest.stages.localcache import fill_cache
from retest.store import open_blobs
from retest.study import open_study
from retest.web import ReviewOptions
from retest.web.review.images import ImageReader, image_origin

_serial = itertools.count()


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """Address of an S3 server in this process that speaks HTTP."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    values = {"AWS_ENDPOINT": f"http://{host}:{port}", "AWS_ALLOW_HTTP": "true", "AWS_ACCESS_KEY_ID": "test"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**values, "AWS_SECRET_ACCESS_KEY": "secret-of-s3", "AWS_REGION": "us-east-1"}.items():
            patch.setenv(name, value)
        yield values["AWS_ENDPOINT"]
    server.stop()


@pytest.fixture
def remote(folder, s3) -> Path:
    """The study with its blobs in a bucket."""
    bucket = f"review-{next(_serial)}"
    httpx.put(f"{s3}/{bucket}").raise_for_status()
    with closing(open_study(folder)) as study:
        there = open_blobs(f"s3://{bucket}/mine", base=Path())
        for key, _ in study.blobs.list("images"):
            there.put_new(key, study.blobs.get(key))
    settings = (folder / "study.toml").read_text()
    assert '# blobs = "blobs"' in settings
    (folder / "study.toml").write_text(settings.replace('# blobs = "blobs"', f'blobs = "s3://{bucket}/mine"'))
    shutil.rmtree(folder / "blobs")
    return folder


def stored_image(server) -> tuple[str, str, str]:
    """(id, key, SHA-256) of a candidate's image as it is displayed."""
    with server.study.database.read() as tables:
        variant = ImageReader(server.study, None).find(tables, server.ids()[0], "display")
    return variant.image_id, variant.blob_key, variant.sha256


def test_a_signed_address_is_the_stores_and_expires(remote, s3):
    with ReviewServer(remote, image_urls="signed", image_url_s=120) as server, server.browser_client("Ann") as ann:
        image, key, sha256 = stored_image(server)
        address = ann.get("/review/api/candidates", params={"wnid": "apple", "sort": "id"}).json()["candidates"][-1]["image"]
        answer = ann.get(address, follow_redirects=False)
        assert answer.status_code == 302
        assert answer.headers["cache-control"] == "private, max-age=60"
        target = urlsplit(answer.headers["location"])
        assert f"{target.scheme}://{target.netloc}" == s3
        assert target.path.endswith(key)
        query = parse_qs(target.query)
        assert query["X-Amz-Expires"] == ["120"]
        assert len(query["X-Amz-Signature"][0]) == 64
        assert "secret-of-s3" not in answer.headers["location"]
        assert content_hash(httpx.get(answer.headers["location"]).content) == sha256
        for path, params in ((address, {}), ("/review/images/display", {"id": image})):
            proxied = ann.get(path, params={**dict(httpx.URL(path).params), **params, "proxied": "1"})
            assert (proxied.status_code, content_hash(proxied.content)) == (200, sha256)
        as_page = ann.get(address, headers={"Sec-Fetch-Dest": "document"})
        assert (as_page.status_code, as_page.headers["content-type"]) == (200, "image/jpeg")
        missing = ann.get("/review/images/display", params={"id": "f" * 40}, follow_redirects=False)
        assert (missing.status_code, missing.headers["content-type"]) == (200, "image/svg+xml")
    with ReviewServer(remote, image_urls="signed") as server, server.client(None) as nobody:
        assert nobody.get(address, follow_redirects=False).status_code == 401


def test_the_policy_of_pages_admits_exactly_the_store(remote, s3):
    for options, wanted in (({"image_urls": "signed"}, f"'self' {s3}"), ({}, "'self'")):
        with ReviewServer(remote, **options) as server, server.browser_client("Rex") as rex:
            for path in ("/review", "/review/class?wnid=apple", "/review/hits", "/review/nothing"):
                policy = rex.get(path).headers["content-security-policy"]
                assert re.search(r"img-src ([^;]*);", policy).group(1) == wanted
                assert policy.count(s3) == (1 if options else 0)
                assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")


def test_only_object_stores_have_signed_addresses(folder, tmp_path):
    signed = ReviewOptions(key=KEY, image_urls="signed")
    with closing(open_study(folder)) as study:
        with pytest.raises(UsageError, match="no signed addresses"):
            image_origin(study, signed)
        in_memory = dataclasses.replace(study, blobs=open_blobs("memory://", base=tmp_path))
        with pytest.raises(UsageError, match="no signed addresses"):
            image_origin(in_memory, signed)
        assert image_origin(study, ReviewOptions(key=KEY)) == ""


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"image_urls": "odd"}, "not known"),
        ({"image_urls": "cached"}, "no cache of images"),
        ({"image_urls": "signed", "image_cache": Path("x")}, "no image passes through"),
        ({"image_url_s": 59}, "60 to"),
        ({"image_url_s": 604801}, "60 to"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, problem):
    with pytest.raises(UsageError, match=problem):
        ReviewOptions(key=KEY, **options)


class Unreachable:
    """A store without a network; ``asked`` are the keys that somebody wanted."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def get(self, key: str) -> bytes:
        self.asked.append(key)
        raise StoreError("the blob store failed (no network)", item=key, remedy="Connect")


def test_the_studys_own_cache_serves_reviewers_without_a_network(remote, tmp_path):
    """The published server's --use-local-images: fill the folder while there is a network, then never ask the store."""
    cache = tmp_path / "images"
    with closing(open_study(remote)) as study:
        publish.publish_images(study, key=None)
        assert fill_cache(study, cache).fetched > 0
    with ReviewServer(remote, image_cache=cache, image_urls="cached") as server, server.browser_client("Ann") as ann:
        blobs = Unreachable()
        object.__setattr__(server.study, "blobs", blobs)
        _, key, _ = stored_image(server)
        items = ann.get("/review/api/candidates", params={"wnid": "apple"}).json()["candidates"]
        for item in items:
            answer = ann.get(item["image"])
            assert answer.status_code == 200
            assert answer.headers["content-type"] == ("image/jpeg" if item["stored"] else "image/svg+xml")
        (cache / key).unlink()
        gone = ann.get("/review/images/display", params={"id": server.ids()[0]})
        assert (gone.status_code, gone.headers["content-type"]) == (200, "image/svg+xml")
        assert "not reachable now" in gone.text
        assert blobs.asked == []


def test_a_store_that_fails_leaves_a_placeholder_and_the_page_goes_on(folder, caplog):
    with ReviewServer(folder) as server, server.browser_client("Ann") as ann:
        blobs = Unreachable()
        object.__setattr__(server.study, "blobs", blobs)
        answer = ann.get("/review/images/display", params={"id": server.ids()[0]})
        assert (answer.status_code, answer.headers["x-retest-placeholder"]) == (200, "1")
        assert answer.headers["cache-control"] == "no-store"
        assert "not reachable now" in answer.text
        assert len(blobs.asked) == 1
        assert "no network" in caplog.text


@pytest.mark.browser
def test_chromium_fetches_images_from_the_store_and_asks_here_for_what_fails(browser, remote, s3):
    with ReviewServer(remote, image_urls="signed") as server:
        _, key, _ = stored_image(server)
        server.study.blobs.delete(key)  # signed all the same: the store answers 404
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(20_000)
        refused, fetched = [], []
        page.on("console", lambda m: refused.append(m.text) if "Content Security Policy" in m.text else None)
        page.on("response", lambda r: fetched.append(r.status) if r.url.startswith(s3) else None)
        page.goto(f"{server.url}/review/sign-in")
        page.fill("#token", server.tokens["Rex"])
        page.click("button.primary")
        page.wait_for_url(f"{server.url}/review")
        page.goto(f"{server.url}/review/class?wnid=apple&size=100")
        page.wait_for_selector(".tile")
        page.wait_for_function(
            "() => { const shown = [...document.querySelectorAll('.tile img')];"
            " return shown.length === 13 && shown.every(image => image.complete && image.naturalWidth > 0); }"
        )
        assert page.locator("img[src*='proxied=1']").count() == 1  # the placeholder of what the store has lost
        assert fetched.count(200) >= 11
        assert refused == []
        page.close()


def test_the_command_says_what_is_wrong(folder):
    import subprocess
    import sys

    def serve(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "retest", "serve", "--study", str(folder), "--port", "0", *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            env=dict(os.environ),
        )
        assert done.returncode in (1, 2)
        assert "Traceback" not in done.stderr
        return done.stderr

    assert "no signed addresses" in serve("--image-urls", "signed")
    assert "no cache of images" in serve("--image-urls", "cached")
