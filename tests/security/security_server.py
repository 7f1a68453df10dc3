"""The whole application over HTTP as ``retest serve`` runs it, with a small study, an invited annotator and reviewers."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

sys.path.append(str(Path(__file__).parents[1] / "web_review"))

from review_server import KEY, STAMP

from retest.stages import review_people
from retest.study import open_study
from retest.web import ReviewOptions, ServerOptions, create_app, server_config

WORKER_KEY = b"a key for tests only, 32 bytes.."


@dataclass(frozen=True)
class Served:
    """A running application: its address, a reviewer's token, the open study and the application."""

    url: str
    token: str
    study: Any
    app: Any


@contextmanager
def served(folder: Path, **options: Any) -> Iterator[Served]:
    """Serve a study with the settings of ``retest serve``; ``options`` are those of :class:`ServerOptions`."""
    with closing(open_study(folder)) as study, socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        token = review_people.give_token(study, "Rex", review_people.Role.REVIEWER, stamp=STAMP).token
        settings = ServerOptions(port=port, worker_key=WORKER_KEY, **options)
        app = create_app(study, options=settings, review=ReviewOptions(key=KEY))
        server = uvicorn.Server(server_config(app, options=settings))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield Served(f"http://127.0.0.1:{port}", token, study, app)
        finally:
            server.should_exit = True
            thread.join(30)
