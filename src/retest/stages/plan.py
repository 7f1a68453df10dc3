"""Stage: what a neighbour search will take, in time, memory and disk, from rates that are measured on this machine first.

Each rate is measured for a few seconds on images of the study, or on made-up ones where there are none: how long one image takes to
decode, to encode or to featurise, and how long one pair takes to compare. l2 and dssim are compared among as many references as
there are in the sample; l2 gets faster per pair the more references there are, so its time is an upper estimate.
"""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retest.errors import UsageError
from retest.images import ImageParameters, compare_array
from retest.neighbors import PIXEL_METRICS, NeighborParameters, encode_l2, nearest_dssim, nearest_features, nearest_hashes, nearest_l2
from retest.records import Split
from retest.stages._common import Progress, compare_variant, silent
from retest.stages._features import Featuriser, PerceptualHashes
from retest.stages._neighbor_plan import find_groups, part_key, plan_group
from retest.store import Tables
from retest.study import Study

_SAMPLE = 512
_QUERIES = 64
_CODE_BYTES = 22_000
"""Codes of l2 per image at 256x256, with their norms."""
_SSIM_SIDE = 256
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class SearchSize:
    """What one metric compares: pairs, of which ``pairs_done`` are stored already, and images that enter."""

    pairs: int
    queries: int
    references: int
    images: int
    items: int
    pairs_done: int = 0


@dataclass(frozen=True, slots=True)
class Rates:
    """Measured on this machine with one thread. ``pair_s`` and ``image_s`` (encoding or featurising) are by metric."""

    decode_s: float
    pair_s: Mapping[str, float]
    image_s: Mapping[str, float]
    dimensions: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class MetricPlan:
    """One metric: what is left to do, and what it takes. Memory is what one process needs at once beside mapped files."""

    metric: str
    candidates: int
    references: int
    pairs: int
    pairs_done: int
    seconds: float
    memory_bytes: int
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class NeighborPlan:
    """The whole search: ``seconds`` on ``workers`` threads; ``mapped_bytes`` are read from memory-mapped files as far as memory allows."""

    images: int
    images_stored: int
    workers: int
    metrics: tuple[MetricPlan, ...]
    decode_seconds: float
    seconds: float
    memory_bytes: int
    mapped_bytes: int
    disk_bytes: int
    rates: Rates


def study_sizes(study: Study, metrics: Sequence[str], versions: Mapping[str, str]) -> tuple[dict[str, SearchSize], int, int]:
    """Sizes per metric of a study with all its images, stored or not; the number of images; how many are stored."""
    compared = compare_variant(study.config.images)
    with study.database.read() as tables:
        begun = [metric for metric in metrics if tables.bulk.has_blocks(metric)]
        queries, originals = tables.bulk.searched(compared)
        similar = {info.wnid: info.most_similar for info in tables.classes.all()}
        stored = tables.bulk.searched_and_stored(compared)
        images = _listed(tables, compared) if begun else {}
    sizes = {metric: _study_size(study, metric, queries, originals, similar) for metric in metrics}
    for metric in begun:
        done = _pairs_done(study, metric, images.keys(), images, versions.get(metric))
        sizes[metric] = replace(sizes[metric], pairs_done=done)
    return sizes, sum(queries.values()) + sum(originals.values()), stored


def _listed(tables: Tables, compared: str) -> dict[str, str]:
    """Image -> hash of its content, empty where it is not stored: what a search that was begun lists as well."""
    images = dict.fromkeys(chain(tables.candidates.ids(), tables.originals.ids()), "")
    stored = {one.image_id: one.sha256 for one in tables.variants.all(compared)}
    lost = tables.problems.all().keys() - stored.keys()
    return {image: stored.get(image, "") for image in images if image not in lost}


def _study_size(
    study: Study,
    metric: str,
    queries: Mapping[str, int],
    splits: Mapping[tuple[str, str | None], int],
    similar: Mapping[str, Sequence[str]],
) -> SearchSize:
    """What :func:`find_groups` would give, counted class by class instead of listed: at a million candidates lists take hours."""
    p = study.config.neighbors
    originals: Counter[tuple[bool, str | None]] = Counter()
    for (split, wnid), number in splits.items():
        originals[split == Split.TRAIN, wnid] += number
    total = sum(queries.values())
    everywhere = total + sum(number for (train, _), number in originals.items() if not train)
    train = {wnid: number for (is_train, wnid), number in originals.items() if is_train}
    if metric != "dssim":
        references = everywhere + sum(train.values())
        return SearchSize(total * references, total, references, references, _items(total, references, p))
    pairs = most = items = 0
    reached: set[str | None] = set()
    for wnid, number in queries.items():
        near = {wnid, *[other for other in similar.get(wnid, ()) if other != wnid][: p.similar_classes]}
        references = everywhere + sum(train.get(other, 0) for other in near)
        pairs, most, items = pairs + number * references, max(most, references), items + _items(number, references, p)
        reached |= near
    entering = everywhere + sum(number for wnid, number in train.items() if wnid in reached) if queries else 0
    return SearchSize(pairs, total, most, entering, items)


def _items(queries: int, references: int, p: NeighborParameters) -> int:
    return -(-queries // p.query_block) * -(-references // p.reference_block)


def _pairs_done(study: Study, metric: str, images: Collection[str], contents: Mapping[str, str], featuriser: str | None) -> int:
    return sum(
        item.pairs
        for group in find_groups(study, metric, images)
        for item in plan_group(study, metric, group, contents, featuriser=featuriser, store=False)
        if study.blobs.exists(part_key(item))
    )


def designed_sizes(
    metrics: Sequence[str], *, candidates: int, train: int, others: int, classes: int, parameters: NeighborParameters
) -> tuple[dict[str, SearchSize], int, int]:
    """The same for a study that does not exist yet: equal classes, ``others`` validation and test images.

    Raises:
        UsageError: a number is negative, or there is no class.
    """
    for name, value, least in (("candidates", candidates, 1), ("train", train, 0), ("others", others, 0), ("classes", classes, 1)):
        if value < least:
            raise UsageError(f"must be at least {least}, not {value}", item=name, remedy="Give the sizes of the study")
    images = candidates + train + others
    sizes = {}
    for metric in metrics:
        share = min(1.0, (1 + parameters.similar_classes) / classes) if metric == "dssim" else 1.0
        references = candidates + others + round(train * share)
        queries_per_group = candidates / classes if metric == "dssim" else candidates
        groups = classes if metric == "dssim" else 1
        items = groups * -(-max(1, round(queries_per_group)) // parameters.query_block) * -(-references // parameters.reference_block)
        sizes[metric] = SearchSize(candidates * references, candidates, references, images, items)
    return sizes, images, 0


def measure_rates(
    metrics: Sequence[str],
    *,
    parameters: NeighborParameters,
    images: ImageParameters,
    featurisers: Mapping[str, Callable[[], Featuriser]],
    sample: NDArray[np.uint8] | None = None,
    clock: Clock = time.perf_counter,
    progress: Progress = silent,
) -> Rates:
    """Measure on this machine, with one thread.

    Args:
        metrics: what to measure.
        parameters: k and what the metrics need.
        images: the size of comparison.
        featurisers: loaders, for metrics that are no pixel metrics.
        sample: images of the study, uint8 (n, side, side, 3), n at least 2; without them made-up ones.
        clock: seconds.
        progress: shows what is being measured.
    """
    pixels = _made_up(images.compare_side) if sample is None or len(sample) < 2 else np.array(sample[:_SAMPLE])
    queries = np.array(pixels[:: max(1, len(pixels) // _QUERIES)][:_QUERIES])
    pair_s, image_s, dimensions = {}, {}, {}
    with progress("Measure", total=len(metrics) + 1) as advance:
        decode_s = _decoding(pixels[:32], images, clock)
        advance(1)
        for metric in metrics:
            made = featurisers[metric]() if metric in featurisers else None
            per_pair, per_image, size = _measured(metric, queries, pixels, parameters, made, clock)
            pair_s[metric], image_s[metric], dimensions[metric] = per_pair, per_image, size
            advance(1)
    return Rates(decode_s, pair_s, image_s, dimensions)


def _measured(
    metric: str, queries: NDArray[np.uint8], pixels: NDArray[np.uint8], p: NeighborParameters, featuriser: Featuriser | None, clock: Clock
) -> tuple[float, float, int]:
    """Seconds per pair, seconds per image, numbers per image."""
    k = min(p.k, len(pixels))
    if metric == "l2":
        per_image = _timed(lambda: encode_l2(pixels), clock) / len(pixels)
        codes = encode_l2(pixels)
        return _timed(lambda: nearest_l2(queries, pixels, k=k, codes=codes), clock) / (len(queries) * len(pixels)), per_image, 0
    if metric == "dssim":
        few = pixels[:64]
        window = min(p.ssim_window, (few.shape[1] - 1) // 2 * 2 + 1)
        options: dict[str, Any] = {"window": window, "threshold": p.dssim_threshold}
        if p.dssim_prerank is not None and p.dssim_prerank >= min(k, len(few)):
            options["prerank"] = p.dssim_prerank
        return _timed(lambda: nearest_dssim(queries, few, k=min(k, len(few)), **options), clock) / (len(queries) * len(few)), 0.0, 0
    made = PerceptualHashes() if metric == "phash" else featuriser
    if made is None:
        raise UsageError("there is no featuriser of this name", item=metric, remedy="Name it with --featuriser")
    some = pixels[:16]
    per_image = _timed(lambda: made.features(some), clock) / len(some)
    rng = np.random.default_rng(0)
    if metric == "phash":
        hashes = rng.integers(0, 2**63, 4096).astype(np.uint64)
        return _timed(lambda: nearest_hashes(hashes[:_QUERIES], hashes, k=k), clock) / (_QUERIES * len(hashes)), per_image, 2
    table = np.maximum(rng.standard_normal((4096, made.dimensions), dtype=np.float32), 0)
    return _timed(lambda: nearest_features(table[:1024], table, k=k), clock) / (1024 * len(table)), per_image, made.dimensions


def _timed(work: Callable[[], object], clock: Clock) -> float:
    """The faster of two runs: the first may compile."""
    taken = []
    for _ in range(2):
        start = clock()
        work()
        taken.append(clock() - start)
    return max(min(taken), 1e-9)


def _decoding(pixels: NDArray[np.uint8], images: ImageParameters, clock: Clock) -> float:
    files = []
    for image in pixels:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=images.jpeg_quality)
        files.append(buffer.getvalue())
    return _timed(lambda: [compare_array(file, parameters=images) for file in files], clock) / len(files)


def _made_up(side: int) -> NDArray[np.uint8]:
    """Smooth random images, whose distances spread as those of photos do."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (_SAMPLE, 6, 6, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)) for image in small])


def plan_neighbors(
    sizes: Mapping[str, SearchSize], rates: Rates, *, images: int, stored: int, parameters: NeighborParameters, side: int, workers: int
) -> NeighborPlan:
    """Put sizes and rates together.

    Args:
        sizes: what each metric compares.
        rates: from :func:`measure_rates`.
        images: all images that enter.
        stored: how many of them are stored already.
        parameters: block sizes, k, mirrored queries.
        side: of the compared images.
        workers: threads or processes at once.
    """
    row_bytes = side * side * 3
    plans = [_metric_plan(metric, size, rates, parameters, row_bytes, workers) for metric, size in sizes.items()]
    decode = images * rates.decode_s / workers
    widest = max((rates.dimensions[plan.metric] * 4 * images for plan in plans), default=0)
    return NeighborPlan(
        images=images,
        images_stored=stored,
        workers=workers,
        metrics=tuple(plans),
        decode_seconds=decode,
        seconds=decode + sum(plan.seconds for plan in plans),
        memory_bytes=max((plan.memory_bytes for plan in plans), default=0),
        mapped_bytes=max(images * row_bytes, widest),
        disk_bytes=images * row_bytes + sum(plan.disk_bytes for plan in plans),
        rates=rates,
    )


def _metric_plan(metric: str, size: SearchSize, rates: Rates, p: NeighborParameters, row_bytes: int, workers: int) -> MetricPlan:
    times = 1 + p.mirrored
    featurised = size.images + (size.queries if p.mirrored and metric not in PIXEL_METRICS else 0)
    work = (size.pairs - size.pairs_done) * times * rates.pair_s[metric] + featurised * rates.image_s[metric]
    query_block, reference_block = min(p.query_block, max(size.queries, 1)), min(p.reference_block, max(size.references, 1))
    width = rates.dimensions[metric] * 4 or row_bytes
    memory = query_block * width * times + query_block * reference_block * 4
    if metric == "l2":
        memory += reference_block * _CODE_BYTES * row_bytes // (_SSIM_SIDE**2 * 3)
    partial = size.items * 2 * 8 * p.k * query_block
    stored_lists = size.queries * p.k * 64
    features = 2 * rates.dimensions[metric] * 4 * featurised
    return MetricPlan(
        metric, size.queries, size.references, size.pairs, size.pairs_done, work / workers, memory, partial + stored_lists + features
    )


def sample_pixels(study: Study) -> NDArray[np.uint8] | None:
    """Up to 512 stored images of the study at the compare size, training images first, or None."""
    with study.database.read() as tables:
        chosen = tables.bulk.sample_variants(compare_variant(study.config.images), _SAMPLE)
    if len(chosen) < 2:
        return None
    return np.stack([compare_array(study.blobs.get(v.blob_key), item=v.image_id, parameters=study.config.images) for v in chosen])
