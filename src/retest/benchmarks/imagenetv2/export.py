"""Writing a study back in the published layout (``retest export imagenetv2-layout``)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, groupby
from operator import attrgetter
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from retest.benchmarks.imagenetv2 import writers
from retest.benchmarks.imagenetv2.mturk import IGNORED_HIT_FILES, IGNORED_REASON
from retest.benchmarks.imagenetv2.records import (
    AdditionalImages,
    HitCandidates,
    HitExclusion,
    Neighbors,
    PublishedReview,
    RawPredictions,
)
from retest.benchmarks.imagenetv2.revisions import ALIAS, REVIEW_SUFFIX
from retest.errors import InputError
from retest.records import Assignment, Candidate, ClassInfo, ClassReview, DuplicateOccurrence, Exclusion, Hit, Revision

__all__ = ["LayoutContent", "export_layout"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutContent:
    """Everything the layout can hold. Iterables are walked once; empty ones write no file.

    ``assignments`` hold hashed worker names; ``predictions`` are written best first as they are given.
    """

    classes: Iterable[ClassInfo] = ()
    candidates: Iterable[Candidate] = ()
    occurrences: Iterable[DuplicateOccurrence] = ()
    exclusions: Iterable[Exclusion] = ()
    hit_candidates: Iterable[HitCandidates] = ()
    hits: Iterable[Hit] = ()
    hit_exclusions: Iterable[HitExclusion] = ()
    assignments: Iterable[Assignment] = ()
    negative_classes: Mapping[str, str] = field(default_factory=dict)
    additional_images: Iterable[AdditionalImages] = ()
    neighbors: Iterable[Neighbors] = ()
    neighbor_reviews: Iterable[PublishedReview] = ()
    near_duplicates: Iterable[tuple[str, str]] = ()
    resolution_overrides: Iterable[str] = ()
    class_thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    revisions: Iterable[Revision] = ()
    class_reviews: Iterable[ClassReview] = ()
    predictions: Iterable[RawPredictions] = ()


def export_layout(content: LayoutContent, folder: Path) -> list[str]:
    """Write the published layout into the new or empty ``folder``; its families lie under ``folder/data``.

    Returns:
        the relative paths of the files, in the order written.

    Raises:
        InputError: the folder is not empty, or a name in the study (of a file, revision, data set or model) is no file name.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InputError("is not empty", item=str(folder), remedy="Give a new folder")
    written: list[str] = []
    for path, value in _files(content):
        place = folder / "data" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as file:
            if isinstance(value, np.ndarray):
                np.lib.format.write_array(file, value, allow_pickle=False)
            elif isinstance(value, _Streamed):
                value.write(file)
            else:
                file.write(_encoded(value))
        written.append(place.relative_to(folder).as_posix())
    return written


@dataclass(frozen=True, slots=True)
class _Streamed:
    """The neighbour lists: they may be gigabytes, so they are written candidate by candidate."""

    rows: Iterable[Neighbors]

    def write(self, file: IO[bytes]) -> None:
        file.write(b"{")
        for number, (candidate_id, by_metric) in enumerate(_grouped(self.rows)):
            file.write(b",\n" if number else b"\n")
            file.write(f"{json.dumps(candidate_id)}: {json.dumps(by_metric)}".encode())
        file.write(b"\n}\n")


def _grouped(rows: Iterable[Neighbors]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Neighbour lists by candidate; rows of one candidate must follow each other."""
    for candidate_id, lists in groupby(rows, key=attrgetter("candidate_id")):
        yield candidate_id, {row.metric: [[neighbor.reference, neighbor.distance] for neighbor in row.neighbors] for row in lists}


def _files(content: LayoutContent) -> Iterator[tuple[str, Any]]:
    classes = list(content.classes)
    hits = writers.hits_json(content.hits)
    trial_runs = {row["uuid"] for name in IGNORED_HIT_FILES for row in hits.get(name, ())}
    # Reading excludes the HITs of trial runs by their file, so they are not listed.
    listed = [row for row in content.hit_exclusions if row.reason != IGNORED_REASON or row.hit_uuid not in trial_runs]
    single: dict[str, Any] = {
        "metadata/class_info.json": writers.class_info_json(classes),
        "metadata/wnid_to_most_similar_wnids.json": writers.similar_classes_json(classes),
        "metadata/wikipedia_pages.json": writers.wikipedia_pages_json(classes),
        "metadata/candidate_blacklist.json": writers.exclusions_json(content.exclusions),
        "metadata/negative_val_wnids_for_mturk.json": dict(content.negative_classes),
        "metadata/additional_pos_val_images_for_20_per_wnid.json": writers.additional_images_json(content.additional_images),
        "metadata/near_duplicates.json": writers.near_duplicates_json(content.near_duplicates),
        "metadata/near_duplicate_resolution_override.json": list(content.resolution_overrides),
        "metadata/nearest_neighbor_reviews_v2.json": writers.neighbor_reviews_json(content.neighbor_reviews),
        "mturk/hit_blacklist_live.json": writers.hit_exclusions_json(listed),
    }
    yield from ((path, value) for path, value in single.items() if value)
    yield from _prefixed("search_results", writers.search_results_json(content.candidates, content.occurrences))
    yield from _prefixed("hit_candidates", {row.file: list(row.candidate_ids) for row in content.hit_candidates})
    yield from _prefixed("mturk/hit_data_live", hits)
    answers = writers.assignments_json(content.assignments)
    if answers["assignments"]:
        yield "mturk/results/assignments.json", answers
    neighbors = iter(content.neighbors)
    if (first := next(neighbors, None)) is not None:
        yield "metadata/nearest_neighbor_results.json", _Streamed(chain([first], neighbors))
    yield from _prefixed("dataset_metadata", content.class_thresholds)
    for revision in content.revisions:
        yield f"datasets/{_part(revision.name)}.json", writers.revision_json(revision)
    for name, value in writers.class_reviews_json(content.class_reviews).items():
        yield f"dataset_reviews/{_part(name)}{REVIEW_SUFFIX}", value
    for predictions in content.predictions:
        top: NDArray[np.int64] = np.ascontiguousarray(predictions.top, dtype=np.int64)
        # A name that ends like the alias gets the alias as well, because reading takes one away.
        alias = ALIAS if predictions.model.endswith(ALIAS) else ""
        yield f"predictions/{_part(predictions.dataset)}/{_part(predictions.model)}{alias}.npy", top


def _prefixed(folder: str, files: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from ((f"{folder}/{_part(name)}", value) for name, value in files.items())


def _part(name: str) -> str:
    """A name from the study as part of a path: none may climb out of its folder or hide."""
    if not name or name.startswith(".") or any(char in name for char in "/\\\0\n"):
        raise InputError(f"{name!r} cannot be a file name", remedy="Rename it in the study")
    return name


def _encoded(value: Any) -> bytes:
    return json.dumps(value, indent=2).encode()
