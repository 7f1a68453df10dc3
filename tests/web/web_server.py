"""A small real study with images under opaque names, and ``retest serve`` as a process of its own."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import uvicorn
from PIL import Image

from command_line import Done, run_here
from retest.crowd import CrowdParameters
from retest.labeling import HitParameters
from retest.sources import FolderSource
from retest.stages import benchmark, collect, images, label, publish
from retest.stages._common import Stamp
from retest.study import BenchmarkSettings, ServeSettings, SourceSettings, StudyConfig, StudySettings, create_study, open_study
from retest.web import ServerOptions, create_app
from served_app import ServedApp, listen

STAMP = Stamp("tester", "2026-01-01T00:00:00+00:00")
CLASSES = ("apple", "banana")
WORKER_KEY = "a key for tests only, 32 bytes.."
KEYS = ("retest", "a secret for tests only")
CODE = "C0DE42"


def make_study(folder: Path, *, assignments: int = 3, per_class: int = 8, images_to_label: int = 4, serve: dict | None = None) -> Path:
    """A study of two classes whose HITs are planned: per_class candidates, 2 + 2 controls on each page."""
    rng = np.random.default_rng(1)
    for part, count in (("train", 2), ("val", 4), ("pool", per_class)):
        for number, wnid in enumerate(CLASSES):
            (folder / part / wnid).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                pixels = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
                pixels[..., number] = 200
                data = io.BytesIO()
                Image.fromarray(pixels).save(data, "JPEG", quality=90)
                (folder / part / wnid / f"{part}{index}.jpg").write_bytes(data.getvalue())
    similar = folder / "similar.json"
    similar.write_text('{"apple": ["apple", "banana"], "banana": ["banana", "apple"]}')
    info = folder / "classes.json"
    info.write_text(
        '[{"cid": 0, "wnid": "apple", "synset": ["apple", "pomme"], "gloss": "a round fruit", "wikipedia_pages": []},'
        ' {"cid": 1, "wnid": "banana", "synset": ["banana"], "gloss": "a long fruit", "wikipedia_pages": []}]'
    )
    config = StudyConfig(
        study=StudySettings(name="fruit"),
        benchmark=BenchmarkSettings(
            train=str(folder / "train"), val=str(folder / "val"), class_info=str(info), similar_classes=str(similar)
        ),
        source=SourceSettings(kind="folder", location=str(folder / "pool")),
        labeling=HitParameters(
            images_to_label=images_to_label,
            positive_controls=2,
            negative_controls=2,
            assignments_per_hit=assignments,
            min_assignments=assignments,
        ),
        crowd=CrowdParameters(contact="lab@example.org"),
        serve=ServeSettings(**(serve or {})),
    )
    study = create_study(folder / "study", config)
    with closing(study):
        benchmark.register_benchmark(study)
        source = FolderSource(study.path(study.config.source.location), parameters=study.config.search)
        with closing(source):
            collect.search(study, source, stamp=STAMP)
            images.store_images(study, source.fetch, stamp=STAMP)
        publish.publish_images(study, key=None)
        label.plan(study, stamp=STAMP)
    return folder / "study"


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "RETEST_WORKER_KEY": WORKER_KEY, **changes}


def retest(*arguments, check: bool = True, stdin: str = "", **changes: str) -> Done:
    """The command line in this process: starting a new one takes seconds."""
    done = run_here(*arguments, stdin=stdin, **{"RETEST_WORKER_KEY": WORKER_KEY, **changes})
    assert not check or done.returncode == 0, done
    return done


def invite(study, server, name: str) -> str:
    """The personal link of an annotator."""
    return retest("label", "invite", "--study", study, "--name", name, "--public-url", server.url).stdout.strip()


class ServeThread:
    """The application over real HTTP in a thread; starts in milliseconds."""

    def __init__(self, study: Path, **options) -> None:
        self.study = open_study(study)
        listener = listen()
        self.port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        app = create_app(self.study, options=ServerOptions(port=self.port, worker_key=WORKER_KEY.encode(), **options))
        self.served = ServedApp(uvicorn.Config(app, access_log=False, log_level="warning", server_header=False), listener)

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.served.stop()
        self.study.close()


class ServeProcess:
    """``with ServeProcess(study) as server: ... server.url``"""

    def __init__(self, study: Path, *options: str, port: int = 0, **changes: str) -> None:
        command = [sys.executable, "-m", "retest", "serve", "--study", str(study), "--port", str(port), *options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(PYTHONUNBUFFERED="1", **changes)
        )
        line = self.process.stdout.readline()
        match = re.search(r"listening on (\S+) port (\d+)", line)
        assert match, line + self.process.stdout.read()
        self.port = int(match.group(2))
        self.url = f"http://127.0.0.1:{self.port}"
        self.wait_until_up()

    def wait_until_up(self) -> None:
        for _ in range(300):
            try:
                if httpx.get(f"{self.url}/health", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise AssertionError("the server does not come up")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)
        self.process.stdout.close()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        self.process.stdout.close()
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        if self.process.poll() is None:
            self.stop()
