"""Stage: leave out candidates that are closer to an original image than a distance, without a reviewer (method, section 8).

CIFAR-10.1 dropped every candidate whose nearest CIFAR-10 image lay within an l2 distance of 1000 of its 32x32 pixels. ImageNetV2
asked reviewers instead; this stage is for studies of small images where a distance decides. Every exclusion says which original
image it was and how far away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from retest.errors import StageError, UsageError
from retest.records import Exclusion, Neighbor
from retest.stages._common import Stamp, compare_variant
from retest.store.rows import chunks
from retest.study import Study

REASON = "near_original"
_LISTS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class NearOriginals:
    """Candidates looked at, those within the distance, and those newly excluded now."""

    candidates: int
    within: int
    added: int


def exclude_near_originals(study: Study, *, metric: str, distance: float, stamp: Stamp, store: bool = True) -> NearOriginals:
    """Exclude every candidate with an original image at ``distance`` or nearer.

    Args:
        study: a study whose neighbours are known.
        metric: the metric of the stored neighbours.
        distance: as the neighbour search reports it: squared for l2 and for features.
        stamp: who excludes, and when.
        store: False only counts.

    Raises:
        UsageError: the distance is negative or no number.
        StageError: there are no neighbours in this metric, or a candidate's list ends before the distance without an original
            image, so that its nearest original is unknown.
    """
    if not distance >= 0:
        raise UsageError(f"must be a number of at least 0, not {distance!r}", item="distance", remedy="CIFAR-10.1: 1e6, the square of 1000")
    found: list[tuple[str, Neighbor]] = []
    with study.database.read() as tables:
        number, longest = tables.neighbors.longest(metric)
        if not number:
            raise StageError("there are no neighbours in this metric", item=metric, remedy=f"Run: retest neighbors --metric {metric}")
        stored = tables.variants.counts().get(compare_variant(study.config.images), 0)
        # A list that is shorter than the longest one, or holds every image, ends because there is nothing more.
        most = longest if longest < stored else stored + 1
        for block in chunks(tables.neighbors.all(metric), _LISTS_AT_ONCE):
            within = {n.reference for _, neighbors in block for n in takewhile(lambda n: n.distance <= distance, neighbors)}
            originals = tables.originals.among(within)
            for image, neighbors in block:
                if (near := _nearest(image, neighbors, originals, distance, most)) is not None:
                    found.append((image, near))
    added = 0
    if store:
        with study.database.write() as tables:
            added = tables.exclusions.add(
                Exclusion(image, REASON, f"{metric} distance {near.distance:g} to {near.reference}", stamp.user, stamp.time)
                for image, near in found
            )
    return NearOriginals(number, len(found), added)


def _nearest(image: str, neighbors: Sequence[Neighbor], originals: set[str], distance: float, most: int) -> Neighbor | None:
    """The nearest original image if it lies within the distance; ``neighbors`` are ascending, at most ``most`` unless complete."""
    for neighbor in neighbors:
        if neighbor.distance > distance:
            return None
        if neighbor.reference in originals:
            return neighbor
    if len(neighbors) == most:
        raise StageError(
            f"its {most} nearest neighbours, up to distance {neighbors[-1].distance:g}, hold no original image",
            item=image,
            remedy="Raise k in [neighbors] of study.toml, search again, and repeat",
        )
    return None
