"""A whole run with planted secrets, failures provoked, every logger at its most talkative: none of them is written or said anywhere."""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
import zlib
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch
from urllib.parse import quote

import httpx
import pytest
from security_secrets import IDENTIFIERS, PLANTED, PROLIFIC_PID, found_below, found_in

sys.path += [str(Path(__file__).parents[1] / part) for part in ("collect", "web")]

from collect_study import make_study
from web_annotator import Annotator
from web_server import ServeProcess

from retest.cli import main
from retest.stages import duplicates
from retest.stages._common import Stamp
from retest.stages.simulate import simulated_reviews
from retest.study import open_study
from retest.testing.flickr import FakeFlickr, sample_photos
from retest.testing.imageserver import sample_image

SECRETS = {name: value for name, value in PLANTED.items() if name not in IDENTIFIERS}
STAMP = Stamp("tester", "2026-01-31T09:00:00+00:00")
OTHER = "the wrong secret, of enough letters"
LABELING = {"images_to_label": 4, "positive_controls": 1, "negative_controls": 1, "assignments_per_hit": 1, "min_assignments": 1}
SAMPLING = {"min_num_annotations": 1, "min_num_val_images_per_wnid": 0}
MODELS = """
import numpy as np
from retest.errors import InputError


class Mean:
    name, fingerprint, preprocessing, num_classes, provenance = "mean", "mean-1", "mean-1", 2, {"kind": "test"}

    def preprocess(self, rgb):
        return rgb.reshape(-1, 3).mean(axis=0).astype(np.float32)

    def predict(self, batch):
        return batch[:, :2]


def load():
    return Mean()


def broken():
    raise InputError("no such weights", item="broken")
"""


class Talk:
    """Runs commands in this process; keeps all that they say, and that any library logs at any level."""

    def __init__(self) -> None:
        self.said = io.StringIO()
        self.failures = 0

    def __call__(self, *arguments: object, quiet: bool = False, fails: bool | None = False, **changes: str) -> str:
        out, err, code = io.StringIO(), io.StringIO(), 0
        with patch.dict(os.environ, changes), redirect_stdout(out), redirect_stderr(err):
            try:
                main(["--debug", *map(str, arguments)])
            except SystemExit as ended:
                code = int(ended.code or 0)
            except Exception:  # --debug shows the traceback
                traceback.print_exc(file=err)
                code = 1
        self.failures += code != 0
        assert fails is None or bool(code) == fails, (arguments, code, out.getvalue()[-2000:], err.getvalue()[-4000:])
        self.said.write("" if quiet else out.getvalue())
        self.said.write(err.getvalue())
        return out.getvalue()


@pytest.fixture
def talk() -> Iterator[Talk]:
    talk, root = Talk(), logging.getLogger()
    handler = logging.StreamHandler(talk.said)
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield talk
    root.setLevel(level)
    root.removeHandler(handler)


@pytest.fixture
def bucket() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    httpx.put(f"http://{host}:{port}/planted", timeout=60).raise_for_status()
    yield f"http://{host}:{port}"
    server.stop()


def stored_objects(bucket: str, folder: Path) -> None:
    """Bring every object of the bucket into a folder."""
    import boto3

    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "y", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=bucket, **keys)
    for page in client.get_paginator("list_objects_v2").paginate(Bucket="planted"):
        for entry in page.get("Contents", []):
            target = folder / quote(entry["Key"], safe="")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(client.get_object(Bucket="planted", Key=entry["Key"])["Body"].read())


def jpeg(photo: str, size: str) -> bytes:
    data = io.BytesIO()
    sample_image(int(photo) % 100_000).save(data, "JPEG")
    return data.getvalue()


def people(talk: Talk, study: Path, server: ServeProcess, secrets: dict[str, str]) -> None:
    """Annotators by invitation and from Prolific, reviewers, and strangers with wrong tokens, keys and forms."""
    url = server.url
    secrets["invitation"] = (
        talk("label", "invite", "--study", study, "--name", "ANN", "--public-url", url, quiet=True).strip().rpartition("/")[2]
    )
    secrets["reviewer"] = talk("people", "add", "--study", study, "--name", "Rex", quiet=True).strip()
    ann = Annotator(url)
    going = ann.start(f"{url}/join/{secrets['invitation']}")
    while going:
        going = ann.submit(0)
    pages = [httpx.get(f"{url}/join/{OTHER}")]
    prolific = {"PROLIFIC_PID": PROLIFIC_PID, "STUDY_ID": "6" * 24, "SESSION_ID": "7" * 24}
    for enter in (httpx.get(f"{url}/prolific", params=prolific), httpx.post(f"{url}/prolific", data=prolific, follow_redirects=True)):
        assert enter.status_code == 200  # what they see of themselves is theirs
    pages += [httpx.post(f"{url}/review/sign-in", data={"token": secrets["reviewer"] + "x"})]
    with httpx.Client(base_url=url) as rex:
        pages += [rex.post("/review/sign-in", data={"token": secrets["reviewer"]}), rex.get("/review"), rex.get("/review/audit")]
    bearer = {"Authorization": f"Bearer {secrets['reviewer']}"}
    pages += [httpx.get(f"{url}/review/api/candidates", headers=bearer), httpx.post(f"{url}/review/api/decisions", headers=bearer, json={})]
    pages += [httpx.post(url, headers={"X-Amz-Target": "MTurkRequesterServiceV20170117.ListHITs"}, content=b"{}")]
    pages += [
        httpx.post(f"{url}/mturk/externalSubmit", data={"assignmentId": "none"}),
        httpx.post(f"{url}/mturk/saveAnswer", content=b"\xff" * 200_000),
    ]
    for page in pages:
        talk.said.write(page.text)


@pytest.mark.usefixtures("no_patience")
def test_no_secret_is_written_or_said(tmp_path: Path, talk: Talk, bucket: str, monkeypatch: pytest.MonkeyPatch):
    secrets = dict(SECRETS)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "planted_models.py").write_text(MODELS)
    monkeypatch.syspath_prepend(str(tmp_path / "models"))
    for name, value in {**PLANTED, "AWS_ENDPOINT": bucket, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    photos = [*sample_photos("tench", 4), *sample_photos("goldfish", 4, first_id=8_000_000_000, seed=1)]
    run = tmp_path / "run"
    run.mkdir()
    with FakeFlickr(photos, key=PLANTED["FLICKR_API_KEY"], image=jpeg) as flickr:
        made = make_study(
            run / "study", source={"kind": "flickr", "location": flickr.url}, environment=PLANTED,
            study={"name": "mine", "blobs": "s3://planted/mine"}, labeling=LABELING,
            neighbors={"metrics": ["l2"]}, review={"targets.l2": 0.0}, sampling=SAMPLING,
            crowd={"backend": "server", "endpoint": "http://127.0.0.1:9"}, serve={"prolific_completion_code": "DONE42"},
        )  # fmt: skip
        study = made.folder
        on = ("--study", study)
        flickr.fail("503", "html", "truncated", "fail-100")
        talk("search", *on, fails=True)
        talk("search", *on, fails=True, FLICKR_API_KEY=OTHER)
        talk("search", *on)
        talk("download", *on)
    talk("publish", *on)
    talk("publish", *on, "--key-version", 2, fails=None)
    talk("check", *on)
    talk("label", "plan", *on)
    talk("label", "submit", *on, fails=True)  # nobody listens
    server_log = run / "server.log"
    with ServeProcess(study, **PLANTED) as server:
        at = ("--crowd", "server", "--endpoint", server.url)
        talk("label", "submit", *on, *at, fails=True, RETEST_SERVER_SECRET_KEY=OTHER)
        talk("label", "submit", *on, *at)
        logging.disable()  # the browsers of this test would log where they go
        people(talk, study, server, secrets)
        logging.disable(logging.NOTSET)
        talk("label", "collect", *on, *at)
        talk("label", "approve", *on, *at, "--all")
        talk("label", "check", *on, *at, fails=None)
        server.process.terminate()
        server_log.write_text(server.process.communicate(timeout=60)[0])
    talk("neighbors", *on)
    with closing(open_study(study)) as opened:
        reviews = simulated_reviews(duplicates.queue(opened).items, {"l2": 0.0}, stamp=STAMP)
        duplicates.record_reviews(opened, reviews, stamp=STAMP)
    talk("duplicates", "resolve", *on)
    talk("sample", "top-images", *on, "--per-class", 1, "--name", "mine-a-1", "--allow-invalid")
    talk("evaluate", *on, "--dataset", "mine-a-1", "--models", "planted_models:broken", fails=True)
    talk("evaluate", *on, "--dataset", "original,mine-a-1", "--models", "planted_models:load", "--workers", 1)
    talk("export", "mine-a-1", *on, "--format", "imagefolder", "--out", run / "set")
    talk("report", *on, "--out", run / "report.html")
    talk("study", "backup", run / "backup", *on)
    talk("study", "backup", "s3://no-such-bucket/x", *on, fails=True)
    talk("study", "restore", run / "backup", run / "restored")
    server_of_nobody = "127.0.0.1:1/mine"
    talk("study", "copy", run / "copy", *on, "--database", f"postgresql+psycopg://me@{server_of_nobody}", fails=True)
    for password in (PLANTED["PGPASSWORD"], quote(PLANTED["PGPASSWORD"], safe="")):
        talk("study", "copy", run / "copy", *on, "--database", f"postgresql+psycopg://me:{password}@{server_of_nobody}", fails=True)
    (study / "study.toml").write_text((study / "study.toml").read_text().replace('kind = "flickr"', 'kind = "openverse"'))
    with FakeFlickr([], key="x") as openverse:
        (study / "study.toml").write_text((study / "study.toml").read_text().replace(flickr.url, f"{openverse.root}/v1/"))
        talk("search", *on, fails=True)
    for command in (("status", study), ("label", "workers", *on), ("people", "list", *on), ("study", "verify", *on)):
        talk(*command, fails=None)
    assert talk.failures >= 9
    stored_objects(bucket, run / "bucket")
    assert len(list((run / "bucket").iterdir())) > 25
    (run / "said.txt").write_text(talk.said.getvalue())
    assert "botocore" in talk.said.getvalue() or "Authorization" in talk.said.getvalue()  # the loggers did talk
    assert {"study.db", "label-server.db", "participants.db", "report.html", "server.log"} <= {path.name for path in run.rglob("*")}
    assert found_below(run, secrets) == {}
    # Who somebody is on Prolific is known to one file, and to its copy in the backup.
    named = found_below(run, {"Prolific id": PROLIFIC_PID})
    assert all("participants.db" in name or name.startswith("backup/") for name in named), named


@pytest.mark.parametrize("secret", PLANTED.values(), ids=PLANTED)
def test_the_search_finds_what_there_is(secret: str, tmp_path: Path):
    one = {"it": secret}
    for offset in range(4):
        text = "x" * offset + secret + "tail"
        assert found_in(text.encode(), one)
        assert found_in(b64encode(text.encode()), one)
        assert found_in(b64encode(text[: -len("tail")].encode()), one)
        assert found_in(quote(text).encode(), one)
        assert found_in(zlib.compress(text.encode()), one)
    assert not found_in(secret[:-1].encode(), one)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / quote(secret, safe="")).write_text("")
    (tmp_path / "deep" / "packed").write_bytes(zlib.compress(secret.encode()))
    assert len(found_below(tmp_path, one)) == 2
