"""The whole work of a tiny study as steps by name, run in a process of its own that can be disturbed."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "stages"))

import stage_studies as tiny

from retest.errors import RetestError
from retest.stages import (
    benchmark,
    check,
    collect,
    duplicates,
    evaluate,
    export,
    images,
    label,
    neighbors,
    publish,
    sample,
    simulate,
    study_backup,
    study_copy,
)
from retest.store import open_blobs
from retest.study import Study, create_study, open_study
from retest.testing.chaos import Kill, durable_steps, jumping_clock
from retest.testing.database import canonical_dump, canonical_predictions


class MeanColor:
    """A classifier that takes the class whose colour is next to the mean of the picture."""

    name, fingerprint, preprocessing, num_classes = "mean-color", "mean-color-1", "mean-1", 3
    provenance: Mapping[str, Any] = {"kind": "test"}

    def preprocess(self, rgb: np.ndarray) -> np.ndarray:
        return rgb.reshape(-1, 3).mean(axis=0).astype(np.float32)

    def predict(self, batch: np.ndarray) -> np.ndarray:
        colors = np.array(list(tiny.COLORS.values()), np.float32)
        return -np.linalg.norm(batch[:, None] - colors[None], axis=2).astype(np.float32)


def _crowd(study: Study) -> Any:
    from retest.crowd import SimulatedCrowd

    return SimulatedCrowd(tiny.affinity, start_time=tiny.STAMP.time, path=study.folder / "simulated-crowd.db")


def _with_crowd(work: Callable[[Study, Any], object]) -> Callable[[Study], object]:
    def run(study: Study) -> object:
        with closing(_crowd(study)) as crowd:
            return work(study, crowd)

    return run


def _review(study: Study) -> None:
    duplicates.record_reviews(
        study, simulate.simulated_reviews(duplicates.queue(study).items, {"l2": 0.0}, stamp=tiny.STAMP), stamp=tiny.STAMP
    )
    duplicates.resolve_duplicates(study)


def _sample(study: Study) -> None:
    sample.sample(study, "top-images", name="tiny-a-1", parameters=study.config.sampling, stamp=tiny.STAMP, allow_invalid=True)
    sample.sample(
        study,
        "threshold",
        name="tiny-b-1",
        parameters=study.config.sampling,
        stamp=tiny.STAMP,
        starting_from="tiny-a-1",
        allow_invalid=True,
    )


STEPS: dict[str, Callable[[Study], object]] = {
    "benchmark": benchmark.register_benchmark,
    "search": lambda s: collect.search(s, tiny.source_of(s), stamp=tiny.STAMP),
    "download": lambda s: images.store_images(s, tiny.source_of(s).fetch, stamp=tiny.STAMP),
    "publish": lambda s: publish.publish_images(s, key=tiny.KEY),
    "check": lambda s: check.check_images(s, repair=True),
    "plan": lambda s: [label.plan(s, stamp=tiny.STAMP, originals=o) for o in (False, True)],
    "submit": _with_crowd(lambda s, crowd: label.submit(s, crowd, stamp=tiny.STAMP)),
    "collect": _with_crowd(lambda s, crowd: (label.collect(s, crowd, stamp=tiny.STAMP), label.compute_frequencies(s))),
    "neighbors": neighbors.find_neighbors,
    "review": _review,
    "sample": _sample,
    "evaluate": lambda s: evaluate.evaluate_models(s, ["tiny-a-1", "tiny-b-1"], [MeanColor()]),
    "export": lambda s: export.export_imagefolder(s, "tiny-a-1", s.folder.parent / "set"),
    "backup": lambda s: study_backup.back_up(s, open_blobs("backup", base=s.folder.parent), stamp=tiny.STAMP),
    "copy": lambda s: study_copy.copy_study(s, s.folder.parent / "copy"),
    "restore": lambda s: study_backup.restore(open_blobs("backup", base=s.folder.parent), s.folder.parent / "restored"),
}


@dataclass(frozen=True)
class Disturbance:
    """What happens to a process: a kill, a clock that leaps, a limit on how long it waits for locks."""

    kill: Kill | None = None
    clock_seed: int | None = None
    busy_timeout_s: float | None = None
    study: Mapping[str, Any] = field(default_factory=dict)


def run_step(folder: Path, name: str, disturbance: Disturbance, told: Connection) -> None:
    """Do one step in this process; tells (steps counted, error or None)."""
    if disturbance.busy_timeout_s is not None:
        from retest.store import engine

        engine._BUSY_TIMEOUT_S = disturbance.busy_timeout_s
    error = None
    with ExitStack() as stack:
        if disturbance.clock_seed is not None:
            stack.enter_context(jumping_clock(disturbance.clock_seed))
        try:
            study = stack.enter_context(closing(create_study(folder / "study", tiny.config(study=disturbance.study))))
            steps = stack.enter_context(durable_steps(study.database.engine, disturbance.kill))
            STEPS[name](study)
            told.send((steps.count, None))
        except (RetestError, OSError) as caught:
            error = caught
    if error is not None:
        told.send((0, error))


def content(folder: Path, *, blobs: bool = True) -> dict[str, list[str]]:
    """All that the work leaves behind, as lines."""
    found: dict[str, list[str]] = {}
    for name in ("study", "copy", "restored"):
        with closing(open_study(folder / name)) as study:
            found[f"{name}: rows"] = canonical_dump(study, places={str(folder): "OUT"})
            found[f"{name}: predictions"] = canonical_predictions(study)
            if blobs:
                found[f"{name}: blobs"] = [f"{key} {hashlib.sha256(study.blobs.get(key)).hexdigest()}" for key, _ in study.blobs.list()]
            with closing(_crowd(study)) as crowd, study.database.read() as tables:
                hits = list(tables.hits.all())
                found[f"{name}: crowd"] = sorted(f"{uuid} {progress}" for uuid, progress in crowd.progress(hits).items())
    files = [path for path in (folder / "set").rglob("*") if path.is_file()]
    found["set"] = [f"{path.relative_to(folder)} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in sorted(files)]
    return found
