"""A real local HTTP server that misbehaves in every way that servers do."""

from __future__ import annotations

import hashlib
import http.server
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from retest.benchmarks.transfer import RemoteFile

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves ``content``; ``plan`` holds what goes wrong with the next requests, ``log`` what was asked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.etag = '"v1"'
        self.ranges = True
        self.plan = []
        self.log = []

    def handle_error(self, request, client_address):
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/file.bin"

    def file(self, **changes):
        return RemoteFile(**{"name": "file.bin", "url": self.url, "size": len(CONTENT), "sha256": SHA256} | changes)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        server.log.append({key.lower(): value for key, value in self.headers.items()})
        fault = server.plan.pop(0) if server.plan else None
        if self.path == "/moved":
            return self.answer(302, {"Location": "/file.bin"}, b"")
        if isinstance(fault, tuple):
            return self.answer(fault[0], fault[1], b"go away")
        start = self.range_start()
        if start is None:
            return self.send_body(200, {}, server.content, fault)
        if start >= len(server.content):
            return self.answer(416, {"Content-Range": f"bytes */{len(server.content)}"}, b"")
        if fault == "wrong part":
            start += 1
        headers = {"Content-Range": f"bytes {start}-{len(server.content) - 1}/{len(server.content)}"}
        return self.send_body(206, headers, server.content[start:], fault)

    def range_start(self):
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if match is None or not self.server.ranges or self.headers.get("If-Range", self.server.etag) != self.server.etag:
            return None
        return int(match[1])

    def send_body(self, status, headers, body, fault):
        cut = fault if isinstance(fault, int) else len(body)
        if self.server.etag:
            headers["ETag"] = self.server.etag
        self.answer(status, headers | {"Content-Length": str(len(body))}, body[:cut])
        if cut < len(body):
            self.close_connection = True

    def answer(self, status, headers, body):
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


@contextmanager
def running_server() -> Iterator[Server]:
    """A server that answers until the end of the block."""
    with Server() as instance:
        thread = threading.Thread(target=instance.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield instance
        instance.shutdown()
        thread.join()
