"""Stage: the nearest neighbours of every candidate in every metric (method, section 6).

The work is cut into (query block x reference block) items. Each item's result lies in the blob store under a key made of the
contents of its images, the parameters and the version of the search: a run killed anywhere goes on with the items that are
missing, and added images cost only the new pairs. Merged lists go to the database with the completion key of their group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retest.errors import StageError, UsageError
from retest.neighbors import (
    PIXEL_METRICS,
    Block,
    Knn,
    NeighborParameters,
    Part,
    WorkItem,
    merge,
    nearest_dssim,
    nearest_features,
    nearest_l2,
    plan_blocks,
    plan_items,
)
from retest.records import Split
from retest.stages._common import Progress, compare_variant, completion_key, in_order, silent
from retest.stages._pixels import Featuriser, PixelMatrix, array_bytes, feature_matrix, pixel_matrix, read_array
from retest.study import Study

_STAGE = "neighbors"
_BLOCKS = "neighbor-blocks"


@dataclass(frozen=True, slots=True)
class NeighborCounts:
    """What one run did for one metric: candidates searched, work items in all and those computed now."""

    metric: str
    candidates: int
    references: int
    items: int
    computed: int


@dataclass(frozen=True, slots=True)
class _Group:
    """Candidates that share their references. ``name`` is stable: the class for dssim, ``all`` otherwise."""

    name: str
    queries: tuple[str, ...]
    references: tuple[str, ...]


def find_neighbors(
    study: Study,
    *,
    metrics: Sequence[str] | None = None,
    featurisers: Mapping[str, Featuriser] | None = None,
    progress: Progress = silent,
    executor: Executor | None = None,
) -> list[NeighborCounts]:
    """Search ``metrics`` (by default those of ``[neighbors]``); ``featurisers`` gives those that are neither ``l2`` nor ``dssim`` by name.

    Raises:
        UsageError: a metric has no featuriser.
        StageError: no image is stored yet.
    """
    chosen = metrics or study.config.neighbors.metrics
    featurisers = featurisers or {}
    for metric in chosen:
        if metric not in PIXEL_METRICS and metric not in featurisers:
            raise UsageError("there is no featuriser of this name", item=metric, remedy="Use l2, dssim, or give the featuriser")
    with study.database.read() as tables:
        variants = list(tables.variants.all(compare_variant(study.config.images)))
    if not variants:
        raise StageError("no image is stored yet", item="images", remedy="Run: retest download --study STUDY")
    matrix = pixel_matrix(study, variants, progress=progress)
    contents = {variant.image_id: variant.sha256 for variant in variants}
    return [_search_metric(study, metric, matrix, contents, featurisers.get(metric), progress, executor) for metric in chosen]


def _search_metric(
    study: Study,
    metric: str,
    matrix: PixelMatrix,
    contents: dict[str, str],
    featuriser: Featuriser | None,
    progress: Progress,
    executor: Executor | None,
) -> NeighborCounts:
    parameters = study.config.neighbors
    depends_on = _dependencies(metric, parameters, featuriser)
    groups = list(_groups(study, metric, set(matrix.ids)))
    plans = {group.name: _plan_group(study, metric, group, contents, depends_on) for group in groups}
    with study.database.read() as tables:
        done = tables.completions.keys(_STAGE)
    waiting = [g for g in groups if done.get(f"{metric}/{g.name}") != _group_key(plans[g.name])]
    computed = 0
    if waiting:
        features = None if featuriser is None else feature_matrix(study, matrix, contents, featuriser, progress=progress)
        search = _Search(metric, matrix, parameters, features)
        items = [item for group in waiting for item in plans[group.name] if not study.blobs.exists(_part_key(item))]
        computed = _run_items(study, search, items, progress, executor)
        for group in waiting:
            _finish_group(study, metric, group, plans[group.name])
    references = max((len(group.references) for group in groups), default=0)
    return NeighborCounts(metric, sum(len(g.queries) for g in groups), references, sum(map(len, plans.values())), computed)


def _dependencies(metric: str, parameters: NeighborParameters, featuriser: Featuriser | None) -> dict[str, object]:
    if metric == "dssim":
        return {name: getattr(parameters, name) for name in ("k", "mirrored", "ssim_window", "dssim_threshold", "dssim_prerank")}
    return {"k": parameters.k, "mirrored": parameters.mirrored, "featuriser": None if featuriser is None else featuriser.name}


def _groups(study: Study, metric: str, stored: set[str]) -> Iterator[_Group]:
    """The references by the rules: everything for l2 and features, for dssim only the train images of similar classes."""
    with study.database.read() as tables:
        classes = {info.wnid: info for info in tables.classes.all()}
        candidates = [(row[0], row[1]) for row in tables.candidates.identities() if row[0] in stored]
        originals = [(i.id, i.split, i.wnid) for i in tables.originals.all() if i.id in stored]
    everywhere = [image for image, split, _ in originals if split != Split.TRAIN] + [image for image, _ in candidates]
    if metric != "dssim":
        train = [image for image, split, _ in originals if split == Split.TRAIN]
        yield _Group("all", tuple(sorted(image for image, _ in candidates)), tuple(sorted(everywhere + train)))
        return
    for wnid in sorted({wnid for _, wnid in candidates}):
        similar = classes[wnid].most_similar if wnid in classes else ()
        near = {wnid, *[other for other in similar if other != wnid][: study.config.neighbors.similar_classes]}
        train = [image for image, split, of in originals if split == Split.TRAIN and of in near]
        yield _Group(wnid, tuple(sorted(image for image, of in candidates if of == wnid)), tuple(sorted(everywhere + train)))


def _plan_group(study: Study, metric: str, group: _Group, contents: dict[str, str], depends_on: dict[str, object]) -> tuple[WorkItem, ...]:
    parameters = study.config.neighbors
    sides = (("queries", group.queries, parameters.query_block), ("references", group.references, parameters.reference_block))
    blocks: dict[str, tuple[Block, ...]] = {}
    for side, ids, size in sides:
        item = f"{metric}/{group.name}/{side}"
        with study.database.write() as tables:
            known = tables.completions.info(_BLOCKS, item) or {"blocks": []}
            existing = [Block(tuple(members), digest) for members, digest in known["blocks"]]
            made = plan_blocks(ids, block_size=size, contents=contents, existing=existing)
            if list(made) != existing:
                key = completion_key([block.digest for block in made])
                tables.completions.put(_BLOCKS, item, key, blocks=[[list(b.ids), b.digest] for b in made])
        blocks[side] = made
    return plan_items(blocks["queries"], blocks["references"], metric=metric, parameters=depends_on)


def _group_key(items: Sequence[WorkItem]) -> str:
    return completion_key([item.key for item in items])


def _part_key(item: WorkItem) -> str:
    return f"partial/neighbors/{item.key[:2]}/{item.key}.npy"


@dataclass(frozen=True, slots=True)
class _Search:
    """Computes one work item; runs in the executor."""

    metric: str
    matrix: PixelMatrix
    parameters: NeighborParameters
    features: NDArray[np.float32] | None

    def __call__(self, item: WorkItem) -> NDArray[np.float64]:
        queries, subset = self.matrix.rows(item.queries.ids), np.sort(self.matrix.rows(item.references.ids))
        found = self._nearest(queries, subset)
        places = np.where(found.indices >= 0, np.searchsorted(subset, found.indices), -1)
        return np.stack([places.astype(np.float64), found.distances])

    def _nearest(self, queries: NDArray[np.int64], subset: NDArray[np.int64]) -> Knn:
        p = self.parameters
        if self.features is not None:
            return nearest_features(self.features[queries], self.features, k=p.k, subset=subset)
        pixels = self.matrix.open()
        found = self._pixel_search(pixels[queries], pixels, subset)
        if not p.mirrored:
            return found
        mirrored = self._pixel_search(np.ascontiguousarray(pixels[queries][:, :, ::-1]), pixels, subset)
        everything, rows = np.arange(len(pixels)), np.arange(len(queries))
        return merge([Part(found, rows, everything), Part(mirrored, rows, everything)], queries=len(queries), k=p.k)

    def _pixel_search(self, queries: NDArray[np.uint8], pixels: NDArray[np.uint8], subset: NDArray[np.int64]) -> Knn:
        p = self.parameters
        if self.metric == "l2":
            return nearest_l2(queries, pixels, k=p.k, subset=subset)
        return nearest_dssim(
            queries, pixels, k=p.k, window=p.ssim_window, threshold=p.dssim_threshold, prerank=p.dssim_prerank, subset=subset
        )


def _run_items(study: Study, search: _Search, items: list[WorkItem], progress: Progress, executor: Executor | None) -> int:
    own = ThreadPoolExecutor(study.config.study.workers) if executor is None else None
    pairs = sum(item.pairs for item in items)
    try:
        with progress(f"Neighbours {search.metric}", total=pairs) as advance:
            results = in_order(executor or own, search, items, window=2 * study.config.study.workers)  # type: ignore[arg-type]
            for item, result in zip(items, results, strict=True):
                study.blobs.put_new(_part_key(item), array_bytes(result))
                advance(item.pairs)
    finally:
        if own is not None:
            own.shutdown(cancel_futures=True)
    return len(items)


def _finish_group(study: Study, metric: str, group: _Group, items: Sequence[WorkItem]) -> None:
    queries = {image: place for place, image in enumerate(group.queries)}
    references = {image: place for place, image in enumerate(group.references)}
    parts = []
    for item in items:
        places, distances = read_array(study.blobs.get(_part_key(item)))
        found = Knn(places.astype(np.int64), distances)
        # Positions within a block count in the ascending order of its ids, in which it was searched.
        of_block = np.array([references[image] for image in sorted(item.references.ids)], np.int64)
        parts.append(Part(found, np.array([queries[image] for image in item.queries.ids], np.int64), of_block))
    merged = merge(parts, queries=len(group.queries), k=study.config.neighbors.k)
    lists = {image: merged.neighbors(place, group.references) for image, place in queries.items()}
    with study.database.write() as tables:
        tables.neighbors.put(metric, lists)
        tables.completions.put(_STAGE, f"{metric}/{group.name}", _group_key(items))
