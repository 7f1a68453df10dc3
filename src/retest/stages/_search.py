"""One piece of a neighbour search: what it is told, how a worker finds its images, and the metric that it computes.

A :class:`Task` is small (some hundred bytes): rows are named by ranges, images and features are read from memory-mapped files. A worker
that does not see these files gets a :class:`Supply` once, from the blob store, and fetches the rows of its tasks into a file of its own.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retest.errors import InputError
from retest.neighbors import (
    Knn,
    L2Codes,
    NeighborParameters,
    Part,
    encode_l2,
    merge,
    nearest_dssim,
    nearest_features,
    nearest_hashes,
    nearest_l2,
)
from retest.stages._features import Featuriser, upright_or_mirrored
from retest.stages._rows import Rows, RowSource, open_rows, read_source
from retest.store import BlobStore, open_blobs

Runs = tuple[tuple[int, int], ...]
"""Rows as ranges (first, last + 1), in their order."""

_CODES_KEPT = 2
_encoding = threading.Lock()
_featurising = threading.Lock()


@dataclass(frozen=True, slots=True)
class BlobAddress:
    """Where the study's blobs are, for another process."""

    location: str
    base: Path

    def open(self) -> BlobStore:
        """The store."""
        return open_blobs(self.location, base=self.base)


@dataclass(frozen=True, slots=True)
class Supply:
    """Rows, and the blob that tells a worker without the file where they come from."""

    rows: Rows
    source_key: str
    blobs: BlobAddress


@dataclass(frozen=True, slots=True)
class Task:
    """Search some queries in some references.

    Attributes:
        metric: l2, dssim, phash or any other name, which means features.
        parameters: k and what the metric needs.
        references: pixels or features, of references and queries alike.
        reference_runs: its rows that are searched.
        query_runs: its rows whose neighbours are wanted, in their order.
        mirrored: features of the queries' mirror images, if these are searched too; pixels are mirrored when they are needed.
        mirrored_runs: rows of ``mirrored``, one for each query.
        device: ``cpu`` or ``cuda``.
    """

    metric: str
    parameters: NeighborParameters
    references: Supply
    reference_runs: Runs
    query_runs: Runs
    mirrored: Supply | None = None
    mirrored_runs: Runs = ()
    device: str = "cpu"

    def __call__(self) -> NDArray[np.float64]:
        """Compute it on one thread; see :meth:`compute`."""
        return self.compute(threads=1)

    def compute(self, *, threads: int, progress: Callable[[int], None] | None = None) -> NDArray[np.float64]:
        """float64 (2, q, k): places within the task's references in ascending order of rows (-1: none), and distances."""
        queries, subset = to_rows(self.query_runs), np.sort(to_rows(self.reference_runs))
        rows = opened(self.references, np.union1d(queries, subset))
        search = Search(self.metric, self.parameters, threads=threads, device=self.device, progress=progress)
        search.codes_key = (self.references.rows, self.reference_runs)
        mirrored = None
        if self.mirrored is not None:
            places = to_rows(self.mirrored_runs)
            mirrored = opened(self.mirrored, places)[places]
        found = search.nearest(rows[queries], rows, subset=subset, mirrored=mirrored)
        places = np.where(found.indices >= 0, np.searchsorted(subset, found.indices), -1)
        return np.stack([places.astype(np.float64), found.distances])


def run_task(task: Task) -> NDArray[np.float64]:
    """What an executor is given."""
    return task()


@dataclass(frozen=True, slots=True)
class FeatureTask:
    """Featurise some images.

    Attributes:
        make: the featuriser, or what loads it; it travels with the task.
        name: what it must be called: another name means other weights or preprocessing.
        pixels: the images, of which ``runs`` are featurised.
        runs: rows, in their order.
        mirrored: whether their mirror images are meant.
    """

    make: Featuriser | Callable[[], Featuriser]
    name: str
    pixels: Supply
    runs: Runs
    mirrored: bool

    def __call__(self) -> NDArray[Any]:
        """Features (n, dimensions)."""
        rows = to_rows(self.runs)
        images = upright_or_mirrored(np.asarray(opened(self.pixels, rows)[rows]), self.mirrored)
        with _featurising:  # threads of a worker share one featuriser, and not every one is made for that
            featuriser = _loaded(self.make)
            if featuriser.name != self.name:
                raise InputError(
                    f"the featuriser is {featuriser.name!r} on a worker, {self.name!r} here",
                    item="featuriser",
                    remedy="Give the workers the same weights and versions",
                )
            return featuriser.features(images)


def _loaded(make: Any) -> Featuriser:
    found: Featuriser = make if hasattr(make, "features") else _loaded_once(make)
    return found


@lru_cache(maxsize=1)
def _loaded_once(make: Callable[[], Featuriser]) -> Featuriser:
    return make()


def run_feature_task(task: FeatureTask) -> NDArray[Any]:
    """What an executor is given."""
    return task()


@dataclass(slots=True)
class Search:
    """The k nearest references by a metric, with or without the queries' mirror images."""

    metric: str
    parameters: NeighborParameters
    threads: int = 1
    device: str = "cpu"
    progress: Callable[[int], None] | None = None
    codes_key: tuple[Rows, Runs] | None = field(default=None)

    def nearest(
        self,
        queries: NDArray[Any],
        references: NDArray[Any],
        *,
        subset: NDArray[np.int64] | None = None,
        mirrored: NDArray[Any] | None = None,
    ) -> Knn:
        """Neighbours of ``queries`` among ``references`` (those in ``subset``); ``mirrored`` holds features of the mirror images."""
        found = self._nearest(queries, references, subset)
        if not self.parameters.mirrored:
            return found
        if mirrored is None:
            mirrored = np.ascontiguousarray(queries[:, :, ::-1])
        other = self._nearest(mirrored, references, subset)
        everything, rows = np.arange(len(references)), np.arange(len(queries))
        return merge([Part(found, rows, everything), Part(other, rows, everything)], queries=len(queries), k=self.parameters.k)

    def _nearest(self, queries: NDArray[Any], references: NDArray[Any], subset: NDArray[np.int64] | None) -> Knn:
        p, k, threads, progress = self.parameters, self.parameters.k, self.threads, self.progress
        if self.metric == "phash":
            found = nearest_hashes(np.ravel(queries), np.ravel(references), k=k, subset=subset, threads=threads)
            if progress is not None:
                progress(len(queries) * (len(references) if subset is None else subset.size))
            return found
        if self.device != "cpu":
            from retest.stages import _torch_search  # imports torch

            return _torch_search.nearest(
                self.metric, queries, references, parameters=p, subset=subset, device=self.device, threads=threads, progress=progress
            )
        if self.metric == "l2":
            codes = None if self.codes_key is None else _codes(*self.codes_key, threads)
            return nearest_l2(queries, references, k=k, subset=None if codes else subset, codes=codes, threads=threads, progress=progress)
        if self.metric == "dssim":
            options: dict[str, Any] = {"window": p.ssim_window, "threshold": p.dssim_threshold, "prerank": p.dssim_prerank}
            return nearest_dssim(queries, references, k=k, subset=subset, threads=threads, progress=progress, **options)
        return nearest_features(queries, references, k=k, subset=subset, threads=threads, progress=progress)


def locked(advance: Callable[[int], None]) -> Callable[[int], None]:
    """``advance`` for several threads at once."""
    lock = threading.Lock()

    def count(pairs: int) -> None:
        with lock:
            advance(pairs)

    return count


def _codes(rows: Rows, runs: Runs, threads: int) -> L2Codes:
    with _encoding:  # several threads of a worker want the same ones
        return _encoded(rows, runs, threads)


@lru_cache(maxsize=_CODES_KEPT)
def _encoded(rows: Rows, runs: Runs, threads: int) -> L2Codes:
    subset = np.sort(to_rows(runs))
    return encode_l2(_opened_rows(rows), subset=subset, threads=threads)


def forget_codes() -> None:
    """Free what the last search kept."""
    _encoded.cache_clear()


def to_runs(rows: NDArray[np.int64]) -> Runs:
    """Rows as ranges, in their order."""
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    return tuple((int(part[0]), int(part[-1]) + 1) for part in np.split(rows, breaks) if part.size)


def to_rows(runs: Runs) -> NDArray[np.int64]:
    """The rows of ranges."""
    return np.concatenate([np.arange(first, last, dtype=np.int64) for first, last in runs]) if runs else np.empty(0, np.int64)


# ------------------------------------------------------------------------------------------- workers without the study folder


def opened(supply: Supply, needed: NDArray[np.int64]) -> NDArray[Any]:
    """The rows of a supply, of which at least the needed ones are there."""
    if not supply.rows.is_here():
        _complete(supply, needed)
    return _opened_rows(supply.rows)


def _opened_rows(rows: Rows) -> NDArray[Any]:
    return rows.open() if rows.is_here() else open_rows(_own_file(rows), rows.shape, rows.dtype)


def _own_file(rows: Rows) -> Path:
    folder = Path(tempfile.gettempdir()) / f"retest-rows-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / f"{rows.key}.rows"


def _complete(supply: Supply, needed: NDArray[np.int64]) -> None:
    """Fetch what is missing into a sparse file; a row's flag is set after its bytes, so several processes may do it at once."""
    rows, path = supply.rows, _own_file(supply.rows)
    flags_path = path.with_suffix(".flags")
    for file, size in ((path, rows.shape[0] * rows.row_bytes), (flags_path, rows.shape[0])):
        with file.open("ab") as handle:
            if handle.tell() < size:
                handle.truncate(size)
    flags = np.memmap(flags_path, np.uint8, "r+", shape=(rows.shape[0],))
    missing = needed[flags[needed] == 0]
    if not missing.size:
        return
    blobs = supply.blobs.open()
    source, values = _source(supply), np.memmap(path, rows.dtype, "r+", shape=rows.shape)
    for start in range(0, missing.size, 256):
        part = missing[start : start + 256]
        values[part] = source.fetch(blobs, part)
        flags[part] = 1


@lru_cache(maxsize=4)
def _source(supply: Supply) -> RowSource:
    return read_source(supply.blobs.open().get(supply.source_key))
