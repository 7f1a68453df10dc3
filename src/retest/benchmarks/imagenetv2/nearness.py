"""Readers of near-duplicate data: neighbours, reviews, pairs, overrides."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from retest.benchmarks.imagenetv2.reading import Source, texts
from retest.benchmarks.imagenetv2.records import Neighbors, PublishedReview, is_candidate_id
from retest.records import Neighbor, NeighborReview

__all__ = ["METRICS", "read_near_duplicates", "read_neighbors", "read_overrides", "read_reviews"]

METRICS = ("l2", "fc7", "dssim")
"""The published metrics; others are read as well, with a warning."""


def read_near_duplicates(source: Source, path: str) -> Iterator[tuple[str, str]]:
    """Near-duplicate pairs (candidate, candidate or original image), directed as listed.

    The lists are not symmetric: a pair is meant in both directions, whichever is listed, and a self-loop adds nothing.
    """
    for (image_id,), value in source.items(path):
        others = texts(value)
        if others is None:
            source.warn("malformed_record", path, image_id, "not a list of image ids")
            continue
        if not is_candidate_id(image_id):
            source.warn("unexpected_id", path, image_id, "the key is not a candidate id")
        if len(set(others)) != len(others):
            source.warn("duplicate_image", path, image_id, "an image is listed more than once")
        for other in dict.fromkeys(others):
            if other == image_id:
                source.warn("self_loop", path, image_id, "is listed as a near-duplicate of itself, which means nothing")
            yield image_id, other


def read_overrides(source: Source, path: str) -> Iterator[str]:
    """Candidates that stay in their component whatever the resolution would choose."""
    for position, value in source.elements(path):
        if isinstance(value, str):
            yield value
        else:
            source.warn("malformed_record", path, position, f"{value!r} is not a candidate id")


def read_reviews(source: Source, path: str) -> Iterator[PublishedReview]:
    """Reviewed neighbours of each (candidate, metric). Which of them are near-duplicates is in the pairs, not here."""
    for (candidate_id,), by_metric in source.items(path):
        if not isinstance(by_metric, dict):
            source.warn("malformed_record", path, candidate_id, "not an object of metrics")
            continue
        for metric, entry in by_metric.items():
            if metric not in METRICS:
                source.warn("unknown_metric", path, candidate_id, f"metric {metric!r}")
            if (review := _review(source, path, candidate_id, metric, entry)) is not None:
                yield review


def read_neighbors(source: Source, path: str) -> Iterator[Neighbors]:
    """Nearest neighbours ``{candidate: {metric: [[id, distance], ...]}}``, read candidate by candidate."""
    for (candidate_id,), by_metric in source.items(path):
        if not isinstance(by_metric, dict):
            source.warn("malformed_record", path, candidate_id, "not an object of metrics")
            continue
        for metric, rows in by_metric.items():
            if metric not in METRICS:
                source.warn("unknown_metric", path, candidate_id, f"metric {metric!r}")
            neighbors = _neighbors(rows)
            if neighbors is None:
                source.warn("malformed_record", path, candidate_id, f"{metric}: not a list of [image id, distance]")
                continue
            _check_neighbors(source, path, candidate_id, metric, neighbors)
            yield Neighbors(candidate_id, metric, neighbors)


def _review(source: Source, path: str, candidate_id: str, metric: str, entry: Any) -> PublishedReview | None:
    references = texts(entry.get("references")) if isinstance(entry, dict) else None
    if references is None:
        source.warn("malformed_record", path, candidate_id, f"{metric}: no list of references")
        return None
    if len(set(references)) != len(references):
        source.warn("duplicate_image", path, candidate_id, f"{metric}: a reference is listed more than once")
    threshold = entry.get("threshold")
    if threshold is not None and (isinstance(threshold, bool) or not isinstance(threshold, (int, float))):
        source.warn("malformed_record", path, candidate_id, f"{metric}: the threshold {threshold!r} is not a number; left out")
        threshold = None
    review = NeighborReview(candidate_id, metric, references, (), str(entry.get("reviewer") or ""), str(entry.get("date") or ""))
    return PublishedReview(review, threshold)


def _neighbors(rows: Any) -> tuple[Neighbor, ...] | None:
    if not isinstance(rows, list):
        return None
    result = []
    for row in rows:
        if not isinstance(row, list) or len(row) != 2 or not isinstance(row[0], str):
            return None
        distance = _finite_or_infinite(row[1])
        if distance is None:
            return None
        result.append(Neighbor(row[0], distance))
    return tuple(result)


def _finite_or_infinite(value: Any) -> float | None:
    """A number as float64; None for anything else, NaN and integers beyond float64."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _check_neighbors(source: Source, path: str, candidate_id: str, metric: str, neighbors: tuple[Neighbor, ...]) -> None:
    if any(first.distance > second.distance for first, second in pairwise(neighbors)):
        source.warn("not_ascending", path, candidate_id, f"{metric}: distances are not ascending")
    if metric in ("l2", "fc7") and neighbors and all(neighbor.reference != candidate_id for neighbor in neighbors):
        source.warn("no_self_neighbor", path, candidate_id, f"{metric}: the candidate is not among its own neighbours")
