"""Stage without a study: nearest neighbours between two folders of images, written as Parquet."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from retest.errors import ImageError, InputError, UsageError
from retest.images import ImageParameters, compare_array
from retest.neighbors import Knn, nearest_dssim, nearest_l2
from retest.sources.folder import IMAGE_SUFFIXES
from retest.stages._common import Progress, in_order, silent
from retest.study import write_atomic


@dataclass(frozen=True, slots=True)
class FolderNeighbors:
    """Neighbours by name (paths relative to their folder), and the images that were left out with the reason."""

    table: pa.Table
    queries: int
    references: int
    problems: tuple[tuple[str, str], ...]

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
    k: int,
    window: int = 35,
    images: ImageParameters | None = None,
    threads: int = 1,
    progress: Progress = silent,
) -> FolderNeighbors:
    """The ``k`` nearest images of ``references`` for every image of ``queries``; ties by name of the reference.

    Images that cannot be decoded are left out and reported.

    Raises:
        UsageError: the metric is unknown.
        InputError: a folder holds no image that can be read.
    """
    parameters = images or ImageParameters()
    if metric not in {"l2", "dssim"}:
        raise UsageError("unknown metric", item=metric, remedy="Use l2 or dssim")
    query_names, query_pixels, problems = _read(queries, parameters, threads, progress)
    same = references.resolve() == queries.resolve()
    names, pixels, more = (query_names, query_pixels, []) if same else _read(references, parameters, threads, progress)
    with progress(f"Neighbours {metric}", total=len(query_names)) as advance:
        found = _search(metric, query_pixels, pixels, k=min(k, len(names)), window=window, threads=threads)
        advance(len(query_names))
    return FolderNeighbors(_table(found, query_names, names), len(query_names), len(names), tuple(problems + more))


def _search(metric: str, queries: NDArray[np.uint8], references: NDArray[np.uint8], *, k: int, window: int, threads: int) -> Knn:
    if metric == "l2":
        return nearest_l2(queries, references, k=k, threads=threads)
    return nearest_dssim(queries, references, k=k, window=window, threads=threads)


def _table(found: Knn, queries: list[str], references: list[str]) -> pa.Table:
    count, k = found.indices.shape
    known = (found.indices >= 0).ravel()
    query = pa.array(queries).take(pa.array(np.repeat(np.arange(count), k)[known]))
    reference = pa.array(references).take(pa.array(found.indices.ravel()[known]))
    rank = np.tile(np.arange(1, k + 1, dtype=np.int32), count)[known]
    return pa.table({"query": query, "rank": rank, "reference": reference, "distance": found.distances.ravel()[known]})


def _read(
    folder: Path, parameters: ImageParameters, threads: int, progress: Progress
) -> tuple[list[str], NDArray[np.uint8], list[tuple[str, str]]]:
    paths = sorted(
        (path.relative_to(folder).as_posix(), path)
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
    )
    side = parameters.compare_side
    pixels = np.empty((len(paths), side, side, 3), np.uint8)
    names: list[str] = []
    problems: list[tuple[str, str]] = []
    with ThreadPoolExecutor(threads) as pool, progress(f"Read {folder.name}", total=len(paths)) as advance:
        for (name, _), found in zip(paths, in_order(pool, _Reader(parameters), paths, window=8 * threads), strict=True):
            if isinstance(found, str):
                problems.append((name, found))
            else:
                pixels[len(names)] = found
                names.append(name)
            advance(1)
    if not names:
        raise InputError("there is no image that can be read", item=str(folder), remedy="Give a folder of JPEG or PNG files")
    return names, pixels[: len(names)], problems


@dataclass(frozen=True, slots=True)
class _Reader:
    parameters: ImageParameters

    def __call__(self, item: tuple[str, Path]) -> Any:
        name, path = item
        try:
            return compare_array(path.read_bytes(), item=name, parameters=self.parameters)
        except (ImageError, OSError) as error:
            return str(error)
