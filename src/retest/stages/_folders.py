"""Two folders of images and the neighbours between them: what the commands without a study share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retest.errors import ImageError, InputError
from retest.files import files_below, refuse_left_out
from retest.images import IMAGE_SUFFIXES, ImageParameters, compare_array
from retest.neighbors import Knn, NeighborParameters
from retest.stages._common import Progress, in_order
from retest.stages._features import Featuriser
from retest.stages._search import Search, locked

_BATCH = 512


@dataclass(frozen=True, slots=True)
class FolderImages:
    """The images of a folder at the size of comparison: names (relative paths), uint8 (n, side, side, 3), and what was left out."""

    names: tuple[str, ...]
    pixels: NDArray[np.uint8]
    problems: tuple[tuple[str, str], ...]


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
        a = folder_features(featuriser, queries, progress)
        b = a if references is queries else folder_features(featuriser, references, progress)
        mirrored = folder_features(featuriser, queries, progress, mirrored=True) if parameters.mirrored else None
    times = 1 + parameters.mirrored
    with progress(f"Neighbours {metric}", total=times * len(queries) * len(references)) as advance:
        return Search(metric, parameters, threads=threads, device=device, progress=locked(advance)).nearest(a, b, mirrored=mirrored)


def folder_features(featuriser: Featuriser, pixels: NDArray[np.uint8], progress: Progress, *, mirrored: bool = False) -> NDArray[Any]:
    parts = []
    with progress(f"Features {featuriser.name[:24]}", total=len(pixels)) as advance:
        for start in range(0, len(pixels), _BATCH):
            batch = pixels[start : start + _BATCH]
            parts.append(featuriser.features(np.ascontiguousarray(batch[:, :, ::-1]) if mirrored else batch))
            advance(len(batch))
    return np.concatenate(parts)


@contextmanager
def folder_images(
    folder: Path, parameters: ImageParameters, threads: int, progress: Progress, scratch: Path | None = None
) -> Iterator[FolderImages]:
    """The images of a folder and its subfolders by name; the pixels lie in a temporary file that goes at the end.

    Raises:
        InputError: a folder in it cannot be listed, or there is no image that can be read.
    """
    paths = sorted(
        (path.relative_to(folder).as_posix(), path)
        for path in files_below(folder, skip=lambda _: False, left_out=refuse_left_out)
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
        except ImageError as error:
            return error.problem
        except OSError as error:
            return error.strerror or str(error)
