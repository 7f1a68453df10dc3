"""A small whole study, made once, for tests that copy, back up and restore."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from retest.models import write_predictions
from retest.records import Predictions
from retest.store import PredictionSet
from retest.study import Study, open_study

sys.path.append(str(Path(__file__).parents[1] / "stages"))


@pytest.fixture(scope="session")
def whole_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with images, answers, neighbours, reviews, a revision and the state of a labelling server. Nothing may change it."""
    import stage_studies as tiny

    from retest.crowd.taskserver import SqliteTaskRepository
    from retest.stages import sample

    folder = tmp_path_factory.mktemp("custody")
    study = tiny.label_all(tiny.ready_to_label(tiny.make_study(folder)))
    tiny.review_all(study)
    sample.sample(study, "top-images", name="tiny-a-1", parameters=study.config.sampling, stamp=tiny.STAMP, allow_invalid=True)
    with study.database.write() as tables:
        tables.assignments.add_workers({answer.worker: f"raw {answer.worker}" for answer in tables.assignments.all()})
    _predict(study)
    (study.folder / "cache").mkdir(exist_ok=True)
    (study.folder / "cache/pixels.npy").write_bytes(b"can be made again")
    SqliteTaskRepository(study.folder / "label-server.db").close()
    study.close()
    return study.folder


@pytest.fixture
def study(whole_study: Path) -> Iterator[Study]:
    with closing(open_study(whole_study)) as opened:
        yield opened


def _predict(study: Study) -> None:
    with study.database.write() as tables:
        images = tuple(image for image, _ in tables.revisions.get("tiny-a-1").images)
        labels = np.zeros(len(images), np.int64)
        path = study.folder / "predictions/tiny-a-1/model.parquet"
        path.parent.mkdir(parents=True)
        write_predictions(path, Predictions("tiny-a-1", "model", images, labels, labels[:, None]))
        tables.predictions.put(PredictionSet("tiny-a-1", "model", "predictions/tiny-a-1/model.parquet", len(images), "key"))
