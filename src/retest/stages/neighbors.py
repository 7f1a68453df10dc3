"""Stage: the nearest neighbours of every candidate in every metric (method, section 6).

The work is cut into (query block x reference block) items. Each item's result lies in the blob store under a key made of the
contents of its images, the parameters and the version of the search: a run killed anywhere goes on with the items that are
missing, and added images cost only the new pairs. Merged lists go to the database with the completion key of their group.

Without an executor the items are computed one after another, each on all of the study's workers as threads. An executor gets items
of one thread each; it may be on other machines, as long as they reach the study's blob store.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retest.errors import StageError, UsageError
from retest.neighbors import PIXEL_METRICS, Knn, NeighborParameters, Part, WorkItem, merge
from retest.stages._common import Progress, compare_variant, in_order, silent
from retest.stages._features import ComputeFeatures, FeatureMatrix, Featuriser, PerceptualHashes, feature_matrix
from retest.stages._neighbor_plan import Group, find_groups, group_key, part_key, plan_group
from retest.stages._pixels import PixelMatrix, pixel_matrix
from retest.stages._rows import Rows, RowSource, array_bytes, read_array
from retest.stages._search import BlobAddress, FeatureTask, Supply, Task, forget_codes, locked, run_feature_task, run_task, to_runs
from retest.study import Study, executor_slots

_STAGE = "neighbors"


@dataclass(frozen=True, slots=True)
class NeighborCounts:
    """What one run did for one metric: candidates searched, work items in all and those computed now, pairs compared now."""

    metric: str
    candidates: int
    references: int
    items: int
    computed: int
    pairs: int = 0


@dataclass(frozen=True, slots=True)
class _Run:
    """One metric of one run."""

    study: Study
    metric: str
    parameters: NeighborParameters
    featuriser: Featuriser | None
    make_featuriser: Featuriser | Callable[[], Featuriser] | None
    executor: Executor | None
    device: str
    progress: Progress


def find_neighbors(
    study: Study,
    *,
    metrics: Sequence[str] | None = None,
    featurisers: Mapping[str, Featuriser | Callable[[], Featuriser]] | None = None,
    progress: Progress = silent,
    executor: Executor | None = None,
    device: str = "cpu",
) -> list[NeighborCounts]:
    """Search ``metrics``, by default those of ``[neighbors]``.

    Args:
        study: an open study.
        metrics: l2, dssim, phash, or names in ``featurisers``.
        featurisers: a featuriser, or a function that loads it when it is needed, for every other name.
        progress: shows pairs done and to do.
        executor: computes features, and items, one thread each; without one this process does, on the study's workers as threads. The
            result does not depend on it.
        device: ``cuda`` computes l2, dssim and features on a GPU, with the same result.

    Raises:
        UsageError: a metric has no featuriser.
        StageError: no image is stored yet.
    """
    chosen = metrics or study.config.neighbors.metrics
    known = featurisers or {}
    for metric in chosen:
        if metric not in PIXEL_METRICS and metric not in known:
            remedy = "Use l2, dssim, phash, fc7, or name it with --featuriser"
            raise UsageError("there is no featuriser of this name", item=metric, remedy=remedy)
    with study.database.read() as tables:
        variants = list(tables.variants.all(compare_variant(study.config.images)))
    if not variants:
        raise StageError("no image is stored yet", item="images", remedy="Run: retest download --study STUDY")
    contents = {variant.image_id: variant.sha256 for variant in variants}
    matrix = pixel_matrix(study, variants, progress=progress)
    return [
        _search_metric(
            _Run(study, metric, study.config.neighbors, _featuriser(study, metric, known), known.get(metric), executor, device, progress),
            matrix,
            contents,
        )
        for metric in chosen
    ]


def review_notes(study: Study) -> list[str]:
    """What to tell when the metrics that are reviewed are not those that are searched, in words."""
    with study.database.read() as tables:
        stored = set(tables.neighbors.metrics())
    targets = set(study.config.review.targets)
    notes = []
    if missing := sorted(targets - stored):
        notes.append(
            f"[review] targets names {', '.join(missing)}, for which no neighbours are stored: until they are, no candidate counts as "
            f"reviewed. Run: retest neighbors --metric {missing[0]}, or take it out of the targets."
        )
    if unseen := sorted(stored - targets):
        notes.append(f"Neighbours in {', '.join(unseen)} are shown to reviewers once [review] targets says up to which distance.")
    return notes


def _featuriser(study: Study, metric: str, known: Mapping[str, Featuriser | Callable[[], Featuriser]]) -> Featuriser | None:
    if metric == "phash":
        return PerceptualHashes(study.config.study.workers)
    if metric in PIXEL_METRICS:
        return None
    found: Any = known[metric]
    made: Featuriser = found if hasattr(found, "features") else found()
    return made


def _search_metric(run: _Run, matrix: PixelMatrix, contents: dict[str, str]) -> NeighborCounts:
    study, metric = run.study, run.metric
    groups = list(find_groups(study, metric, set(matrix.ids)))
    version = None if run.featuriser is None else run.featuriser.name
    plans = {group.name: plan_group(study, metric, group, contents, featuriser=version) for group in groups}
    with study.database.read() as tables:
        done = tables.completions.keys(_STAGE)
    waiting = [g for g in groups if done.get(f"{metric}/{g.name}") != group_key(plans[g.name])]
    items = [item for group in waiting for item in plans[group.name] if not study.blobs.exists(part_key(item))]
    if items:
        _compute(run, items, _make_tasks(run, matrix, contents, groups, items))
    for group in waiting:
        _finish_group(study, metric, group, plans[group.name])
    references = max((len(group.references) for group in groups), default=0)
    candidates, planned = sum(len(g.queries) for g in groups), sum(map(len, plans.values()))
    return NeighborCounts(metric, candidates, references, planned, len(items), sum(item.pairs for item in items))


# ------------------------------------------------------------------------------------------------------------- the work


def _make_tasks(
    run: _Run, matrix: PixelMatrix, contents: dict[str, str], groups: Sequence[Group], items: list[WorkItem]
) -> Callable[[WorkItem], Task]:
    """What turns an item into a task; reorders the items so that those of one block of references follow each other."""
    first = {item.references.digest: place for place, item in reversed(list(enumerate(items)))}
    items.sort(key=lambda item: first[item.references.digest])
    found = _inputs(run, matrix, contents, groups)
    supplies = [_supply(run, rows, source) for rows, source, _ in found]
    places = [{image: row for row, image in enumerate(ids)} for _, _, ids in found]

    def make(item: WorkItem) -> Task:
        runs = [to_runs(np.array([places[0][image] for image in block.ids], np.int64)) for block in (item.references, item.queries)]
        mirrored: dict[str, Any] = {}
        if len(supplies) > 1:
            mirrored_rows = np.array([places[1][image] for image in item.queries.ids], np.int64)
            mirrored = {"mirrored": supplies[1], "mirrored_runs": to_runs(mirrored_rows)}
        return Task(run.metric, run.parameters, supplies[0], runs[0], runs[1], device=run.device, **mirrored)

    return make


def _inputs(
    run: _Run, matrix: PixelMatrix, contents: dict[str, str], groups: Sequence[Group]
) -> list[tuple[Rows, RowSource, tuple[str, ...]]]:
    """The rows that are searched and, for features with mirrored queries, those of the mirror images."""
    if run.featuriser is None:
        return [(matrix.rows, matrix.source, matrix.ids)]
    made: list[FeatureMatrix] = []
    for mirrored in (False, True)[: 1 + run.parameters.mirrored]:
        ids = [image for group in groups for image in group.queries] if mirrored else None
        made.append(
            feature_matrix(
                run.study,
                matrix,
                contents,
                run.featuriser,
                label=run.metric,
                ids=ids,
                mirrored=mirrored,
                progress=run.progress,
                elsewhere=_features_elsewhere(run, matrix),
            )
        )
    return [(features.rows, features.source, features.ids) for features in made]


def _features_elsewhere(run: _Run, matrix: PixelMatrix) -> ComputeFeatures | None:
    """Features by the executor, where there is one and they are dear; None for this process."""
    executor, make, featuriser = run.executor, run.make_featuriser, run.featuriser
    if executor is None or make is None or featuriser is None:
        return None

    def compute(parts: Sequence[NDArray[np.int64]], mirrored: bool) -> Iterator[NDArray[Any]]:
        pixels = _supply(run, matrix.rows, matrix.source)
        tasks = (FeatureTask(make, featuriser.name, pixels, to_runs(rows), mirrored) for rows in parts)
        window = 2 * executor_slots(executor, otherwise=run.study.config.study.workers)
        return in_order(executor, run_feature_task, tasks, window=window)

    return compute


def _supply(run: _Run, rows: Rows, source: RowSource) -> Supply:
    study, key = run.study, f"partial/sources/{rows.key}.z"
    if run.executor is not None and not study.blobs.exists(key):
        study.blobs.put_new(key, source.to_bytes())
    return Supply(rows, key, BlobAddress(study.config.study.blobs, study.folder))


def _compute(run: _Run, items: Sequence[WorkItem], make: Callable[[WorkItem], Task]) -> None:
    """Compute the items and store each result as soon as it is there."""
    blobs, workers = run.study.blobs, run.study.config.study.workers
    times = 2 if run.parameters.mirrored else 1
    with run.progress(f"Neighbours {run.metric}", total=times * sum(item.pairs for item in items)) as advance:
        if run.executor is None:
            count = locked(advance)
            for item in items:
                blobs.put_new(part_key(item), array_bytes(make(item).compute(threads=workers, progress=count)))
            forget_codes()
            return
        window = 2 * executor_slots(run.executor, otherwise=workers)
        results = in_order(run.executor, run_task, map(make, items), window=window)
        for item, result in zip(items, results, strict=True):
            blobs.put_new(part_key(item), array_bytes(result))
            advance(times * item.pairs)


def _finish_group(study: Study, metric: str, group: Group, items: Sequence[WorkItem]) -> None:
    """Merge the results, one block of queries after the other, and store the lists."""
    references = {image: place for place, image in enumerate(group.references)}
    by_queries: dict[str, list[WorkItem]] = defaultdict(list)
    of_block: dict[str, Any] = {}
    for item in items:
        by_queries[item.queries.digest].append(item)
        if item.references.digest not in of_block:
            # Positions within a block count in the ascending order of its ids, in which it was searched.
            of_block[item.references.digest] = np.array([references[image] for image in sorted(item.references.ids)], np.int64)
    with study.database.write() as tables:
        for members in by_queries.values():
            queries = members[0].queries.ids
            parts = []
            for item in members:
                places, distances = read_array(study.blobs.get(part_key(item)))
                found = Knn(places.astype(np.int64), distances)
                parts.append(Part(found, np.arange(len(queries)), of_block[item.references.digest]))
            merged = merge(parts, queries=len(queries), k=study.config.neighbors.k)
            tables.neighbors.put(metric, {image: merged.neighbors(row, group.references) for row, image in enumerate(queries)})
        tables.completions.put(_STAGE, f"{metric}/{group.name}", group_key(items))
