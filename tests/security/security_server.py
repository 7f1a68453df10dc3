"""The whole application over HTTP as ``retest serve`` runs it, with a small study, an invited annotator and reviewers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from served_app import ServedApp, listen

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
    with closing(open_study(folder)) as study, listen() as listener:
        port = listener.getsockname()[1]
        token = review_people.give_token(study, "Rex", review_people.Role.REVIEWER, stamp=STAMP).token
        settings = ServerOptions(port=port, worker_key=WORKER_KEY, **options)
        app = create_app(study, options=settings, review=ReviewOptions(key=KEY))
        running = ServedApp(server_config(app, options=settings), listener)
        try:
            yield Served(f"http://127.0.0.1:{port}", token, study, app)
        finally:
            running.stop()
