"""Faults at chosen moments: a process killed at its n-th durable step, a clock that jumps, an object store that fails now and then.

A *durable step* is what another process, or the same one after a crash, can see: a commit of the study's database, a change of a crowd's
own database, a write or removal of a blob, a file that takes its name. A test counts the steps of an undisturbed run, then kills others
at some of them::

    with durable_steps(study.database.engine, Kill(at=17)) as steps:
        stage(study)
    print(steps.count)
"""

from __future__ import annotations

import http.client
import os
import pathlib
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa

from retest.crowd import _database as crowd_database
from retest.store import blobs as blob_module

__all__ = ["FaultyProxy", "Kill", "Steps", "durable_steps", "jumping_clock"]


_COMPILED = (".nbi", ".nbc")
"""Files of compiled kernels: the first process on a machine writes them, none of the study's."""


@dataclass(frozen=True, slots=True)
class Kill:
    """End this process by SIGKILL ``delay_s`` after its durable step number ``at`` (from 1) is about to happen; 0 at once."""

    at: int
    delay_s: float = 0.0


class Steps:
    """Counts durable steps; when it is time, kills."""

    def __init__(self, kill: Kill | None = None) -> None:
        self.count = 0
        self._kill = kill
        self._lock = threading.Lock()

    def step(self) -> None:
        """Note that a durable step is about to happen."""
        with self._lock:
            self.count += 1
            due = self._kill is not None and self.count == self._kill.at
        if due and self._kill is not None:
            if self._kill.delay_s <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            threading.Timer(self._kill.delay_s, os.kill, (os.getpid(), signal.SIGKILL)).start()


@contextmanager
def durable_steps(engine: sa.Engine, kill: Kill | None = None) -> Iterator[Steps]:
    """Watch the durable steps of this process until the block ends."""
    steps = Steps(kill)
    sa.event.listen(engine, "commit", lambda _connection: steps.step())
    undo: list[Callable[[], None]] = []

    def watch(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            if not any(str(argument).endswith(_COMPILED) for argument in arguments):
                steps.step()
            return original(*arguments, **options)

        setattr(owner, name, watched)
        undo.append(lambda: setattr(owner, name, original))

    for name in ("put_new", "put", "delete"):
        watch(blob_module.ObjectStore, name)
    watch(crowd_database.Database, "writing")
    watch(pathlib.Path, "replace")
    watch(os, "replace")
    try:
        yield steps
    finally:
        for restore in undo:
            restore()


@contextmanager
def jumping_clock(seed: int, *, most_s: float = 10 * 86400.0) -> Iterator[None]:
    """``time.time`` leaps forth and back by up to ``most_s`` seconds at every look; the monotonic clock goes on."""
    rng, true_time = random.Random(seed), time.time
    time.time = lambda: true_time() + rng.uniform(-most_s, most_s)
    try:
        yield
    finally:
        time.time = true_time


class FaultyProxy:
    """Stands before an HTTP object store and lets a share of requests fail: 503, a lost answer, a cut connection, or a delay.

    Args:
        upstream: address of the store, http only.
        seed: decides which requests fail.
        failing: share of requests that fail, 0 to 1.
        delay_s: how long every fifth request takes more.
    """

    def __init__(self, upstream: str, *, seed: int, failing: float = 0.2, delay_s: float = 0.02) -> None:
        self._upstream = urlsplit(upstream).netloc
        self._rng = random.Random(seed)
        self._failing, self._delay_s = failing, delay_s
        self._lock = threading.Lock()
        self.requests = 0
        self.faults: dict[str, int] = {"503": 0, "lost answer": 0, "cut": 0, "slow": 0}
        self._server = _Proxy(("127.0.0.1", 0), _Handler)
        self._server.faulty = self

    @property
    def url(self) -> str:
        """Address to give to the client of the store."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FaultyProxy:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fault(self) -> str | None:
        """What to do with the next request; None lets it pass."""
        with self._lock:
            self.requests += 1
            kind = None
            if self._rng.random() < self._failing:
                kind = self._rng.choice(["503", "lost answer", "cut"])
            elif self.requests % 5 == 0:
                kind = "slow"
            if kind is not None:
                self.faults[kind] += 1
        if kind == "slow":
            time.sleep(self._delay_s)
        return kind

    def forward(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Ask the store, with the headers of the request and no other."""
        connection = http.client.HTTPConnection(self._upstream, timeout=30)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            if body or method in {"PUT", "POST"}:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True
    faulty: FaultyProxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A cut connection is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Proxy

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind = self.server.faulty.fault()
        if kind == "503":
            self._answer(503, {}, b"<Error><Code>SlowDown</Code></Error>")
        elif kind == "cut":
            self.close_connection = True
        else:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in {"connection", "content-length"}}
            status, answered, data = self.server.faulty.forward(self.command, self.path, headers, body)
            if kind == "lost answer":  # done, but nobody hears of it
                self.close_connection = True
                return
            self._answer(status, answered, data)

    def _answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in {"connection", "transfer-encoding", "content-length", "date", "server"}:
                self.send_header(name, value)
        length = headers.get("Content-Length", str(len(data))) if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _handle  # noqa: N815 the standard library's names
