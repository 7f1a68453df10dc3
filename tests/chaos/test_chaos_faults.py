"""Whatever happens to the processes that work on a study, after a restart it equals the undisturbed one."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import chaos_script
import httpx
import pytest
import stage_studies as tiny
from chaos_script import STEPS, Disturbance
from chaos_worker import Undisturbed, run, start

from retest.errors import RetestError, StoreError
from retest.store import open_blobs
from retest.study import create_study
from retest.testing.chaos import FaultyProxy, Kill
from retest.testing.database import canonical_dump, differences

pytestmark = pytest.mark.xdist_group("chaos")


def fresh(folder: Path, undisturbed: Undisturbed) -> Path:
    """The same pictures in another folder."""
    folder.mkdir(exist_ok=True)
    for part in ("train", "val", "pool"):
        shutil.copytree(undisturbed.folder / part, folder / part)
    return folder


def finish(folder: Path, name: str, disturbance: Disturbance | None = None) -> None:
    done = run(folder, name, disturbance)
    assert done.error is None, (name, done.error)
    assert not done.killed


def assert_equal(folder: Path, undisturbed: Undisturbed) -> None:
    found = chaos_script.content(folder)
    for part, lines in undisturbed.content.items():
        assert differences(lines, found[part]) == [], part


def kills(steps: int, rng: random.Random, number: int) -> Iterator[Kill]:
    for _ in range(number):
        yield Kill(rng.randint(1, max(1, steps)), rng.choice([0.0, rng.uniform(0, 0.02)]))


def _killed_at_every_stage(folder: Path, undisturbed: Undisturbed, seed: int, number: int) -> int:
    rng = random.Random(seed)
    killed = 0
    for name in STEPS:
        for kill in kills(undisturbed.steps[name], rng, number):
            killed += run(folder, name, Disturbance(kill=kill)).killed
        finish(folder, name)
    return killed


def test_killed_in_every_stage(tmp_path: Path, undisturbed: Undisturbed):
    """The short form: each stage is killed once, at one of its durable steps."""
    folder, rng = fresh(tmp_path / "x", undisturbed), random.Random(11)
    for name in STEPS:
        assert run(folder, name, Disturbance(kill=Kill(rng.randint(1, undisturbed.steps[name])))).killed, name
        finish(folder, name)
    assert_equal(folder, undisturbed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(8))
def test_killed_again_and_again(tmp_path: Path, undisturbed: Undisturbed, seed: int):
    folder = fresh(tmp_path / "x", undisturbed)
    assert _killed_at_every_stage(folder, undisturbed, seed=seed, number=4) >= 2 * len(STEPS)
    assert_equal(folder, undisturbed)


@pytest.mark.long
def test_two_operators_run_every_stage_at_once(tmp_path: Path, undisturbed: Undisturbed):
    """Both end well or with a message; no HIT is published (and paid) twice; the study is that of one operator."""
    folder = fresh(tmp_path / "x", undisturbed)
    for name in STEPS:
        both = [start(folder, name), start(folder, name)]
        for done in [worker.wait() for worker in both]:
            assert not done.killed
            assert done.error is None or isinstance(done.error, RetestError), (name, done.error)
        finish(folder, name)
    assert_equal(folder, undisturbed)


@pytest.mark.long
def test_a_clock_that_leaps_changes_nothing(tmp_path: Path, undisturbed: Undisturbed):
    folder = fresh(tmp_path / "x", undisturbed)
    for number, name in enumerate(STEPS):
        finish(folder, name, Disturbance(clock_seed=number))
    assert_equal(folder, undisturbed)


@pytest.mark.long
def test_a_locked_database_stops_a_stage_with_a_message_and_the_next_run_goes_on(tmp_path: Path, undisturbed: Undisturbed):
    folder = fresh(tmp_path / "x", undisturbed)
    refused = 0
    for name in STEPS:
        database = folder / "study/study.db"
        if database.exists():
            with closing(sqlite3.connect(database, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                done = run(folder, name, Disturbance(busy_timeout_s=0.2))
                assert done.error is None or (isinstance(done.error, StoreError) and "Another process" in str(done.error)), (
                    name,
                    done.error,
                )
                refused += done.error is not None
                other.execute("ROLLBACK")
        finish(folder, name)
    assert refused >= 9
    assert_equal(folder, undisturbed)


@pytest.mark.long
@pytest.mark.skipif(os.name != "posix", reason="needs mount")
def test_a_disk_that_is_full_stops_every_stage_with_a_message_and_room_is_enough_to_go_on(undisturbed: Undisturbed):
    with tempfile.TemporaryDirectory() as name:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", name], capture_output=True, check=False)
        if mounted.returncode:
            pytest.skip(f"mounting a small file system is not permitted here: {mounted.stderr.decode().strip()}")
        try:
            folder = fresh(Path(name), undisturbed)
            full = 0
            for number, step in enumerate(STEPS):
                ballast = Path(name) / "ballast"
                room = [0, 20_000, 100_000][number % 3]
                free = os.statvfs(name).f_bavail * os.statvfs(name).f_frsize
                with ballast.open("wb") as file:
                    os.posix_fallocate(file.fileno(), 0, max(4096, free - room))
                done = run(folder, step)
                if done.error is not None:
                    assert "Traceback" not in str(done.error)
                    text = str(done.error)
                    assert any(sign in text for sign in ("Free some space", "No space left", "disk is full", "disk I/O")), (step, text)
                    full += 1
                ballast.unlink()
                finish(folder, step)
            assert full >= 8
            assert_equal(folder, undisturbed)
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 server over HTTP."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    values = {"AWS_ALLOW_HTTP": "true", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
    for key, value in values.items():
        monkeypatch.setenv(key, value)
    httpx.put(f"http://{host}:{port}/chaos-bucket", timeout=60).raise_for_status()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.mark.long
def test_an_object_store_that_fails_now_and_then(tmp_path: Path, undisturbed: Undisturbed, bucket: str, monkeypatch: pytest.MonkeyPatch):
    """503s, lost answers (a write that happened, though nobody heard), cut connections and delays: blobs are those of a sound store."""
    folder = fresh(tmp_path / "x", undisturbed)
    with FaultyProxy(bucket, seed=5, failing=0.1) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT", proxy.url)
        study = create_study(folder / "study", tiny.config(study={"blobs": "s3://chaos-bucket/study"}))
        with closing(study):
            for name in (
                "benchmark",
                "search",
                "download",
                "publish",
                "check",
                "plan",
                "submit",
                "collect",
                "neighbors",
                "review",
                "sample",
            ):
                for _ in range(4):
                    try:
                        STEPS[name](study)
                        break
                    except StoreError:
                        continue
                else:
                    pytest.fail(f"{name} never ended")
            assert min(proxy.faults.values()) > 0
            monkeypatch.setenv("AWS_ENDPOINT", bucket)
        with closing(create_study(folder / "study", study.config)) as sound:
            blobs = [f"{key} {hashlib.sha256(sound.blobs.get(key)).hexdigest()}" for key, _ in sound.blobs.list()]
            assert differences(undisturbed.content["study: blobs"], blobs) == []
            rows = canonical_dump(sound, places={str(folder): "OUT"})
    expected = [line for line in undisturbed.content["study: rows"] if not line.startswith("prediction_sets")]
    assert differences(expected, rows) == []


def test_what_passes_the_proxy_arrives_as_it_was(bucket: str, monkeypatch: pytest.MonkeyPatch):
    """A proxy that alters what it passes would find faults that are its own."""
    written = {"a%2Fb.jpg": b"a=b&c", "empty": b"", "bytes": bytes(range(256)) * 300}
    with FaultyProxy(bucket, seed=1, failing=0.0) as proxy:
        for address, other in ((proxy.url, bucket), (bucket, proxy.url)):
            monkeypatch.setenv("AWS_ENDPOINT", address)
            for key, data in written.items():
                open_blobs(f"s3://chaos-bucket/{proxy.url[-3:]}", base=Path()).put(key, data)
            monkeypatch.setenv("AWS_ENDPOINT", other)
            blobs = open_blobs(f"s3://chaos-bucket/{proxy.url[-3:]}", base=Path())
            assert {key: (blobs.get(key), blobs.size(key)) for key, _ in blobs.list()} == {k: (v, len(v)) for k, v in written.items()}


def test_the_proxy_fails_as_often_as_it_says(bucket: str):
    with FaultyProxy(bucket, seed=1, failing=0.5) as proxy:
        failed = 0
        for number in range(40):
            try:
                failed += httpx.put(f"{proxy.url}/chaos-bucket/{number}", content=b"x", timeout=60).status_code == 503
            except httpx.TransportError:
                failed += 1
        assert 10 <= failed <= 30
        assert proxy.requests >= 40
