import json
from pathlib import Path

import numpy as np
import pytest

from retest.errors import InputError, NotFoundError
from retest.models import (
    correct_order,
    find_published_predictions,
    is_worst_first,
    published_model_name,
    read_published_predictions,
    write_published_predictions,
)
from retest.records import Predictions

SHARED = Path(__file__).resolve().parents[3] / "shared" / "imagenetv2" / "data"
IMAGES = [(f"i{number}", number % 7) for number in range(70)]
LABELS = np.array([label for _, label in IMAGES])


def guesses(share_right_first):
    """A classifier that is right first on that share of the images and names the truth last never."""
    top = np.array([[(label + step) % 7 for step in range(5)] for _, label in IMAGES])
    wrong = np.arange(len(IMAGES)) >= share_right_first * len(IMAGES)
    top[wrong] = (top[wrong] + 1) % 7
    return top


def test_files_are_read_and_written(tmp_path):
    np.save(tmp_path / "resnet50_model.npy", guesses(0.8))
    record = read_published_predictions(tmp_path / "resnet50_model.npy", dataset="b", images=IMAGES)
    assert (record.model, record.dataset, record.notes) == ("resnet50", "b", ())
    assert record.image_ids == tuple(image for image, _ in IMAGES)
    np.testing.assert_array_equal(record.top, guesses(0.8))
    write_published_predictions(tmp_path / "out.npy", record)
    assert (tmp_path / "out.npy").read_bytes() == (tmp_path / "resnet50_model.npy").read_bytes()


def test_a_file_that_is_stored_worst_first_is_turned_openly(tmp_path):
    np.save(tmp_path / "m.npy", guesses(0.8)[:, ::-1])
    record = read_published_predictions(tmp_path / "m.npy", dataset="b", images=IMAGES)
    np.testing.assert_array_equal(record.top, guesses(0.8))
    assert record.notes == (
        "stored worst first and turned around: the last column is right on 80.00% of the images, the first on 0.00% (top-1 as stored)",
    )
    assert record.provenance["order_corrected"] is True
    assert record.provenance["top1_as_stored"] == 0
    raw = read_published_predictions(tmp_path / "m.npy", dataset="b", images=IMAGES, correct=False)
    np.testing.assert_array_equal(raw.top, guesses(0.8)[:, ::-1])


def test_scores_turn_with_their_classes():
    scores = np.tile(np.arange(5, dtype=np.float32), (70, 1))
    record = Predictions("b", "m", tuple(image for image, _ in IMAGES), LABELS, guesses(0.8)[:, ::-1].copy(), scores)
    np.testing.assert_array_equal(correct_order(record).scores, scores[:, ::-1])


def test_chance_is_not_taken_for_a_reversed_file():
    rng = np.random.default_rng(0)
    for n in (1, 5, 100, 5000):
        for _ in range(50):
            assert not is_worst_first(rng.permuted(np.tile(np.arange(10), (n, 1)), axis=1)[:, :5], rng.integers(0, 10, n))


def test_the_rule_needs_labels_and_two_columns():
    turned = guesses(0.8)[:, ::-1]
    assert is_worst_first(turned, LABELS)
    assert not is_worst_first(guesses(0.8), LABELS)
    assert not is_worst_first(turned, np.full(70, -1))
    assert not is_worst_first(turned[:, -1:], LABELS)


def test_names_and_aliases(tmp_path):
    assert published_model_name("x/fv_64k_model.npy") == "fv_64k"
    assert published_model_name("resnet50.npy") == "resnet50"
    for name in ("b.npy", "a_model.npy", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert find_published_predictions(tmp_path) == {"a": tmp_path / "a_model.npy", "b": tmp_path / "b.npy"}
    (tmp_path / "a.npy").write_bytes(b"")
    with pytest.raises(InputError, match=r"a: a\.npy and a_model\.npy stand for the same model"):
        find_published_predictions(tmp_path)
    with pytest.raises(NotFoundError, match="no such folder"):
        find_published_predictions(tmp_path / "gone")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((69, 5), np.int64), "has 69 rows, b has 70 images"),
        (np.zeros(70, np.int64), "is not a table of class indices"),
        (np.zeros((70, 5)), "is not a table of class indices"),
        (np.full((70, 5), -1), "holds a negative class index"),
        (np.array([{"a": object()}], dtype=object), "cannot be read as an array"),
    ],
)
def test_other_arrays_are_refused(tmp_path, array, message):
    np.save(tmp_path / "m.npy", array)
    with pytest.raises(InputError, match=rf"m\.npy: {message}"):
        read_published_predictions(tmp_path / "m.npy", dataset="b", images=IMAGES)


def test_a_pickle_is_never_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    np.save(tmp_path / "m.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read as an array"):
        read_published_predictions(tmp_path / "m.npy", dataset="b", images=IMAGES)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"rubbish"])
def test_damaged_files_are_refused(tmp_path, content):
    (tmp_path / "m.npy").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as an array"):
        read_published_predictions(tmp_path / "m.npy", dataset="b", images=IMAGES)


# --------------------------------------------------------------------------------------- against the published files


@pytest.fixture(scope="module")
def published():
    folder = SHARED / "predictions"
    if not folder.is_dir():
        pytest.skip("the published predictions are not here")
    cid = {row["wnid"]: row["cid"] for row in json.loads((SHARED / "metadata" / "class_info.json").read_text())}
    records = {}
    for path in sorted(folder.iterdir()):
        rows = json.loads((SHARED / "datasets" / f"{path.name}.json").read_text())["image_filenames"]
        images = [(image, cid[wnid]) for image, wnid in rows]
        for model, file in find_published_predictions(path).items():
            records[path.name, model] = read_published_predictions(file, dataset=path.name, images=images)
    return records


def top1(record):
    return round(100 * float(np.mean(record.top[:, 0] == record.labels)), 2)


def test_exactly_the_known_published_files_are_turned(published):
    assert len(published) == 3 * 47
    turned = {key for key, record in published.items() if record.notes}
    assert turned == {("imagenetv2-a-44", "fv_16k"), ("imagenetv2-b-33", "fv_16k")}


@pytest.mark.parametrize(
    ("model", "figures"),
    # Published figures (accuracy in percent): original, Threshold0.7, MatchedFrequency.
    [("resnet50", (76.13, 72.70, 63.33)), ("alexnet", (56.52, 51.31, 43.98)), ("nasnetalarge", (82.51, 80.00, 72.21))],
)
def test_top_1_equals_the_published_figures(published, model, figures):
    names = ("imagenet-validation-original", "imagenetv2-a-44", "imagenetv2-b-33")
    assert tuple(top1(published[name, model]) for name in names) == pytest.approx(figures, abs=0.0051)


def test_the_turned_model_falls_between_its_neighbours(published):
    # fv_4k < fv_16k < fv_64k on every set, once turned around.
    for dataset in ("imagenet-validation-original", "imagenetv2-a-44", "imagenetv2-b-33"):
        assert top1(published[dataset, "fv_4k"]) < top1(published[dataset, "fv_16k"]) < top1(published[dataset, "fv_64k"])
