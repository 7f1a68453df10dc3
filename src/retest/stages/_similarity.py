"""Which classes look most alike, for benchmarks that bring no list of their own: by the distance of their mean training images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retest.errors import ImageError
from retest.images import ImageParameters, compare_array
from retest.records import OriginalImage, Split
from retest.stages._common import Progress

LISTED = 21
"""Entries per class as in the published file: the class itself and the 20 most similar others."""
_IMAGES_PER_CLASS = 20
_SIDE = 32


def similar_classes(images: Iterable[OriginalImage], *, max_bytes: int, progress: Progress) -> dict[str, tuple[str, ...]]:
    """wnid -> wnids by increasing squared distance of the mean image, the class itself first, ties by wnid.

    A class's mean is taken over up to 20 of its training images (validation images where it has none), spread evenly over
    their sorted ids and shrunk to 32x32 pixels. Images that cannot be read are passed over; a class without a readable image
    is similar to none.
    """
    chosen = _spread(images)
    parameters = ImageParameters(compare_side=_SIDE, display_side=_SIDE + 1, max_bytes=max_bytes)
    means: dict[str, NDArray[np.float64]] = {}
    with progress("Compare classes", total=len(chosen)) as advance:
        for wnid, members in chosen.items():
            pixels = [found for image in members if (found := _read(image, parameters)) is not None]
            if pixels:
                means[wnid] = np.mean(pixels, axis=0, dtype=np.float64)
            advance(1)
    return {wnid: _ranked(wnid, means) if wnid in means else (wnid,) for wnid in chosen}


def _spread(images: Iterable[OriginalImage]) -> Mapping[str, Sequence[OriginalImage]]:
    by_class: dict[str, dict[Split, list[OriginalImage]]] = {}
    for image in images:
        if image.wnid is not None:
            by_class.setdefault(image.wnid, {}).setdefault(image.split, []).append(image)
    result = {}
    for wnid, splits in sorted(by_class.items()):
        members = sorted(splits.get(Split.TRAIN) or splits[Split.VAL], key=lambda image: image.id)
        result[wnid] = members[:: max(1, -(-len(members) // _IMAGES_PER_CLASS))]
    return result


def _read(image: OriginalImage, parameters: ImageParameters) -> NDArray[np.uint8] | None:
    try:
        return compare_array(Path(str(image.location)).read_bytes(), item=image.id, parameters=parameters)
    except (OSError, ImageError):  # the download stage records what cannot be read, with its reason
        return None


def _ranked(wnid: str, means: Mapping[str, NDArray[np.float64]]) -> tuple[str, ...]:
    distances = {other: float(np.square(mean - means[wnid]).sum()) for other, mean in means.items()}
    return tuple(sorted(means, key=lambda other: (other != wnid, distances[other], other))[:LISTED])
