"""Tiny studies of three classes for the tests of the stages: pictures of noise around a colour of their class."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from retest.crowd import CrowdParameters, HitTask, PublishedHit, SimulatedCrowd
from retest.duplicates import ReviewParameters
from retest.errors import CrowdError
from retest.images import ImageParameters
from retest.labeling import HitParameters
from retest.neighbors import NeighborParameters
from retest.records import Candidate
from retest.sampling import SamplingParameters
from retest.sources import FolderSource
from retest.stages import benchmark, collect, duplicates, images, label, neighbors, publish, simulate
from retest.stages._common import Stamp
from retest.store import BlobStore
from retest.study import BenchmarkSettings, SourceSettings, Study, StudyConfig, StudySettings, create_study

STAMP = Stamp("tester", "2026-01-31T09:00:00+00:00")
KEY = b"key of the tests"
COLORS = {"cat": (200, 60, 60), "dog": (60, 200, 60), "owl": (60, 60, 200)}
SIZES = {"train": 2, "val": 8, "pool": 6}


def write_picture(path: Path, color: tuple[int, int, int], seed: int) -> None:
    noise = np.random.default_rng(seed).integers(-50, 50, (24, 24, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(np.array(color) + noise, 0, 255).astype(np.uint8)).save(path)


def write_benchmark(folder: Path) -> None:
    seed = 0
    for wnid, color in COLORS.items():
        for part, count in SIZES.items():
            for number in range(count):
                seed += 1
                write_picture(folder / part / wnid / f"{number:02d}.png", color, seed)


def config(**sections: Mapping[str, Any]) -> StudyConfig:
    """Settings for a study beside :func:`write_benchmark`'s pictures; ``sections`` replace single settings."""
    made = StudyConfig(
        study=StudySettings(name="tiny"),
        benchmark=BenchmarkSettings(train="../train", val="../val"),
        source=SourceSettings(kind="folder", location="../pool"),
        images=ImageParameters(display_side=40, compare_side=16),
        labeling=HitParameters(images_to_label=4, positive_controls=1, negative_controls=1, assignments_per_hit=3, min_assignments=3),
        crowd=CrowdParameters(backend="simulated"),
        neighbors=NeighborParameters(metrics=("l2",), k=5, query_block=4, reference_block=8),
        review=ReviewParameters(targets={"l2": 1000.0}),
        sampling=SamplingParameters(per_class=3, min_num_annotations=3, min_num_annotations_val=3, min_num_val_images_per_wnid=4),
    )
    changed = {name: dataclasses.replace(getattr(made, name), **values) for name, values in sections.items()}
    return dataclasses.replace(made, **changed)


def make_study(folder: Path, **sections: Mapping[str, Any]) -> Study:
    """A study in ``folder/study`` of the pictures in ``folder``, which are written if there are none."""
    if not (folder / "val").exists():
        write_benchmark(folder)
    return create_study(folder / "study", config(**sections))


def source_of(study: Study) -> FolderSource:
    return FolderSource(study.path(study.config.source.location), parameters=study.config.search)


def find_candidates(study: Study) -> collect.SearchCounts:
    benchmark.register_benchmark(study)
    return collect.search(study, source_of(study), stamp=STAMP)


def store(study: Study) -> images.ImageCounts:
    return images.store_images(study, source_of(study).fetch, stamp=STAMP)


def publish_all(study: Study) -> publish.PublishCounts:
    return publish.publish_images(study, key=KEY)


def ready_to_label(study: Study) -> Study:
    find_candidates(study)
    store(study)
    publish_all(study)
    return study


def affinity(image_id: str, wnid: str) -> float:
    """Original images look like their class; candidates do too, all others do not."""
    parts = image_id.split("/")
    return 0.99 if len(parts) == 1 or parts[1] == wnid else 0.01


def simulated(affinity: Any = affinity) -> SimulatedCrowd:
    return SimulatedCrowd(affinity, start_time=STAMP.time)


def label_all(study: Study) -> Study:
    """Plan, publish on a simulated crowd, collect, count: candidates and originals."""
    for originals in (False, True):
        label.plan(study, stamp=STAMP, originals=originals)
    crowd = simulated()
    label.submit(study, crowd, stamp=STAMP)
    label.collect(study, crowd, stamp=STAMP)
    label.compute_frequencies(study)
    return study


def review_all(study: Study) -> Study:
    """Neighbours, a review of all that waits (nothing but equal pictures are near-duplicates), resolution."""
    neighbors.find_neighbors(study)
    reviews = simulate.simulated_reviews(duplicates.queue(study).items, {"l2": 0.0}, stamp=STAMP)
    duplicates.record_reviews(study, reviews, stamp=STAMP)
    duplicates.resolve_duplicates(study)
    return study


def ready_to_sample(study: Study) -> Study:
    return review_all(label_all(ready_to_label(study)))


def candidates_of(study: Study) -> dict[str, Candidate]:
    """photo id (path in the pool) -> candidate."""
    with study.database.read() as tables:
        return {candidate.photo_id: candidate for candidate in tables.candidates.all()}


def blobs_of(study: Study) -> dict[str, bytes]:
    return {key: study.blobs.get(key) for key, _ in study.blobs.list()}


class LiveCrowd(SimulatedCrowd):
    """A simulated crowd that pretends to cost money: 120 % of the rewards."""

    money: int | None = None

    @property
    def name(self) -> str:
        return "pretended market"

    @property
    def live(self) -> bool:
        return True

    def cost_cents(self, *, assignments: int, reward_cents: int) -> int:
        return assignments * reward_cents * 12 // 10

    def balance(self) -> int | None:
        return self.money


class FlakyCrowd(SimulatedCrowd):
    """Fails for some HITs; ``calls`` says which were asked for."""

    def __init__(self, failing: Iterable[int]) -> None:
        super().__init__(affinity, start_time=STAMP.time)
        self.failing = set(failing)
        self.calls: list[str] = []

    def publish(self, task: HitTask) -> PublishedHit:
        self.calls.append(task.hit.uuid)
        if len(self.calls) - 1 in self.failing:
            raise CrowdError("the service is unavailable", item=task.hit.uuid, remedy="Try again later")
        return super().publish(task)


class BreakingBlobs:
    """A blob store whose n-th write fails, as a full disk does."""

    def __init__(self, blobs: BlobStore, *, allow: int, error: Exception) -> None:
        self._blobs, self._left, self._error = blobs, allow, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blobs, name)

    def put_new(self, key: str, data: bytes) -> bool:
        self._count()
        return self._blobs.put_new(key, data)

    def put(self, key: str, data: bytes) -> None:
        self._count()
        self._blobs.put(key, data)

    def _count(self) -> None:
        if self._left == 0:
            raise self._error
        self._left -= 1
