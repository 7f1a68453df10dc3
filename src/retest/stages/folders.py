"""Stage without a study: nearest neighbours between two folders of images, written as Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from retest.files import write_atomic
from retest.images import ImageParameters
from retest.neighbors import Knn, NeighborParameters
from retest.stages._common import Progress, silent
from retest.stages._features import Featuriser, PerceptualHashes
from retest.stages._folders import FolderImages, folder_images, search_folders
from retest.stages._metrics import choose_metrics


@dataclass(frozen=True, slots=True)
class FolderNeighbors:
    """Neighbours by name (paths relative to their folder), and the images that were left out with the reason.

    ``worst_prerank`` is the largest place that any neighbour had in the unproven pre-ranking, where that was asked for.
    """

    table: pa.Table
    queries: int
    references: int
    problems: tuple[tuple[str, str], ...]
    worst_prerank: int | None = None

    @property
    def rows(self) -> int:
        return int(self.table.num_rows)

    def write(self, path: Path) -> None:
        """Write columns query, rank (from 1), reference, distance (float64) as Parquet, atomically."""
        sink = pa.BufferOutputStream()
        pq.write_table(self.table, sink)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, sink.getvalue().to_pybytes())


def neighbors_between(
    queries: Path,
    references: Path,
    *,
    metric: str,
    parameters: NeighborParameters | None = None,
    featuriser: str | None = None,
    images: ImageParameters | None = None,
    threads: int = 1,
    device: str = "cpu",
    scratch: Path | None = None,
    progress: Progress = silent,
) -> FolderNeighbors:
    """The ``parameters.k`` nearest images of ``references`` for every image of ``queries``; ties by name of the reference.

    Images that cannot be decoded are left out and reported.

    Args:
        queries: folder of images, searched with its subfolders.
        references: another one, or the same.
        metric: l2, dssim, phash, fc7, or the label of ``featuriser``.
        parameters: k, window, threshold, pre-ranking, mirrored queries.
        featuriser: ``[LABEL=]WHAT[@WEIGHTS]``, for a metric that is none of the built-in ones.
        images: sizes and limits; images of the compare size are taken as they are.
        threads: threads to use; the result does not depend on it.
        device: ``cpu`` or ``cuda``.
        scratch: folder for the pixels, which are memory-mapped; by default the system's folder for temporary files.
        progress: shows what is done and to do.

    Raises:
        UsageError: the metric is unknown.
        InputError: a folder holds no image that can be read.
        MissingExtraError: the metric needs torch or onnxruntime, which is not installed.
    """
    sizes, asked = images or ImageParameters(), parameters or NeighborParameters()
    load = choose_metrics([metric], [featuriser] if featuriser else [], device=device, threads=threads).featurisers.get(metric)
    made: Featuriser | None = PerceptualHashes(threads) if metric == "phash" else load() if load else None
    with folder_images(queries, sizes, threads, progress, scratch) as wanted:
        same = references.resolve() == queries.resolve()
        with folder_images(references, sizes, threads, progress, scratch) if not same else _again(wanted) as known:
            found = search_folders(metric, wanted.pixels, known.pixels, asked, made, threads=threads, device=device, progress=progress)
            problems = wanted.problems if same else wanted.problems + known.problems
            worst = None if found.worst_prerank is None else int(found.worst_prerank.max(initial=0))
            table = _table(found, wanted.names, known.names)
            return FolderNeighbors(table, len(wanted.names), len(known.names), problems, worst)


@contextmanager
def _again(images: FolderImages) -> Iterator[FolderImages]:
    yield images


def _table(found: Knn, queries: tuple[str, ...], references: tuple[str, ...]) -> pa.Table:
    count, k = found.indices.shape
    known = (found.indices >= 0).ravel()
    query = pa.array(queries).take(pa.array(np.repeat(np.arange(count), k)[known]))
    reference = pa.array(references).take(pa.array(found.indices.ravel()[known]))
    rank = np.tile(np.arange(1, k + 1, dtype=np.int32), count)[known]
    return pa.table({"query": query, "rank": rank, "reference": reference, "distance": found.distances.ravel()[known]})
