"""A small HTTP server around the labelling server's core, for tests: requesters and annotators over real sockets.

Faults can be planted: each request takes the first of ``server.faults`` and does what it says: "throttle", "fault",
"drop before" (nothing happened), "drop after" (done, but no reply), "twice" (carried out twice, as by a repeated
delivery), or None.
"""

from __future__ import annotations

import json
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from retest.crowd.page import content_security_policy, html_of_question
from retest.crowd.taskserver import RequesterApi, RequesterEndpoint, SqliteTaskRepository, TaskDesk, TaskRefusedError

FORM = "application/x-www-form-urlencoded"


class Clock:
    """A clock that tests move."""

    def __init__(self, at: float = 1_800_000_000.0) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


class LabelServer:
    """``with LabelServer() as server: boto3.client("mturk", endpoint_url=server.url, ...)``"""

    def __init__(self, path=None, *, keys=None, clock=None, prefix="", **options) -> None:
        self.clock = clock or Clock()
        self.repository = SqliteTaskRepository(path)
        self.api = RequesterApi(self.repository, now=self.clock, **options)
        self.failures: list[Exception] = []
        # Clients sign with the real time, whatever the tests' clock says.
        self.signing_offset_s = 0.0
        self.endpoint = RequesterEndpoint(
            self.api, keys=keys, now=lambda: time.time() + self.signing_offset_s, on_failure=self.failures.append
        )
        self.desk = TaskDesk(self.repository, now=self.clock)
        self.faults: list[str | None] = []
        self.seen: list[str] = []
        self.prefix = prefix
        handler = type("Handler", (_Handler,), {"server_of": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def url(self) -> str:
        return self.origin + self.prefix

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self.repository.close()

    def __enter__(self) -> LabelServer:
        return self

    def __exit__(self, *_) -> None:
        self.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of: LabelServer

    def log_message(self, *_) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path.removeprefix(self.server_of.prefix)
        if path in ("", "/"):
            self._operation(body)
        else:
            self._form(path, parse_qsl(body.decode(), keep_blank_values=True))

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path, query = parts.path.removeprefix(self.server_of.prefix), dict(parse_qsl(parts.query))
        if path == "/task":
            html = html_of_question(self.server_of.desk.preview(query["hitId"]).question) or ""
            policy = content_security_policy(image_sources=("'self'", "data:"))
            self._send(200, {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": policy}, html.encode())
        elif path == "/mturk/saveAnswer":
            fields = dict(self.server_of.desk.draft(query["assignmentId"]))
            if fields:
                self._send(200, {"Content-Type": "application/json"}, json.dumps(fields).encode())
            else:
                self._send(204, {}, b"")
        elif path == "/mturk/done":
            self._send(200, {"Content-Type": "text/html"}, b"<h1>Thank you</h1>")
        elif path == "/favicon.ico":
            self._send(204, {}, b"")
        elif path.startswith("/image/"):
            color = f"#{zlib.crc32(path.encode()) % 0xFFFFFF:06x}"
            svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><rect width="9" height="9" fill="{color}"/></svg>'
            self._send(200, {"Content-Type": "image/svg+xml"}, svg.encode())
        else:
            self._send(404, {}, b"")

    def _operation(self, body: bytes) -> None:
        server = self.server_of
        operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        server.seen.append(operation)
        fault = server.faults.pop(0) if server.faults else None
        if fault == "throttle":
            self._send(400, {}, b'{"__type": "ThrottlingException", "message": "Rate exceeded"}')
            return
        if fault == "fault":
            self._send(500, {}, b'{"__type": "ServiceFault", "Message": "Try again"}')
            return
        if fault == "drop before":
            self.close_connection = True
            return
        parts = urlsplit(self.path)
        for _ in range(2 if fault == "twice" else 1):
            reply = server.endpoint.handle(method="POST", path=parts.path, query=parts.query, headers=dict(self.headers.items()), body=body)
        if fault == "drop after":
            self.close_connection = True
            return
        self._send(reply.status, dict(reply.headers), reply.body)

    def _form(self, path: str, fields: list[tuple[str, str]]) -> None:
        desk, assignment = self.server_of.desk, dict(fields).get("assignmentId", "")
        try:
            if path == "/mturk/externalSubmit":
                desk.submit(assignment, fields)
                self._send(303, {"Location": self.server_of.prefix + "/mturk/done"}, b"")
            elif path == "/mturk/saveAnswer":
                desk.save(assignment, fields)
                self._send(204, {}, b"")
            elif path == "/mturk/returnAssignment":
                desk.give_back(assignment)
                self._send(303, {"Location": self.server_of.prefix + "/mturk/done"}, b"")
            else:
                self._send(404, {}, b"")
        except TaskRefusedError as error:
            self._send(409, {"Content-Type": "text/plain; charset=utf-8"}, str(error).encode())

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        length = "" if status == 204 else f"Content-Length: {len(body)}\r\n"
        self.wfile.write(f"HTTP/1.1 {status} x\r\n{head}{length}\r\n".encode() + body)
