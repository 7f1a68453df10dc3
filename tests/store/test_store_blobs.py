"""Blob stores: one suite for memory, local folders and S3 over HTTP; what only folders have besides."""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from retest.errors import StoreError, UsageError
from retest.store import BlobStore, open_blobs
from retest.testing.blobs import INVALID_KEYS, BlobStoreContract

_serial = itertools.count()


class TestMemory(BlobStoreContract):
    def make_store(self) -> BlobStore:
        return open_blobs("memory://", base=Path())


class TestLocalFolder(BlobStoreContract):
    @pytest.fixture(autouse=True)
    def _base(self, tmp_path: Path):
        self.base = tmp_path

    def make_store(self) -> BlobStore:
        return open_blobs("a folder/blobs", base=self.base)

    def reopen(self, store: BlobStore) -> BlobStore | None:
        return open_blobs(str(self.base / "a folder/blobs"), base=Path("/elsewhere"))


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """Address of an S3 server in this process that speaks HTTP."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _one_at_a_time(server._server)
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def _one_at_a_time(server: Any) -> None:
    """S3 decides who writes a new key first; moto looks whether it is there, and another request can come between that and writing."""
    app, turn = server.app, threading.Lock()

    def answer(*request: Any) -> Any:
        with turn:
            return app(*request)

    server.app = answer


class TestS3(BlobStoreContract):
    @pytest.fixture(autouse=True)
    def _environment(self, s3: str, monkeypatch: pytest.MonkeyPatch):
        values = {"AWS_ENDPOINT": s3, "AWS_ALLOW_HTTP": "true", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "secret"}
        for name, value in {**values, "AWS_REGION": "us-east-1"}.items():
            monkeypatch.setenv(name, value)
        self.bucket = f"bucket-{next(_serial)}"
        httpx.put(f"{s3}/{self.bucket}").raise_for_status()

    def make_store(self) -> BlobStore:
        # Two studies in one bucket do not see each other.
        other = open_blobs(f"s3://{self.bucket}/another", base=Path())
        other.put_new("stranger", b"x")
        return open_blobs(f"s3://{self.bucket}/studies/mine", base=Path())

    def reopen(self, store: BlobStore) -> BlobStore | None:
        return open_blobs(f"s3://{self.bucket}/studies/mine/", base=Path())

    def test_location_is_the_address_of_the_object(self) -> None:
        assert self.make_store().location("a/b.jpg") == f"s3://{self.bucket}/studies/mine/a/b.jpg"

    def test_an_absent_bucket_is_named(self) -> None:
        store = open_blobs("s3://no-such-bucket/x", base=Path())
        with pytest.raises(StoreError, match=r"no-such-bucket|NoSuchBucket"):
            store.put_new("key", b"x")


def test_a_key_is_a_file_of_that_name(tmp_path: Path):
    store = open_blobs("blobs", base=tmp_path)
    store.put_new("images/train%2F0 é.jpg", b"bytes")
    path = tmp_path / "blobs/images/train%2F0 é.jpg"
    assert path.read_bytes() == b"bytes"
    assert store.location("images/train%2F0 é.jpg") == str(path)


def test_nothing_is_written_or_read_outside_the_folder(tmp_path: Path):
    store = open_blobs("inner/blobs", base=tmp_path)
    (tmp_path / "inner/secret").write_bytes(b"secret")
    before = sorted(path.as_posix() for path in tmp_path.rglob("*"))
    for key in ("../secret", "a/../../secret", str(tmp_path / "inner/secret"), *INVALID_KEYS):
        for use in (lambda key=key: store.get(key), lambda key=key: store.put(key, b"x"), lambda key=key: store.delete(key)):
            with pytest.raises(UsageError, match="not a valid blob key"):
                use()
    assert sorted(path.as_posix() for path in tmp_path.rglob("*")) == before


def test_what_a_killed_writer_leaves_is_no_blob(tmp_path: Path):
    """Local stores write ``name#1`` first and rename it; after a kill that file stays, unseen, and is in nobody's way."""
    store = open_blobs("blobs", base=tmp_path)
    (tmp_path / "blobs/images").mkdir()
    (tmp_path / "blobs/images/a.jpg#1").write_bytes(b"par")
    assert list(store.list()) == []
    assert store.size("images/a.jpg") is None
    assert store.put_new("images/a.jpg", b"whole") is True
    store.put("images/a.jpg", b"replaced")
    assert (store.get("images/a.jpg"), list(store.list())) == (b"replaced", [("images/a.jpg", 8)])


def test_a_name_too_long_for_the_file_system_is_an_error_that_names_it(tmp_path: Path):
    with pytest.raises(StoreError, match="yyyy"):
        open_blobs("blobs", base=tmp_path).put_new("y" * 300, b"x")


def test_a_file_where_a_folder_is_due(tmp_path: Path):
    (tmp_path / "blobs").write_text("I am a file")
    with pytest.raises(StoreError, match="cannot make the folder of the blob store"):
        open_blobs("blobs", base=tmp_path)


@pytest.mark.parametrize("location", ["nonsense://x", "s3://", "http2://x"])
def test_an_unknown_kind_of_store_is_refused(location: str, tmp_path: Path):
    with pytest.raises(StoreError, match="cannot open the blob store") as caught:
        open_blobs(location, base=tmp_path)
    assert caught.value.item == location
    assert caught.value.remedy


@pytest.fixture
def tiny_disk() -> Iterator[Path]:
    """A file system of 256 KiB."""
    with tempfile.TemporaryDirectory() as name:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", name], capture_output=True, check=False)
        if mounted.returncode:
            pytest.skip(f"mounting a small file system is not permitted here: {mounted.stderr.decode().strip()}")
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)


@pytest.mark.skipif(os.name != "posix", reason="needs mount")
def test_a_full_disk_loses_nothing_and_says_what_to_do(tiny_disk: Path):
    store = open_blobs("blobs", base=tiny_disk)
    block = b"x" * 60_000
    stored: list[str] = []

    def fill() -> None:
        for number in range(10):
            store.put_new(f"images/{number}.jpg", block)
            stored.append(f"images/{number}.jpg")

    with pytest.raises(StoreError, match="Free some space") as caught:
        fill()
    failed = f"images/{len(stored)}.jpg"
    assert caught.value.item == failed
    assert 1 <= len(stored) < 6
    assert list(store.list()) == [(key, 60_000) for key in stored]
    assert not store.exists(failed)
    with pytest.raises(StoreError, match="Free some space"):
        store.put(stored[0], b"y" * 200_000)
    assert store.get(stored[0]) == block  # the old bytes, not a part of the new ones
    store.delete(stored[-1])
    assert store.put_new(failed, block) is True
    assert store.get(failed) == block
