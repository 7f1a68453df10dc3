"""Stage without a study: nearest neighbours between two folders of images, written as Parquet."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from retest.errors import ImageError, InputError
from retest.images import ImageParameters, compare_array
from retest.neighbors import Knn, NeighborParameters
from retest.sources.folder import IMAGE_SUFFIXES
from retest.stages._common import Progress, in_order, silent
from retest.stages._metrics import choose_metrics
from retest.stages._pixels import Featuriser, PerceptualHashes
from retest.stages._search import Search, locked
from retest.study import write_atomic

_BATCH = 512


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


@dataclass(frozen=True, slots=True)
class FolderImages:
    """The images of a folder at the size of comparison: names (relative paths), uint8 (n, side, side, 3), and what was left out."""

    names: tuple[str, ...]
    pixels: NDArray[np.uint8]
    problems: tuple[tuple[str, str], ...]


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


def search_folders(
    metric: str,
    queries: NDArray[np.uint8],
    references: NDArray[np.uint8],
    parameters: NeighborParameters,
    featuriser: Featuriser | None,
    *,
    threads: int,
    device: str,
    progress: Progress,
) -> Knn:
    """The search itself, on pixels."""
    a: NDArray[Any] = queries
    b: NDArray[Any] = references
    mirrored: NDArray[Any] | None = None
    if featuriser is not None:
        a = _features(featuriser, queries, progress)
        b = a if references is queries else _features(featuriser, references, progress)
        mirrored = _features(featuriser, queries, progress, mirrored=True) if parameters.mirrored else None
    times = 1 + parameters.mirrored
    with progress(f"Neighbours {metric}", total=times * len(queries) * len(references)) as advance:
        return Search(metric, parameters, threads=threads, device=device, progress=locked(advance)).nearest(a, b, mirrored=mirrored)


def _features(featuriser: Featuriser, pixels: NDArray[np.uint8], progress: Progress, *, mirrored: bool = False) -> NDArray[Any]:
    parts = []
    with progress(f"Features {featuriser.name[:24]}", total=len(pixels)) as advance:
        for start in range(0, len(pixels), _BATCH):
            batch = pixels[start : start + _BATCH]
            parts.append(featuriser.features(np.ascontiguousarray(batch[:, :, ::-1]) if mirrored else batch))
            advance(len(batch))
    return np.concatenate(parts)


def _table(found: Knn, queries: tuple[str, ...], references: tuple[str, ...]) -> pa.Table:
    count, k = found.indices.shape
    known = (found.indices >= 0).ravel()
    query = pa.array(queries).take(pa.array(np.repeat(np.arange(count), k)[known]))
    reference = pa.array(references).take(pa.array(found.indices.ravel()[known]))
    rank = np.tile(np.arange(1, k + 1, dtype=np.int32), count)[known]
    return pa.table({"query": query, "rank": rank, "reference": reference, "distance": found.distances.ravel()[known]})


@contextmanager
def folder_images(
    folder: Path, parameters: ImageParameters, threads: int, progress: Progress, scratch: Path | None = None
) -> Iterator[FolderImages]:
    """The images of a folder and its subfolders by name; the pixels lie in a temporary file that goes at the end.

    Raises:
        InputError: there is no image that can be read.
    """
    paths = sorted(
        (path.relative_to(folder).as_posix(), path)
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
    )
    names: list[str] = []
    problems: list[tuple[str, str]] = []
    if scratch is not None:
        scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=scratch, prefix=".retest-") as file:
        with ThreadPoolExecutor(threads) as pool, progress(f"Read {folder.name}", total=len(paths)) as advance:
            for (name, _), found in zip(paths, in_order(pool, _Reader(parameters), paths, window=8 * threads), strict=True):
                if isinstance(found, str):
                    problems.append((name, found))
                else:
                    file.write(found.tobytes())
                    names.append(name)
                advance(1)
        if not names:
            raise InputError("there is no image that can be read", item=str(folder), remedy="Give a folder of JPEG or PNG files")
        file.flush()
        side = parameters.compare_side
        pixels = np.memmap(file, np.uint8, "r", shape=(len(names), side, side, 3))
        yield FolderImages(tuple(names), pixels, tuple(problems))


@dataclass(frozen=True, slots=True)
class _Reader:
    parameters: ImageParameters

    def __call__(self, item: tuple[str, Path]) -> Any:
        name, path = item
        try:
            return compare_array(path.read_bytes(), item=name, parameters=self.parameters)
        except (ImageError, OSError) as error:
            return str(error)
