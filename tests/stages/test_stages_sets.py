"""Sampling, exporting, evaluating: what is refused, what is never overwritten, what is never reused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stage_studies as tiny

from retest.errors import ConflictError, NotFoundError, SamplingError, StageError, UsageError
from retest.records import Exclusion
from retest.sampling import SamplingParameters
from retest.stages import evaluate, export, sample
from retest.study import Study
from retest.testing.database import canonical_dump, differences


def make_set(study: Study, name: str, strategy: str = "top-images", **options: Any) -> sample.Sampled:
    changed = {key: options.pop(key) for key in list(options) if key in {f.name for f in dataclasses.fields(SamplingParameters)}}
    parameters = dataclasses.replace(study.config.sampling, **changed)
    return sample.sample(study, strategy, name=name, parameters=parameters, stamp=tiny.STAMP, **options)


# --------------------------------------------------------------------------------------------------------------- sampling


def test_an_equal_set_is_stored_once_and_another_of_its_name_refused(complete: Study):
    assert make_set(complete, "tiny-a-1", "threshold", seed=1).stored
    before = canonical_dump(complete, skip=())
    again = make_set(complete, "tiny-a-1", "threshold", seed=1)
    assert not again.stored
    for other in ({"seed": 2}, {"seed": 1, "per_class": 2}, {"strategy": "top-images", "seed": 1}):
        with pytest.raises(ConflictError, match="tiny-a-1: this revision exists with other content") as caught:
            make_set(complete, "tiny-a-1", **{"strategy": "threshold", **other})
        assert caught.value.remedy
    assert differences(before, canonical_dump(complete, skip=())) == []


def test_an_unknown_strategy_or_predecessor(complete: Study):
    with pytest.raises(UsageError, match=r"best: unknown strategy.*top-images"):
        make_set(complete, "x", "best")
    with pytest.raises(NotFoundError, match=r"tiny-a-1: the study has no revision of this name.*none yet"):
        make_set(complete, "x", starting_from="tiny-a-1")
    make_set(complete, "tiny-c-1")
    with pytest.raises(NotFoundError, match=r"Revisions: tiny-c-1"):
        make_set(complete, "x", starting_from="tiny-c-2")
    with pytest.raises(UsageError, match="samples of original images start from nothing"):
        make_set(complete, "x", "original", starting_from="tiny-c-1")


def test_a_class_without_candidates_makes_the_set_incomplete_and_says_why(complete: Study):
    owls = [c.id for photo, c in tiny.candidates_of(complete).items() if photo.startswith("owl/")]
    with complete.database.write() as tables:
        tables.exclusions.add(Exclusion(image, "offensive") for image in owls)
    sampled = make_set(complete, "tiny-a-1", "threshold")
    assert (sampled.stored, sampled.result.is_valid) == (False, False)
    (shortfall,) = sampled.result.shortfalls
    assert (shortfall.wnid, shortfall.missing, shortfall.unusable) == ("owl", 3, {"blacklisted": 6})
    assert "owl: 3 of 3 missing; 0 of 6 candidates usable (6 blacklisted)" in str(shortfall)
    with complete.database.read() as tables:
        assert tables.revisions.names() == []
    allowed = make_set(complete, "tiny-a-1", "threshold", allow_invalid=True)
    assert allowed.stored
    assert Counter(wnid for _, wnid in allowed.result.images) == {"cat": 3, "dog": 3}
    with complete.database.read() as tables:
        assert tables.revisions.get("tiny-a-1").is_valid is False


def test_nothing_is_sampled_before_there_are_answers_and_reviews(ready: Study):
    sampled = make_set(ready, "tiny-a-1", "threshold")
    assert {reason for report in sampled.result.shortfalls for reason in report.unusable} == {"few_assignments"}
    with pytest.raises(SamplingError, match="tiny-a-1: the test set would be empty"):
        make_set(ready, "tiny-a-1", "threshold", allow_invalid=True)
    tiny.label_all(ready)
    sampled = make_set(ready, "tiny-a-1")
    assert {reason for report in sampled.result.shortfalls for reason in report.unusable} == {"unreviewed"}


def test_a_new_exclusion_or_pair_is_seen_by_the_next_set(complete: Study):
    first = dict(make_set(complete, "tiny-c-1").result.images)
    cats = sorted(image for image, wnid in first.items() if wnid == "cat")
    with complete.database.write() as tables:
        tables.exclusions.add([Exclusion(cats[0], "offensive")])
        tables.pairs.add([(cats[1], "val/cat/00.png")], user="someone", time=tiny.STAMP.time)
    second = make_set(complete, "tiny-c-2", starting_from="tiny-c-1").result
    assert not {cats[0], cats[1]} & set(dict(second.images))
    assert {(d.id, d.reason) for d in second.dropped} >= {(cats[0], "blacklisted"), (cats[1], "near_duplicate")}


# ----------------------------------------------------------------------------------------------------------------- export


def test_an_unknown_set_or_an_occupied_folder(complete: Study, tmp_path: Path):
    with pytest.raises(NotFoundError, match="none yet"):
        export.export_imagefolder(complete, "tiny-a-1", tmp_path / "out")
    make_set(complete, "tiny-a-1", "threshold")
    make_set(complete, "tiny-c-1")
    export.export_imagefolder(complete, "tiny-a-1", tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    with pytest.raises(ConflictError, match="the folder holds tiny-a-1"):
        export.export_imagefolder(complete, "tiny-c-1", tmp_path / "out")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/manifest.json").write_text("{}")
    with pytest.raises(ConflictError, match="the folder holds something else"):
        export.export_imagefolder(complete, "tiny-c-1", tmp_path / "other")
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_damaged_missing_and_unfinished_files_are_mended(complete: Study, tmp_path: Path):
    make_set(complete, "tiny-a-1", "threshold")
    out = tmp_path / "out"
    counts = export.export_imagefolder(complete, "tiny-a-1", out)
    assert (counts.images, counts.written) == (9, 9)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.rglob("*") if path.is_file()}
    assert export.export_imagefolder(complete, "tiny-a-1", out).written == 0
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.rglob("*") if path.is_file()} == before
    images = sorted(out.glob("*/*.jpg"))
    images[0].write_bytes(b"damaged")
    images[1].unlink()
    images[2].with_name(f".{images[2].name}.4711.tmp").write_bytes(b"unfinished")
    assert export.export_imagefolder(complete, "tiny-a-1", out).written == 2
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == {path: data for path, (data, _) in before.items()}


def test_an_image_that_is_not_stored_any_more_is_named(complete: Study, tmp_path: Path):
    images = make_set(complete, "tiny-a-1", "threshold").result.images
    with complete.database.write() as tables:
        tables.variants.forget([images[4][0]])
    with pytest.raises(NotFoundError, match=r"the image is not stored.*retest check") as caught:
        export.export_imagefolder(complete, "tiny-a-1", tmp_path / "out")
    assert caught.value.item == images[4][0]
    assert not (tmp_path / "out/manifest.json").exists()


def test_no_two_images_share_a_file_and_every_name_fits(study: Study, tmp_path: Path):
    """Ids that are paths: flattening them must not make two the same, nor a name longer than file systems allow."""
    for part in ("val",):
        shutil.rmtree(tmp_path / part)
    long = "x" * 200
    names = ["a/b.png", "a_b.png", "A/B.png", f"{long}/{long}.png"]
    for number, name in enumerate([*names, "more.png"]):
        tiny.write_picture(tmp_path / "val/cat" / name, tiny.COLORS["cat"], number)
        tiny.write_picture(tmp_path / "val/dog" / name, tiny.COLORS["dog"], 100 + number)
    for number in range(5):
        tiny.write_picture(tmp_path / "val/owl" / f"{number}.png", tiny.COLORS["owl"], 200 + number)
    tiny.ready_to_label(study)
    sampled = make_set(study, "tiny-original", "original", per_class=5)
    export.export_imagefolder(study, "tiny-original", tmp_path / "out", by_index=True)
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    files = [entry["file"] for entry in manifest["images"]]
    assert len({file.lower() for file in files}) == len(files) == 15
    assert all(len(part.encode()) <= 255 for file in files for part in file.split("/"))
    assert [(entry["id"], entry["wnid"]) for entry in manifest["images"]] == list(sampled.result.images)
    for entry in manifest["images"]:
        assert hashlib.sha256((tmp_path / "out" / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]
    assert len(list((tmp_path / "out").rglob("*.jpg"))) == 15
    assert {entry["file"] for entry in manifest["images"] if entry["id"] == "val/owl/0.png"} == {"2/val_owl_0.png.jpg"}


# ------------------------------------------------------------------------------------------------------------- evaluation


class Colours:
    """Classifies by the colour that is strongest; counts the images it is asked about."""

    preprocessing = "mean colour"
    num_classes = 3

    def __init__(self, name: str = "colours", weights: str = "1") -> None:
        self.name, self.weights, self.asked = name, weights, 0

    @property
    def fingerprint(self) -> str:
        return f"colours {self.weights}"

    @property
    def provenance(self) -> dict[str, Any]:
        return {"weights": self.weights}

    def preprocess(self, rgb: Any) -> Any:
        return rgb.reshape(-1, 3).mean(axis=0)

    def predict(self, batch: Any) -> Any:
        self.asked += len(batch)
        return np.asarray(batch, np.float32)


@pytest.fixture
def with_set(complete: Study) -> Study:
    make_set(complete, "tiny-c-1")
    return complete


DATASETS = ["original", "tiny-c-1"]


def test_what_was_predicted_is_not_predicted_again(with_set: Study):
    model = Colours()
    first = evaluate.evaluate_models(with_set, DATASETS, [model])
    assert [(c.dataset, c.images, c.computed) for c in first] == [("original", 24, 1), ("tiny-c-1", 9, 1)]
    assert model.asked == 24 + 9
    before = canonical_dump(with_set, skip=())
    again = evaluate.evaluate_models(with_set, DATASETS, [model])
    assert ([c.computed for c in again], model.asked) == ([0, 0], 33)
    assert differences(before, canonical_dump(with_set, skip=())) == []
    rows = {row.dataset: row for row in evaluate.accuracy(with_set)}
    assert (rows["original"].top1, rows["original"].n) == (1.0, 24)
    assert (rows["tiny-c-1"].top1, rows["tiny-c-1"].n) == (1.0, 9)


def test_changed_labels_are_another_question(with_set: Study):
    """The same images, the same model, other class indices: nothing may be reused."""
    model = Colours()
    evaluate.evaluate_models(with_set, DATASETS, [model])
    with with_set.database.write() as tables:
        infos = {info.wnid: info for info in tables.classes.all()}
        swapped = {"cat": infos["dog"].cid, "dog": infos["cat"].cid}
        tables.classes.put(dataclasses.replace(infos[wnid], cid=cid) for wnid, cid in swapped.items())
    counts = evaluate.evaluate_models(with_set, DATASETS, [model])
    assert [c.computed for c in counts] == [1, 1]
    for predictions in evaluate.stored_predictions(with_set):
        wnids = dict(_pairs(with_set, predictions.dataset))
        expected = [{"cat": 1, "dog": 0, "owl": 2}[wnids[image]] for image in predictions.image_ids]
        assert predictions.labels.tolist() == expected
    assert {round(row.top1, 3) for row in evaluate.accuracy(with_set)} == {0.333}


def _pairs(study: Study, dataset: str) -> list[tuple[str, str]]:
    with study.database.read() as tables:
        if dataset == "original":
            return [(image.id, str(image.wnid)) for image in tables.originals.all()]
        return list(tables.revisions.get(dataset).images)


def test_changed_weights_changed_pictures_and_lost_files_are_predicted_again(with_set: Study):
    model = Colours()
    evaluate.evaluate_models(with_set, ["original"], [model])
    assert evaluate.evaluate_models(with_set, ["original"], [Colours(weights="2")])[0].computed == 1
    assert evaluate.evaluate_models(with_set, ["original"], [Colours(weights="2")])[0].computed == 0
    with with_set.database.read() as tables:
        (entry,) = tables.predictions.all()
    (with_set.folder / entry.blob_key).unlink()
    assert evaluate.evaluate_models(with_set, ["original"], [Colours(weights="2")])[0].computed == 1
    with with_set.database.write() as tables:
        other = tables.variants.get(["val/owl/00.png"], "original")["val/owl/00.png"]
        tables.variants.put([dataclasses.replace(other, image_id="val/cat/00.png")])
    assert evaluate.evaluate_models(with_set, ["original"], [Colours(weights="2")])[0].computed == 1
    (predictions,) = evaluate.stored_predictions(with_set)
    assert predictions.top[predictions.image_ids.index("val/cat/00.png"), 0] == 2
    (row,) = evaluate.accuracy(with_set)
    assert row.top1 == 23 / 24


def test_an_interrupted_evaluation_predicts_only_what_is_missing(with_set: Study):
    first, second = Colours("first"), Colours("second", weights="2")
    calls = 0

    def predict(batch: Any) -> Any:
        nonlocal calls
        calls += 1
        raise KeyboardInterrupt

    second.predict = predict  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        evaluate.evaluate_models(with_set, DATASETS, [first, second])
    assert calls == 1
    del second.predict
    evaluate.evaluate_models(with_set, DATASETS, [first, second])
    assert second.asked == 33
    assert first.asked <= 33 + 24
    assert len(evaluate.accuracy(with_set)) == 4


def test_an_unknown_data_set_or_class(with_set: Study):
    with pytest.raises(NotFoundError, match=r"tiny-z-1.*Revisions: tiny-c-1"):
        evaluate.evaluate_models(with_set, ["tiny-z-1"], [Colours()])
    with with_set.database.write() as tables:
        tables.connection.exec_driver_sql("DELETE FROM classes WHERE wnid = 'owl'")
    with pytest.raises(StageError, match="owl: the study does not know this class"):
        evaluate.evaluate_models(with_set, ["tiny-c-1"], [Colours()])


def test_accuracy_without_predictions(ready: Study):
    with pytest.raises(StageError, match=r"the study has no predictions.*retest evaluate"):
        evaluate.accuracy(ready)
