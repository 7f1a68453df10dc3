import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retest.errors import InputError, NotFoundError, UsageError
from retest.models import check_predictions, read_predictions, take_rows, write_predictions
from retest.records import Predictions


def predictions(n=4, k=3, with_scores=True, **changes):
    rng = np.random.default_rng(n * 10 + k)
    record = Predictions(
        dataset="digits",
        model="mlp",
        image_ids=tuple(f"image-{number}.png" for number in range(n)),
        labels=rng.integers(-1, 10, n),
        top=rng.integers(0, 10, (n, k)),
        scores=rng.random((n, k), dtype=np.float32) if with_scores else None,
        provenance={"fingerprint": "abc", "versions": {"numpy": "2"}, "images": [1, 2.5, None, True]},
        notes=("one", "zwei — drei"),
    )
    return replace(record, **changes)


def assert_equal(one, two):
    assert (one.dataset, one.model, one.image_ids, one.provenance, one.notes) == (
        two.dataset,
        two.model,
        two.image_ids,
        two.provenance,
        two.notes,
    )
    for name in ("labels", "top", "scores"):
        left, right = getattr(one, name), getattr(two, name)
        if left is None or right is None:
            assert left is right
        else:
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("n", [0, 1, 7])
@pytest.mark.parametrize("scores", [True, False])
def test_what_is_written_is_read(tmp_path, n, scores):
    record = predictions(n, with_scores=scores)
    write_predictions(tmp_path / "deep" / "file.parquet", record)
    assert_equal(read_predictions(tmp_path / "deep" / "file.parquet"), record)


@given(st.lists(st.text(max_size=20), unique=True, max_size=5), st.data())
def test_any_id_survives(tmp_path_factory, ids, data):
    try:
        "".join(ids).encode()
    except UnicodeEncodeError:
        return
    path = tmp_path_factory.mktemp("ids") / "p.parquet"
    record = replace(predictions(len(ids)), image_ids=tuple(ids))
    write_predictions(path, record)
    assert_equal(read_predictions(path), record)


def test_special_scores_survive_bit_for_bit(tmp_path):
    scores = np.array([[np.float32(0.1), -0.0, np.finfo(np.float32).tiny]], dtype=np.float32)
    record = predictions(1)
    write_predictions(tmp_path / "p.parquet", replace(record, scores=scores))
    assert read_predictions(tmp_path / "p.parquet").scores.tobytes() == scores.tobytes()


def test_the_file_reads_well_without_retest(tmp_path):
    record = predictions(5, labels=np.array([3, -1, 0, 9, 1]))
    write_predictions(tmp_path / "p.parquet", record)
    table = pq.read_table(tmp_path / "p.parquet")
    assert table.column_names == ["image_id", "label", "top_classes", "top_scores"]
    assert table["label"].to_pylist() == [3, None, 0, 9, 1]
    assert table["top_classes"].to_pylist() == record.top.tolist()
    metadata = json.loads(table.schema.metadata[b"retest.predictions"])
    assert (metadata["model"], metadata["dataset"], metadata["provenance"]["fingerprint"]) == ("mlp", "digits", "abc")


def test_equal_predictions_give_equal_files(tmp_path):
    for name in ("a", "b"):
        write_predictions(tmp_path / name, predictions())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_ids": ("a", "a", "b", "c")}, "an image id appears twice"),
        ({"labels": np.zeros(3, np.int64)}, r"labels must be int64 \(4,\), not int64 \(3,\)"),
        ({"labels": np.zeros(4, np.int32)}, r"labels must be int64 \(4,\), not int32"),
        ({"top": np.zeros((4, 0), np.int64)}, r"top must be int64 \(4, k\)"),
        ({"top": np.zeros((4, 3), np.float64)}, r"top must be int64 \(4, k\), not float64"),
        ({"scores": np.zeros((4, 2), np.float32)}, r"scores must be float32 \(4, 3\), not float32 \(4, 2\)"),
    ],
)
def test_inconsistent_records_are_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=f"predictions of mlp on digits: {message}"):
        write_predictions(tmp_path / "p.parquet", predictions(**changes))
    assert not list(tmp_path.iterdir())


def test_provenance_must_be_plain(tmp_path):
    with pytest.raises(UsageError, match="provenance cannot be written as JSON"):
        write_predictions(tmp_path / "p.parquet", predictions(provenance={"weights": object()}))


def rewritten(path, change):
    table = pq.read_table(path)
    pq.write_table(change(table), path)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.replace_schema_metadata(None), "has no metadata 'retest.predictions'"),
        (lambda table: table.replace_schema_metadata({b"retest.predictions": b"{"}), "its metadata is not JSON"),
        (lambda table: table.replace_schema_metadata({b"retest.predictions": b"[" * 100_000}), "its metadata is not JSON"),
        (lambda table: table.replace_schema_metadata({b"retest.predictions": b'{"version": 1}'}), "its metadata lacks 'dataset'"),
        (lambda table: table.replace_schema_metadata({b"retest.predictions": b"[]"}), "its metadata lacks 'version'"),
        (lambda table: table.drop_columns(["image_id"]), "lacks the column 'image_id'"),
        (lambda table: table.drop_columns(["top_classes"]), "lacks the column 'top_classes' as a fixed-size list of int64"),
        (lambda table: table.set_column(1, "label", pa.array(["x"] * len(table))), "lacks the column 'label' of the right type"),
        (lambda table: table.set_column(2, "top_classes", pa.array([[1]] * len(table))), "lacks the column 'top_classes' as a fixed-size"),
        (
            lambda table: table.set_column(2, "top_classes", pa.FixedSizeListArray.from_arrays(pa.array([1] * len(table)), 1)),
            "top_classes and top_scores differ in length",
        ),
    ],
)
def test_other_files_are_refused_with_the_reason(tmp_path, change, message):
    path = tmp_path / "p.parquet"
    write_predictions(path, predictions())
    with pytest.raises(InputError, match=rf"p\.parquet: {message}"):
        read_predictions(rewritten(path, change))


def test_a_newer_version_says_so(tmp_path):
    path = tmp_path / "p.parquet"
    write_predictions(path, predictions())
    newer = {"version": 2, "dataset": "d", "model": "m", "provenance": {}, "notes": []}
    rewritten(path, lambda table: table.replace_schema_metadata({b"retest.predictions": json.dumps(newer).encode()}))
    with pytest.raises(InputError, match=r"is of version 2, this program knows 1\. Update retest"):
        read_predictions(path)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all" * 10])
def test_damaged_files_are_refused(tmp_path, content):
    path = tmp_path / "p.parquet"
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read_predictions(path)


def test_a_cut_file_is_refused(tmp_path):
    path = tmp_path / "p.parquet"
    write_predictions(path, predictions(200))
    whole = path.read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 25)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            read_predictions(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"gone\.parquet: no such file"):
        read_predictions(tmp_path / "gone.parquet")


def test_taking_the_rows_of_one_data_set():
    record = predictions(6)
    part = take_rows(record, dataset="small", images=[("image-4.png", 7), ("image-0.png", -1)])
    check_predictions(part)
    assert (part.dataset, part.image_ids, part.labels.tolist()) == ("small", ("image-4.png", "image-0.png"), [7, -1])
    np.testing.assert_array_equal(part.top, record.top[[4, 0]])
    np.testing.assert_array_equal(part.scores, record.scores[[4, 0]])
    with pytest.raises(NotFoundError, match="gone: 1 of 2 images of small have no prediction by mlp"):
        take_rows(record, dataset="small", images=[("image-4.png", 7), ("gone", 0)])
