"""A small labelled study whose images are coloured squares, and its review pages over real HTTP."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import numpy as np
import uvicorn
from PIL import Image

from retest.labeling import HitParameters
from retest.records import Assignment, AssignmentStatus, Candidate, Hit
from retest.sampling import SamplingParameters
from retest.sources import FolderSource
from retest.stages import benchmark, collect, images, review_people
from retest.stages._common import Stamp
from retest.stages._frequencies import refresh_frequencies
from retest.stages.review_progress import refresh_counts
from retest.study import BenchmarkSettings, SourceSettings, Study, StudyConfig, StudySettings, create_study, open_study
from retest.web import ReviewOptions, ServerOptions, create_app
from served_app import ServedApp, listen

STAMP = Stamp("tester", "2026-01-01T00:00:00+00:00")
CLASSES = ("apple", "banana")
PER_CLASS = 12
ANSWERS = 10
KEY = b"a key for the tests of the review pages"
MISSING = "f" * 40
"""A candidate without an image."""


@contextmanager
def collected_study(folder: Path, *, name: str, labeling: HitParameters, per_class: int) -> Iterator[Study]:
    """A study in ``folder/study`` whose original images lie in ``train`` and ``val``, its candidates in ``pool``, as search and download
    leave it; ``classes.json`` and ``similar.json`` say what the classes are.
    """
    config = StudyConfig(
        study=StudySettings(name=name),
        benchmark=BenchmarkSettings(
            train=str(folder / "train"),
            val=str(folder / "val"),
            class_info=str(folder / "classes.json"),
            similar_classes=str(folder / "similar.json"),
        ),
        source=SourceSettings(kind="folder", location=str(folder / "pool")),
        labeling=labeling,
        sampling=SamplingParameters(per_class=per_class, min_num_val_images_per_wnid=2),
    )
    with closing(create_study(folder / "study", config)) as study:
        benchmark.register_benchmark(study)
        source = FolderSource(study.path(study.config.source.location), parameters=study.config.search)
        with closing(source):
            collect.search(study, source, stamp=STAMP)
            images.store_images(study, source.fetch, stamp=STAMP)
        yield study


def make_review_study(folder: Path) -> Path:
    """Two classes of 12 candidates with frequencies 0.0, 0.1 ... and 10 answers each, 6 original images per class."""
    rng = np.random.default_rng(1)
    for part, count in (("train", 2), ("val", 6), ("pool", PER_CLASS)):
        for number, wnid in enumerate(CLASSES):
            (folder / part / wnid).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                pixels = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
                pixels[..., number] = 20 * index
                data = io.BytesIO()
                Image.fromarray(pixels).save(data, "JPEG", quality=90)
                (folder / part / wnid / f"{part}{index:02}.jpg").write_bytes(data.getvalue())
    (folder / "similar.json").write_text('{"apple": ["apple", "banana"], "banana": ["banana", "apple"]}')
    (folder / "classes.json").write_text(
        '[{"cid": 0, "wnid": "apple", "synset": ["apple", "pomme"], "gloss": "a round fruit", "wikipedia_pages": []},'
        ' {"cid": 1, "wnid": "banana", "synset": ["banana"], "gloss": "a long fruit", "wikipedia_pages": []}]'
    )
    labeling = HitParameters(assignments_per_hit=ANSWERS, min_assignments=ANSWERS)
    with collected_study(folder, name="fruit", labeling=labeling, per_class=5) as study:
        with study.database.write() as tables:
            tables.candidates.add([Candidate(MISSING, "apple", "folder", "gone", "https://example.org/gone.jpg")])
            for wnid in CLASSES:
                shown = tables.candidates.ids(wnid=wnid)
                originals = [image.id for image in tables.originals.all(wnid=wnid) if image.split == "val"]
                _answer(tables, wnid, [*shown, *originals])
            refresh_frequencies(tables)
        refresh_counts(study)
    return folder / "study"


def _answer(tables, wnid: str, ids: list[str]) -> None:
    """Image i is selected by i mod 11 of ten annotators."""
    hit = Hit(f"hit-{wnid}", wnid, tuple(ids), (), (), tuple(ids), "tester", STAMP.time, submitted=True, hit_id=f"H{wnid}")
    tables.hits.add([hit], assignments=ANSWERS)
    tables.assignments.add(
        Assignment(
            f"{hit.uuid}-{j}",
            hit.uuid,
            f"worker{j}",
            AssignmentStatus.APPROVED,
            tuple(image for i, image in enumerate(ids) if i % (ANSWERS + 1) > j),
        )
        for j in range(ANSWERS)
    )


class ReviewServer:
    """``with ReviewServer(folder) as server: server.url``, with the reviewers Ada (admin), Rex (reviewer), Ann (annotator)."""

    def __init__(self, folder: Path, *, port: int = 0, **options) -> None:
        self.study = open_study(folder)
        self.tokens = {
            name: review_people.give_token(self.study, name, review_people.Role(role), stamp=STAMP).token
            for name, role in (("Ada", "admin"), ("Rex", "reviewer"), ("Ann", "annotator"))
        }
        self.options = options
        self.port = port
        self._start()

    def _start(self) -> None:
        listener = listen(self.port)
        self.port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.app = create_app(self.study, options=ServerOptions(port=self.port), review=ReviewOptions(key=KEY, **self.options))
        config = uvicorn.Config(self.app, access_log=False, log_level="warning", timeout_graceful_shutdown=2)
        self.served = ServedApp(config, listener)

    def pause(self) -> None:
        """Stop listening, as when the connection is lost; :meth:`resume` listens on the same port again."""
        self.served.stop()

    def resume(self) -> None:
        self._start()

    def client(self, name: str | None = "Rex", **options) -> httpx.Client:
        """A script that sends somebody's token."""
        headers = {} if name is None else {"Authorization": f"Bearer {self.tokens[name]}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, **options)

    @contextmanager
    def browser_client(self, name: str = "Rex"):
        """A client with a session, as a browser has; its CSRF token is in ``headers``."""
        with httpx.Client(base_url=self.url, timeout=30) as client:
            done = client.post("/review/sign-in", data={"token": self.tokens[name]})
            assert done.status_code == 303, done.text
            text = client.get("/review").text
            client.headers["X-CSRF-Token"] = text.partition('data-csrf="')[2].partition('"')[0]
            yield client

    def ids(self, wnid: str = "apple") -> list[str]:
        with self.study.database.read() as tables:
            return tables.candidates.ids(wnid=wnid)

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.pause()
        self.study.close()
