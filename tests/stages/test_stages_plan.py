"""The plan of a neighbour search: sizes are those of the search itself, times follow from measured rates."""

from __future__ import annotations

import dataclasses
import itertools
import json

import numpy as np
import pytest
import stage_studies as tiny
from click.testing import CliRunner

from retest.cli import cli
from retest.errors import UsageError
from retest.images import ImageParameters
from retest.neighbors import NeighborParameters
from retest.stages import neighbors, plan
from retest.study import Study

METRICS = ("l2", "dssim", "phash")


def with_window(study: Study) -> Study:
    settings = dataclasses.replace(study.config.neighbors, ssim_window=5)
    return dataclasses.replace(study, config=dataclasses.replace(study.config, neighbors=settings))


def test_sizes_are_those_of_the_search_and_shrink_to_what_is_left(ready: Study):
    study = with_window(ready)
    before, images, stored = plan.study_sizes(study, METRICS, {"phash": "phash-1"})
    counts = {count.metric: count for count in neighbors.find_neighbors(study, metrics=["l2", "dssim"])}
    assert images == stored == 48
    for metric, count in counts.items():
        size = before[metric]
        assert (size.pairs, size.pairs_done, size.queries) == (count.pairs, 0, count.candidates)
        assert (size.references, size.items) == (count.references, count.items)
    after, _, _ = plan.study_sizes(study, METRICS, {"phash": "phash-1"})
    for metric, size in after.items():
        assert size.pairs_done == (0 if metric == "phash" else size.pairs)


def test_planning_changes_nothing(ready: Study):
    from retest.testing.database import canonical_dump, differences

    study, before = with_window(ready), canonical_dump(ready, skip=())
    plan.study_sizes(study, METRICS, {})
    plan.measure_rates(
        ("l2",), parameters=study.config.neighbors, images=study.config.images, featurisers={}, sample=plan.sample_pixels(study)
    )
    assert differences(before, canonical_dump(study, skip=())) == []


def test_images_that_are_not_stored_yet_are_planned_for(study: Study):
    tiny.find_candidates(study)
    sizes, images, stored = plan.study_sizes(study, ("l2",), {})
    assert (images, stored) == (48, 0)
    assert sizes["l2"].pairs == 18 * 48
    assert plan.sample_pixels(study) is None


def test_a_study_that_does_not_exist_yet():
    sizes, images, stored = plan.designed_sizes(
        METRICS, candidates=200_000, train=1_200_000, others=150_000, classes=1000, parameters=NeighborParameters()
    )
    assert (images, stored) == (1_550_000, 0)
    assert sizes["l2"].pairs == sizes["phash"].pairs == 200_000 * 1_550_000
    assert sizes["dssim"].pairs == 200_000 * (350_000 + 7200)  # six of a thousand classes
    assert sizes["dssim"].items == 1000 * 22
    with pytest.raises(UsageError, match="classes: must be at least 1"):
        plan.designed_sizes(METRICS, candidates=1, train=0, others=0, classes=0, parameters=NeighborParameters())


class Halves:
    name, dimensions = "halves-1", 6

    def features(self, images):
        half = images.shape[2] // 2
        return np.hstack([images[:, :, :half].mean(axis=(1, 2)), images[:, :, half:].mean(axis=(1, 2))]).astype(np.float32)


def test_rates_divide_the_time_of_the_clock_by_what_was_done():
    ticks = itertools.count(0.0, 1.0)  # everything takes one second
    rng = np.random.default_rng(0)
    sample = rng.integers(0, 256, (100, 16, 16, 3), dtype=np.uint8)
    rates = plan.measure_rates(
        ("l2", "dssim", "phash", "halves"),
        parameters=NeighborParameters(k=5, ssim_window=5),
        images=ImageParameters(compare_side=16, display_side=17),
        featurisers={"halves": Halves},
        sample=sample,
        clock=lambda: next(ticks),
    )
    assert rates.decode_s == 1 / 32
    assert rates.image_s == {"l2": 1 / 100, "dssim": 0.0, "phash": 1 / 16, "halves": 1 / 16}
    assert rates.pair_s == {"l2": 1 / (64 * 100), "dssim": 1 / (64 * 64), "phash": 1 / (64 * 4096), "halves": 1 / (1024 * 4096)}
    assert rates.dimensions == {"l2": 0, "dssim": 0, "phash": 2, "halves": 6}


def test_time_memory_and_disk_follow_from_sizes_and_rates():
    parameters = NeighborParameters(k=30, query_block=100, reference_block=1000)
    sizes = {"l2": plan.SearchSize(pairs=500_000, queries=100, references=5000, images=5000, items=5, pairs_done=100_000)}
    rates = plan.Rates(decode_s=0.001, pair_s={"l2": 1e-5}, image_s={"l2": 0.002}, dimensions={"l2": 0})
    found = plan.plan_neighbors(sizes, rates, images=5000, stored=5000, parameters=parameters, side=256, workers=2)
    (l2,) = found.metrics
    assert l2.seconds == pytest.approx((400_000 * 1e-5 + 5000 * 0.002) / 2)
    assert found.seconds == pytest.approx(l2.seconds + 5000 * 0.001 / 2)
    assert found.mapped_bytes == 5000 * 256 * 256 * 3
    assert l2.disk_bytes == 5 * 2 * 8 * 30 * 100 + 100 * 30 * 64
    assert found.disk_bytes == found.mapped_bytes + l2.disk_bytes
    assert 100 * 196608 + 1000 * 20_000 < l2.memory_bytes < 100 * 196608 + 1000 * 30_000
    both = plan.plan_neighbors(
        sizes, rates, images=5000, stored=0, parameters=dataclasses.replace(parameters, mirrored=True), side=256, workers=2
    )
    assert both.metrics[0].seconds == pytest.approx((2 * 400_000 * 1e-5 + 5000 * 0.002) / 2)


def test_the_command(ready: Study):
    run = CliRunner().invoke
    done = run(cli, ["plan", "neighbors", "--study", str(ready.folder), "--metric", "l2", "--metric", "phash", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [metric["pairs"] for metric in found["metrics"]] == [18 * 48, 18 * 48]
    assert found["seconds"] > 0
    assert found["disk_bytes"] > 48 * 16 * 16 * 3
    done = run(cli, ["plan", "neighbors", "--candidates", "1000", "--train", "2000", "--metric", "phash", "--workers", "4"])
    assert done.exit_code == 0, done.output
    assert "time on 4 workers" in done.output
    for wrong in ([], ["--study", str(ready.folder), "--candidates", "5"]):
        assert run(cli, ["plan", "neighbors", *wrong]).exit_code == 2
