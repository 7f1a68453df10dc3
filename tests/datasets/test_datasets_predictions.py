"""PredictionData: predictions per data set, model and image."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
from data_tiny import BIRD, EGRET, FLY, MACHINE, VAL
from data_tiny import predictions as made

from retest.datasets import ImagePrediction, PredictionData
from retest.errors import NotFoundError
from retest.models import write_predictions
from retest.store import PredictionSet


@pytest.fixture
def predictions(tiny):
    return PredictionData(tiny)


def test_what_there_is(predictions):
    assert predictions.datasets() == {"original": 1, "set-a-2": 2, "set-a-3": 1}
    assert predictions.models("set-a-2") == ["good", "odd"]
    assert predictions.common_models(["set-a-2", "set-a-3"]) == ["good"]
    assert predictions.common_models(["set-a-2"]) == ["good", "odd"]
    assert predictions.common_models([]) == []
    with pytest.raises(NotFoundError, match=r"set-a2: the study has no predictions on this data set. Did you mean 'set-a-2'"):
        predictions.models("set-a2")
    with pytest.raises(NotFoundError, match=r"godo: has no predictions on set-a-2. Did you mean 'good'"):
        predictions.predictions("set-a-2", "godo")


def test_predictions_of_a_model(predictions):
    found = predictions.predictions("set-a-2", "odd")
    assert found.image_ids == ("c1", "c6")
    assert found.top.tolist() == [[2, 1], [99, 3]]
    assert predictions.predictions("set-a-2", "odd") is found


def test_predictions_for_an_image(predictions):
    good2 = ImagePrediction("set-a-2", "good", "c1", BIRD, (1, 2), (BIRD, MACHINE), None)
    odd2 = ImagePrediction("set-a-2", "odd", "c1", BIRD, (2, 1), (MACHINE, BIRD), None)
    good3 = ImagePrediction("set-a-3", "good", "c1", BIRD, (1, 2), (BIRD, MACHINE), (0.75, 0.25))
    assert predictions.of_image("c1") == [good2, odd2, good3]
    assert predictions.of_image("c1", dataset="set-a-2") == [good2, odd2]
    assert [(found.correct, found.rank) for found in (good2, odd2)] == [(True, 1), (False, 2)]
    assert predictions.of_image("c3") == []
    with pytest.raises(NotFoundError):
        predictions.of_image("c1", dataset="set-a-9")


def test_what_the_study_does_not_know_stays_open(predictions):
    odd = predictions.of_image("c6", dataset="set-a-2")[1]
    assert (odd.top, odd.wnids, odd.rank, odd.correct) == ((99, 3), (None, EGRET), None, False)
    (unlabelled,) = predictions.of_image("c7")
    assert (unlabelled.wnid, unlabelled.wnids, unlabelled.rank) == (None, (EGRET, FLY), None)


def test_an_unlabelled_image_with_an_unknown_class_is_not_right(tiny):
    """None is no class: an unknown label and an unknown class are not equal."""
    assert not ImagePrediction("d", "m", "i", None, (99,), (None,), None).correct


def test_data_sets_that_are_no_revisions(predictions):
    assert [(found.dataset, found.wnid, found.rank) for found in predictions.of_image(VAL[2])] == [("original", MACHINE, 2)]


def test_first_guesses(predictions):
    assert predictions.top1_counts("c1") == Counter({BIRD: 1, MACHINE: 1})
    assert predictions.top1_counts("c6") == Counter({MACHINE: 1, None: 1})


def test_new_predictions_are_seen(tiny, predictions):
    assert predictions.of_image("c6", dataset="set-a-2")[0].correct
    changed = made("set-a-2", "good", ("c1", "c6", "c3"), [1, 2, 1], [[1, 2], [3, 2], [1, 3]])
    write_predictions(tiny.folder / "predictions/new.parquet", changed)
    with tiny.database.write() as tables:
        tables.predictions.put(PredictionSet("set-a-2", "good", "predictions/new.parquet", 3, "another print"))
    assert [found.rank for found in predictions.of_image("c6", dataset="set-a-2")] == [2, None]
    assert predictions.of_image("c3", dataset="set-a-2")[0].correct
    assert predictions.accuracies("set-a-2")[0].n == 3


def test_accuracies_and_correctness(predictions):
    rows = predictions.accuracies("set-a-2")
    assert [(row.model, row.n, row.top1, row.top1_rank) for row in rows] == [("good", 2, 1.0, 1), ("odd", 2, 0.0, 2)]
    table = predictions.correctness("set-a-2")
    assert table.models == ("good", "odd")
    assert table.row("good").tolist() == [True, True]
    assert predictions.correctness("set-a-2", models=["odd"]).models == ("odd",)


def test_memory_is_bounded(tiny, monkeypatch):
    monkeypatch.setattr("retest.datasets.predictions._BYTES_KEPT", 100)
    predictions = PredictionData(tiny)
    first = predictions.predictions("set-a-2", "good")
    assert predictions.predictions("set-a-2", "good") is first
    predictions.predictions("set-a-2", "odd")
    predictions.predictions("set-a-3", "good")
    assert predictions.predictions("set-a-2", "good") is not first


def test_a_missing_file_says_so(tiny, predictions):
    (tiny.folder / "predictions/set-a-2-odd.parquet").unlink()
    with pytest.raises(NotFoundError, match=r"set-a-2-odd\.parquet: no such file"):
        predictions.of_image("c1", dataset="set-a-2")


def test_every_prediction_of_the_demo(study, raw):
    """Against the Parquet files, read without retest."""
    data = PredictionData(study)
    wnids = dict(raw.rows("SELECT cid, wnid FROM classes"))
    assert data.datasets() == dict(raw.rows("SELECT dataset, count(*) FROM prediction_sets GROUP BY dataset"))
    for dataset in ("digits-b-1", "original"):
        files = raw.rows("SELECT model, blob_key FROM prediction_sets WHERE dataset = ? ORDER BY model", dataset)
        tables = {model: pq.read_table(raw.folder / key).to_pydict() for model, key in files}
        for row in (0, 17, 59):
            image = next(iter(tables.values()))["image_id"][row]
            found = {one.model: one for one in data.of_image(image, dataset=dataset)}
            assert list(found) == list(tables)
            for model, table in tables.items():
                assert table["image_id"][row] == image
                assert found[model].wnids == tuple(wnids[cid] for cid in table["top_classes"][row])
                assert found[model].wnid == wnids[table["label"][row]]
                assert found[model].scores is None or np.allclose(found[model].scores, table["top_scores"][row])


def test_published_predictions(published, published_data):
    """Against the published arrays, read here without retest; the file that is stored worst first is turned around and says so."""
    data = PredictionData(published)
    classes = json.loads((published_data / "metadata/class_info.json").read_bytes())
    wnids = {entry["cid"]: entry["wnid"] for entry in classes}
    images = json.loads((published_data / "datasets/imagenetv2-a-44.json").read_bytes())["image_filenames"]
    arrays = {
        path.stem.removesuffix("_model"): np.load(path, allow_pickle=False)
        for path in (published_data / "predictions/imagenetv2-a-44").glob("*.npy")
    }
    assert data.models("imagenetv2-a-44") == sorted(arrays)
    arrays["fv_16k"] = arrays["fv_16k"][:, ::-1]
    row = 4321
    found = data.of_image(images[row][0])
    assert {one.dataset for one in found} <= {"imagenetv2-a-44", "imagenetv2-b-33"}
    assert {one.model: one.wnids for one in found if one.dataset == "imagenetv2-a-44"} == {
        model: tuple(wnids[cid] for cid in array[row].tolist()) for model, array in arrays.items()
    }
    assert {one.wnid for one in found} == {images[row][1]}
    assert "turned around" in data.predictions("imagenetv2-a-44", "fv_16k").notes[-1]
    first = Counter(wnids[array[row, 0]] for array in arrays.values())
    assert data.top1_counts(images[row][0], dataset="imagenetv2-a-44") == first
    best = data.accuracies("imagenetv2-a-44")[0]
    by_wnid = {wnid: cid for cid, wnid in wnids.items()}
    truth = np.array([by_wnid[wnid] for _, wnid in images])
    assert best.top1 == max(float((array[:, 0] == truth).mean()) for array in arrays.values())
    assert data.common_models(["imagenetv2-a-44", "imagenetv2-b-33"]) == ["alexnet", "fv_16k", "resnet50"]
