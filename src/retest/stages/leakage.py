"""Stage without a study: images of a test set that are, perhaps altered, in the training set as well.

For every test image the nearest training images by each metric (also of its mirror image) are found exactly. A pair is reported
when a distance is within that metric's threshold: the published review targets by default, which were chosen so that a person
who looks at everything within them misses few near-duplicates. The page shows the pairs to that person.
"""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from retest.duplicates import PUBLISHED_TARGETS
from retest.errors import ImageError, UsageError
from retest.images import ImageParameters, decode_image
from retest.neighbors import NeighborParameters, pair_distance
from retest.stages._common import Progress, silent
from retest.stages._features import Featuriser, PerceptualHashes
from retest.stages._folders import FolderImages, folder_features, folder_images, search_folders
from retest.stages._metrics import choose_metrics

DEFAULT_THRESHOLDS: dict[str, float] = {**PUBLISHED_TARGETS, "phash": 10.0, "sscd": 0.5}
"""Distances within which a pair is reported. l2, dssim and fc7: the review targets of the ImageNetV2 study; phash: bits that differ;
sscd: a cosine of 0.75, with which 90 % of the pairs of its authors' benchmark were copies."""

DEFAULT_METRICS = ("l2", "phash")
_PUBLISHED_SIDE = 256
_THUMBNAIL = 200
_QUALITY = 80


@dataclass(frozen=True, slots=True)
class LeakagePair:
    """A test image and a training image that may show the same. Names are paths relative to their folders.

    ``distances`` holds every metric that was asked for, the smaller of plain and mirrored; ``mirrored`` tells that the mirror image
    is nearer in the first of them; ``identical`` that all compared pixels are equal; ``found_by`` which metrics report the pair.
    """

    test: str
    train: str
    distances: Mapping[str, float]
    found_by: tuple[str, ...]
    identical: bool
    mirrored: bool
    same_class: bool | None


@dataclass(frozen=True, slots=True)
class LeakageReport:
    """What was found. ``leaked`` counts test images in at least one pair; ``pairs`` come most suspicious first."""

    train_images: int
    test_images: int
    leaked: int
    identical: int
    other_class: int
    thresholds: Mapping[str, float]
    pairs: tuple[LeakagePair, ...]
    problems: tuple[tuple[str, str], ...] = field(default=())


def find_leakage(
    train: Path,
    test: Path,
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    featurisers: Sequence[str] = (),
    thresholds: Mapping[str, float] | None = None,
    neighbors: int = 5,
    mirrored: bool = True,
    images: ImageParameters | None = None,
    threads: int = 1,
    device: str = "cpu",
    scratch: Path | None = None,
    progress: Progress = silent,
) -> LeakageReport:
    """Compare every test image with every training image.

    Args:
        train: folder of training images, searched with its subfolders. The folder right below names the class.
        test: folder of test images.
        metrics: l2, dssim, phash, fc7, or labels of ``featurisers``.
        featurisers: ``[LABEL=]WHAT[@WEIGHTS]``.
        thresholds: distance per metric, in place of or beside :data:`DEFAULT_THRESHOLDS`.
        neighbors: training images per test image and metric that can be reported.
        mirrored: also compare the mirror images of the test images.
        images: sizes and limits. The threshold of l2, unless given, is scaled with the number of pixels.
        threads: threads to use.
        device: ``cpu`` or ``cuda``.
        scratch: folder for memory-mapped pixels.
        progress: shows what is done and to do.

    Raises:
        UsageError: a metric is unknown or has no threshold, or both folders are the same.
        InputError: a folder holds no image that can be read.
    """
    if train.resolve() == test.resolve():
        raise UsageError("training and test images are the same folder", item=str(test), remedy="Give two folders")
    sizes = images or ImageParameters()
    chosen = choose_metrics(metrics, featurisers, device=device, threads=threads)
    limits = _thresholds(chosen.names, thresholds or {}, sizes)
    window = min(35, (sizes.compare_side - 1) // 2 * 2 + 1)
    parameters = NeighborParameters(k=neighbors, mirrored=mirrored, ssim_window=window)
    made: dict[str, Featuriser | None] = {name: load() for name, load in chosen.featurisers.items()}
    if "phash" in chosen.names:
        made["phash"] = PerceptualHashes(threads)
    with folder_images(test, sizes, threads, progress, scratch) as a, folder_images(train, sizes, threads, progress, scratch) as b:
        found: dict[tuple[int, int], list[str]] = {}
        for metric, limit in limits.items():
            near = dataclasses.replace(parameters, dssim_threshold=min(limit, 1.0)) if metric == "dssim" else parameters
            knn = search_folders(metric, a.pixels, b.pixels, near, made.get(metric), threads=threads, device=device, progress=progress)
            for row, rank in zip(*np.nonzero((knn.indices >= 0) & (knn.distances <= limit)), strict=True):
                found.setdefault((int(row), int(knn.indices[row, rank])), []).append(metric)
        pairs = [_pair(a, b, place, tuple(by), chosen.names, made, parameters) for place, by in sorted(found.items())]
    return _report(a, b, pairs, limits)


def _report(a: FolderImages, b: FolderImages, pairs: list[LeakagePair], limits: Mapping[str, float]) -> LeakageReport:
    def suspicion(pair: LeakagePair) -> tuple[bool, float, str, str]:
        share = min(pair.distances[metric] / max(limits[metric], 1e-300) for metric in pair.found_by)
        return not pair.identical, share, pair.test, pair.train

    return LeakageReport(
        train_images=len(b.names),
        test_images=len(a.names),
        leaked=len({pair.test for pair in pairs}),
        identical=len({pair.test for pair in pairs if pair.identical}),
        other_class=len({pair.test for pair in pairs if pair.same_class is False}),
        thresholds=limits,
        pairs=tuple(sorted(pairs, key=suspicion)),
        problems=a.problems + b.problems,
    )


def _thresholds(names: Sequence[str], given: Mapping[str, float], sizes: ImageParameters) -> dict[str, float]:
    strange = sorted(set(given) - set(names))
    if strange:
        raise UsageError("a threshold is given for a metric that is not compared", item=strange[0], remedy=f"Metrics: {', '.join(names)}")
    limits = {**DEFAULT_THRESHOLDS, "l2": DEFAULT_THRESHOLDS["l2"] * (sizes.compare_side / _PUBLISHED_SIDE) ** 2, **given}
    for name in names:
        if name not in limits:
            raise UsageError("this metric has no threshold", item=name, remedy=f"Give one: --threshold {name}=DISTANCE")
        if not limits[name] >= 0:
            raise UsageError(f"{limits[name]} is no distance", item=name, remedy="Give a number of at least 0")
    return {name: float(limits[name]) for name in names}


def _pair(
    a: FolderImages,
    b: FolderImages,
    place: tuple[int, int],
    found_by: tuple[str, ...],
    metrics: Sequence[str],
    featurisers: Mapping[str, Featuriser | None],
    parameters: NeighborParameters,
) -> LeakagePair:
    query, reference = np.array(a.pixels[place[0]]), np.array(b.pixels[place[1]])
    variants = [query, np.ascontiguousarray(query[:, ::-1])][: 1 + parameters.mirrored]
    values = {
        metric: [_distance(metric, image, reference, featurisers.get(metric), parameters) for image in variants] for metric in metrics
    }
    classes = [Path(name).parts[0] if len(Path(name).parts) > 1 else None for name in (a.names[place[0]], b.names[place[1]])]
    first = values[found_by[0]]
    return LeakagePair(
        test=a.names[place[0]],
        train=b.names[place[1]],
        distances={metric: min(both) for metric, both in values.items()},
        found_by=found_by,
        identical=bool((query == reference).all()),
        mirrored=len(first) > 1 and first[1] < first[0],
        same_class=None if None in classes else classes[0] == classes[1],
    )


def _distance(
    metric: str, a: NDArray[np.uint8], b: NDArray[np.uint8], featuriser: Featuriser | None, parameters: NeighborParameters
) -> float:
    if featuriser is None or metric == "phash":
        return pair_distance(metric, a, b, window=parameters.ssim_window)
    table = folder_features(featuriser, np.stack([a, b]), silent)
    return pair_distance(metric, table[0], table[1])


def leakage_page(report: LeakageReport, *, train: Path, test: Path, most: int = 500, progress: Progress = silent) -> str:
    """One self-contained HTML page with up to ``most`` pairs, thumbnails embedded."""
    shown = report.pairs[:most]
    environment = Environment(loader=PackageLoader("retest.stages"), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    rows = []
    with progress("Thumbnails", total=len(shown)) as advance:
        for pair in shown:
            rows.append((pair, _thumbnail(test / pair.test), _thumbnail(train / pair.train)))
            advance(1)
    return environment.get_template("leakage.html.j2").render(report=report, rows=rows, train=str(train), test=str(test))


def _thumbnail(path: Path) -> str:
    """A data URI, or nothing where the file is no longer an image."""
    try:
        image = decode_image(path.read_bytes(), item=path.name).image.copy()
    except (OSError, ImageError):
        return ""
    image.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
