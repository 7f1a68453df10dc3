"""Work items wherever they are computed: threads, processes, a cluster, another machine, after a kill; and every metric."""

from __future__ import annotations

import dataclasses
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stage_studies as tiny
from PIL import Image

from retest.datasets import ImageLoader
from retest.errors import InputError
from retest.neighbors import nearest_features, pair_distance, perceptual_hashes
from retest.stages import _search, neighbors
from retest.stages._processes import IsolatingExecutor
from retest.study import ExecutorOptions, Study, open_executor, open_study
from retest.testing.database import canonical_dump, differences

METRICS = ("l2", "dssim", "phash", "halves")


class Halves:
    """Mean colours of the left and the right half: a featuriser that sees mirroring. Counts what it is asked for."""

    name = "halves-1"
    dimensions = 6

    def __init__(self) -> None:
        self.seen = 0

    def features(self, images: np.ndarray) -> np.ndarray:
        self.seen += len(images)
        half = images.shape[2] // 2
        parts = [images[:, :, :half].mean(axis=(1, 2)), images[:, :, half:].mean(axis=(1, 2))]
        return np.hstack(parts).astype(np.float32)


def with_neighbors(study: Study, **values: Any) -> Study:
    settings = {"ssim_window": 5, **values}
    return dataclasses.replace(
        study, config=dataclasses.replace(study.config, neighbors=dataclasses.replace(study.config.neighbors, **settings))
    )


def find(study: Study, executor: Executor | None = None, featuriser: Halves | None = None, **options: Any) -> list[Any]:
    return neighbors.find_neighbors(study, metrics=METRICS, featurisers={"halves": featuriser or Halves()}, executor=executor, **options)


def results(study: Study) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Everything that a search leaves behind, apart from what it tells workers elsewhere."""
    blobs = {key: data for key, data in tiny.blobs_of(study).items() if not key.startswith("partial/sources/")}
    return canonical_dump(study, skip=()), blobs


@pytest.fixture
def expected(templates: Path, tmp_path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What one process on one thread finds."""
    import shutil

    shutil.copytree(templates / "labelled", tmp_path / "expected")
    with closing(open_study(tmp_path / "expected" / "study")) as study:
        one = dataclasses.replace(study.config, study=dataclasses.replace(study.config.study, workers=1))
        find(with_neighbors(dataclasses.replace(study, config=one)))
        return results(study)


@contextmanager
def cluster(**options: Any):
    distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None, **options) as made,
        open_executor(ExecutorOptions(kind="dask", scheduler=made.scheduler_address)) as executor,
    ):
        yield executor


def assert_same(study: Study, expected: tuple[dict[str, Any], dict[str, bytes]], tmp_path: Path) -> None:
    dump, blobs = results(study)
    assert differences(expected[0], dump) == []
    assert blobs == expected[1]


@pytest.mark.parametrize("kind", ["threads", "dask", "two processes", pytest.param("eight processes", marks=pytest.mark.long)])
def test_every_executor_gives_the_same_bytes(kind: str, ready: Study, expected, tmp_path: Path):
    executors = {
        "threads": lambda: ThreadPoolExecutor(3),
        "dask": lambda: cluster(protocol="tcp", host="127.0.0.1"),
        "two processes": lambda: IsolatingExecutor(2),
        "eight processes": lambda: IsolatingExecutor(8),
    }
    with executors[kind]() as executor:
        counts = find(with_neighbors(ready), executor)
    assert all(count.computed == count.items > 0 for count in counts)
    assert_same(ready, expected, tmp_path)


def test_workers_that_do_not_see_the_study_folder_fetch_what_they_need(ready: Study, expected, tmp_path: Path, monkeypatch):
    """As on another machine: no file of the cache is found, so rows come from the blob store into a file of the worker's own."""
    monkeypatch.setattr(_search.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(_search.Rows, "is_here", lambda rows: "cache" not in rows.path.parts)
    with ThreadPoolExecutor(2) as executor:
        # The coordinator still writes its own files; they count as missing, so each is written once per search.
        find(with_neighbors(ready), executor)
    own = sorted(path.name for path in tmp_path.glob("retest-rows-*/*.rows"))
    assert len(own) == 3  # pixels, hashes and features
    assert_same(ready, expected, tmp_path)


def test_a_task_is_small_whatever_the_study(ready: Study):
    tasks: list[_search.Task | _search.FeatureTask] = []

    class Recording(ThreadPoolExecutor):
        def submit(self, work, task):  # type: ignore[override]
            tasks.append(task)
            return super().submit(work, task)

    with Recording(1) as executor:
        find(with_neighbors(ready, query_block=1000, reference_block=1000), executor)
    # One per metric, for dssim one per class; and the features of all images, which are one block.
    assert Counter(type(task).__name__ for task in tasks) == {"Task": 6, "FeatureTask": 1}
    assert max(len(pickle.dumps(task)) for task in tasks) < 2500
    assert _search.to_rows(_search.to_runs(np.array([5, 6, 7, 2, 3, 9]))).tolist() == [5, 6, 7, 2, 3, 9]


def test_a_featuriser_of_another_name_on_a_worker_is_refused(ready: Study):
    class Other(Halves):
        name = "halves-2"

    made = iter([Halves(), Other()])
    with ThreadPoolExecutor(1) as executor, pytest.raises(InputError, match="is 'halves-2' on a worker, 'halves-1' here"):
        neighbors.find_neighbors(with_neighbors(ready), metrics=["halves"], featurisers={"halves": lambda: next(made)}, executor=executor)


def test_codes_of_references_are_made_once_per_block(ready: Study, monkeypatch):
    made: list[int] = []
    encode = _search.encode_l2
    monkeypatch.setattr(_search, "encode_l2", lambda images, **o: made.append(o["subset"].size) or encode(images, **o))
    study = with_neighbors(ready, query_block=3, reference_block=20)
    (counts,) = neighbors.find_neighbors(study, metrics=["l2"])
    assert counts.items == 6 * len(made)
    assert sum(made) == counts.references


# ------------------------------------------------------------------------------------------------------------- growth


def late_pictures(study: Study, folder: Path) -> None:
    for number in range(3):
        tiny.write_picture(folder / "pool" / "cat" / f"new{number}.png", (10 * number, 90, 200), 1000 + number)
    tiny.ready_to_label(study)


def test_new_candidates_cost_their_pairs_their_features_and_their_decoding_only(ready: Study, tmp_path: Path, monkeypatch):
    study, featuriser = with_neighbors(ready), Halves()
    first = {count.metric: count for count in find(study, featuriser=featuriser)}
    assert featuriser.seen == 48  # 6 train, 24 val, 18 candidates
    decoded: list[str] = []
    monkeypatch.setattr(
        "retest.stages._pixels.compare_array", lambda data, item, parameters: decoded.append(item) or compare(data, item, parameters)
    )
    from retest.images import compare_array

    def compare(data, item, parameters):
        return compare_array(data, item=item, parameters=parameters)

    late_pictures(study, tmp_path)
    second = {count.metric: count for count in find(study, featuriser=featuriser)}
    assert sorted(decoded) == sorted(c.id for photo, c in tiny.candidates_of(study).items() if "new" in photo)
    assert featuriser.seen == 51
    n, new = first["l2"].references, 3
    for metric in ("l2", "phash", "halves"):
        assert first[metric].pairs == 18 * n
        assert second[metric].pairs == new * n + 18 * new + new * new  # new queries, new references, both
    # dssim compares each class with its own references: all candidates are among them
    assert second["dssim"].pairs == first["dssim"].pairs // 18 * new + 18 * new + new * new
    assert len(list((study.folder / "cache").glob("pixels-*.u8"))) == 1
    assert len(list((study.folder / "cache").glob("features-*.rows"))) == 2
    with closing(tiny.make_study(tmp_path / "fresh")) as fresh:
        for number in range(3):
            tiny.write_picture(tmp_path / "fresh" / "pool" / "cat" / f"new{number}.png", (10 * number, 90, 200), 1000 + number)
        tiny.ready_to_label(fresh)
        find(with_neighbors(fresh))
        assert named(fresh) == named(study)


def named(study: Study) -> dict[str, dict[str, list[tuple[str, float]]]]:
    names = {candidate.id: photo for photo, candidate in tiny.candidates_of(study).items()}
    with study.database.read() as tables:
        return {
            metric: {
                names[image]: sorted((n.distance, names.get(n.reference, n.reference)) for n in found)
                for image, found in tables.neighbors.all(metric)
            }
            for metric in METRICS
        }


# ------------------------------------------------------------------------------------------------------------ metrics


def pixels_of(study: Study) -> dict[str, np.ndarray]:
    with study.database.read() as tables:
        stored = list(tables.variants.all("scaled_16"))
    return {v.image_id: np.asarray(Image.open(study.folder / "blobs" / v.blob_key).convert("RGB")) for v in stored}


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("metric", METRICS)
def test_each_metric_is_that_of_single_pairs(ready: Study, metric: str, mirrored: bool):
    study = with_neighbors(ready, mirrored=mirrored)
    find(study)
    pixels, halves = pixels_of(study), Halves()

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        if metric == "halves":
            return pair_distance(metric, halves.features(a[None])[0], halves.features(b[None])[0])
        return pair_distance(metric, a, b, window=5)

    with study.database.read() as tables:
        lists = dict(tables.neighbors.all(metric))
    assert len(lists) == 18
    for image, found in list(lists.items())[:4]:
        for neighbor in found:
            variants = [pixels[image], np.ascontiguousarray(pixels[image][:, ::-1])][: 1 + mirrored]
            assert neighbor.distance == min(distance(a, pixels[neighbor.reference]) for a in variants)


def test_mirrored_queries_find_mirrored_copies(ready: Study):
    """A candidate whose mirror image is among the references is at distance 0 with mirrored queries, and far without."""
    image = min(c.id for c in tiny.candidates_of(ready).values())
    with ready.database.write() as tables:
        variant = tables.variants.get([image], "scaled_16")[image]
    mirrored = Image.open(ready.folder / "blobs" / variant.blob_key).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    target = ready.folder / "blobs" / "mirrored.png"
    mirrored.save(target)
    with ready.database.write() as tables:
        other = dataclasses.replace(variant, image_id="val/cat/00.png", blob_key="mirrored.png", sha256="ab" * 32)
        tables.variants.put([other])
    for flag in (False, True):
        find(with_neighbors(ready, mirrored=flag))
        with ready.database.read() as tables:
            for metric in METRICS:
                found = {n.reference: n.distance for n in tables.neighbors.get([image], metric)[image]}
                near = found.get("val/cat/00.png") == pytest.approx(0.0, abs=1e-12)
                assert near == flag, (metric, flag)


def test_stored_features_are_read_by_their_label(ready: Study):
    find(with_neighbors(ready))
    ids = sorted(pixels_of(ready))[:5]
    table = ImageLoader(ready).load_features_many(ids, featuriser="halves")
    assert table.shape == (5, 6)
    np.testing.assert_array_equal(table, Halves().features(np.stack([pixels_of(ready)[i] for i in ids])))
    np.testing.assert_array_equal(table, ImageLoader(ready).load_features_many(ids, featuriser="halves-1"))


# --------------------------------------------------------------------------------------------------------------- kill


@pytest.mark.parametrize(
    "options",
    [[], pytest.param(["--executor", "processes", "--workers", "2"], marks=pytest.mark.long)],
    ids=["one process", "two processes"],
)
def test_a_search_that_is_killed_and_started_again_gives_the_same(options: list[str], ready: Study, tmp_path: Path):
    settings = ready.folder / "study.toml"
    text = settings.read_text()
    settings.write_text(text.replace("query_block = 4", "query_block = 1").replace("reference_block = 8", "reference_block = 2"))
    command = [sys.executable, "-m", "retest", "neighbors", "--study", str(ready.folder), "--metric", "l2", *options]
    parts = ready.folder / "blobs" / "partial" / "neighbors"
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "NUMBA_NUM_THREADS": "1"})
    give_up = time.monotonic() + 120
    while len(list(parts.rglob("*.npy"))) < 10:
        assert running.poll() is None, running.stderr.read() if running.stderr else ""
        assert time.monotonic() < give_up
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    done = len(list(parts.rglob("*.npy")))
    with closing(open_study(ready.folder)) as study:
        with study.database.read() as tables:
            assert dict(tables.neighbors.all("l2")) == {}, "killed before the end"
        (rest,) = neighbors.find_neighbors(study, metrics=["l2"])
        assert 10 <= done < rest.items == 18 * 24
        assert rest.computed == rest.items - done
        with study.database.read() as tables:
            resumed = dict(tables.neighbors.all("l2"))
        names = sorted(key for key, _ in study.blobs.list("partial/neighbors"))
        kept = {key: study.blobs.get(key) for key in names}
        for key in names:
            study.blobs.delete(key)
        with study.database.write() as tables:
            tables.completions.put("neighbors", "l2/all", "forget")
        neighbors.find_neighbors(study, metrics=["l2"])
        with study.database.read() as tables:
            assert dict(tables.neighbors.all("l2")) == resumed
        assert {key: study.blobs.get(key) for key in names} == kept


def test_hashes_and_features_have_independent_definitions(ready: Study):
    """What the stage stores equals the library's own search over all images at once."""
    find(with_neighbors(ready))
    pixels = pixels_of(ready)
    ids = sorted(pixels)
    stacked = np.stack([pixels[image] for image in ids])
    table = Halves().features(stacked)
    hashes = perceptual_hashes(stacked)
    candidates = sorted(c.id for c in tiny.candidates_of(ready).values())
    rows = [ids.index(image) for image in candidates]
    found = nearest_features(table[rows], table, k=5)
    with ready.database.read() as tables:
        for row, image in enumerate(candidates):
            assert [n.reference for n in tables.neighbors.get([image], "halves")[image]] == [ids[i] for i in found.indices[row]]
            bits = sorted((int(hashes[rows[row]] ^ value).bit_count(), name) for value, name in zip(hashes, ids, strict=True))
            assert [(n.distance, n.reference) for n in tables.neighbors.get([image], "phash")[image]] == bits[:5]
