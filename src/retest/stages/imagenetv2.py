"""Stage: bring the published ImageNetV2 repository, or any part of it, into a study.

Idempotent: what the study has already stays as it is. Inconsistencies of the files are stored as warnings and stepped over.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from retest.benchmarks.imagenetv2 import Occurrence, PublishedData, RawPredictions
from retest.crowd import hash_worker
from retest.duplicates import PUBLISHED_TARGETS
from retest.errors import ConflictError
from retest.models import correct_order
from retest.neighbors import NeighborParameters
from retest.records import Candidate, Predictions, Revision
from retest.stages import _documents as documents
from retest.stages._common import Progress, Stamp, completion_key, silent
from retest.stages._frequencies import refresh_frequencies
from retest.stages._prediction_files import store_predictions
from retest.study import CONFIG_FILE, Study
from retest.study.editing import rewrite_settings

T = TypeVar("T")
_ASSIGNMENTS_PER_HIT = 10
_BATCH = 20_000
_REVISION_BATCH = 100_000
"""Images of revisions per transaction: their index is written in a scattered order, which many small transactions repeat."""


@dataclass(frozen=True, slots=True)
class ImportCounts:
    """What one import added, by kind; files of the layout that are missing; warnings by kind."""

    added: Mapping[str, int] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    warnings: Mapping[str, int] = field(default_factory=dict)


def import_repository(
    study: Study, path: Path, *, stamp: Stamp, worker_key: bytes | None = None, progress: Progress = silent
) -> ImportCounts:
    """Import the published data at ``path``: a clone, its ``data`` folder, any part of it, or a tar archive.

    Args:
        study: an open study.
        path: the published data.
        stamp: who imports, and when.
        worker_key: secret bytes under whose keyed hash annotators are kept, as with answers that are collected; without one the
            hash is keyed by the study's name, which hides who they are only from those who do not guess.
        progress: shows the work.

    Raises:
        InputError: there is nothing of the layout.
    """
    with progress("Read published data", total=None) as advance, PublishedData(path, on_file=lambda _file, size: advance(size)) as data:
        run = _Import(study, data, stamp, worker_hash(study.config.study.name, worker_key))
        added = run.everything()
        data.check()
        with study.database.write() as tables:
            tables.warnings.add("import", ((w.kind, w.file or None, w.item or None, w.message) for w in data.warnings))
        missing = tuple(data.inventory.missing)
        return ImportCounts(added, missing, dict((Counter(data.warning_counts) + run.warned).most_common()))


@dataclass(frozen=True, slots=True)
class TargetChange:
    """Metrics that the published data was reviewed in and the study did not ask for; ``written``: ``study.toml`` asks for them now."""

    targets: Mapping[str, float]
    written: bool


def ask_published_targets(study: Study) -> TargetChange | None:
    """Let a study made by ``retest init``, which asks for reviews in the metrics that a new study computes, ask for all in which the
    imported data was reviewed. Targets that somebody has chosen stay as they are.

    Returns:
        What has changed or ought to; None where nothing had to.
    """
    asked = study.config.review.targets
    if asked != {metric: PUBLISHED_TARGETS[metric] for metric in NeighborParameters().metrics}:
        return None
    with study.database.read() as tables:
        known = set(tables.neighbors.metrics()) | {metric for metric in PUBLISHED_TARGETS if tables.reviews.reviewed(metric)}
    targets = {metric: target for metric, target in PUBLISHED_TARGETS.items() if metric in known | asked.keys()}
    if targets == asked:
        return None
    wanted = replace(study.config, review=replace(study.config.review, targets=targets))
    return TargetChange(targets, rewrite_settings(study.folder / CONFIG_FILE, study.config, wanted))


class _Import:
    """One import: a step per kind of record, each in short transactions."""

    def __init__(self, study: Study, data: PublishedData, stamp: Stamp, hash_worker: Callable[[str], str]) -> None:
        self._study, self._data, self._stamp, self._hash_worker = study, data, stamp, hash_worker
        self._differing: dict[str, Revision] = {}
        self._last: Revision | None = None
        self._unknown_hit_exclusions: dict[str, str] = {}
        self.warned: Counter[str] = Counter()
        """Warnings by kind that this import stored itself, besides those of reading."""

    def everything(self) -> dict[str, int]:
        steps: dict[str, Callable[[], int]] = {
            "classes": self._classes,
            "candidates": self._candidates,
            "exclusions": self._exclusions,
            "hits": self._hits,
            "assignments": self._assignments,
            "neighbor_lists": self._neighbors,
            "neighbor_reviews": self._reviews,
            "near_duplicate_pairs": self._pairs,
            "resolution_overrides": self._overrides,
            "revisions": self._all_revisions,
            "class_reviews": self._class_reviews,
            "predictions": self._predictions,
            "documents": self._documents,
            "candidates_by_reference": self._referenced,
            "originals": self._originals,
        }
        return {name: step() for name, step in steps.items()}

    def _classes(self) -> int:
        with self._study.database.write() as tables:
            known = {info.wnid for info in tables.classes.all()}
            classes = [info for info in self._data.classes() if info.wnid not in known]
            tables.classes.put(classes)
        return len(classes)

    def _candidates(self) -> int:
        added = 0
        for batch in _batches(self._data.candidates()):
            with self._study.database.write() as tables:
                added += tables.candidates.add(row for row in batch if isinstance(row, Candidate))
                tables.candidates.add_occurrences((row.key, row.record) for row in batch if isinstance(row, Occurrence))
        return added

    def _exclusions(self) -> int:
        with self._study.database.write() as tables:
            return tables.exclusions.add(self._data.exclusions())

    def _hits(self) -> int:
        added = 0
        for batch in _batches(self._data.hits()):
            with self._study.database.write() as tables:
                added += tables.hits.add(batch, assignments=_ASSIGNMENTS_PER_HIT)
        with self._study.database.write() as tables:
            rows = list(self._data.hit_exclusions())
            done, known = tables.hits.excluded(), tables.hits.get(row.hit_uuid for row in rows)
            for row in rows:
                if row.hit_uuid not in known:
                    self._unknown_hit_exclusions[row.hit_uuid] = row.reason
                elif row.hit_uuid not in done:
                    tables.hits.exclude([row.hit_uuid], row.reason)
        return added

    def _assignments(self) -> int:
        added = 0
        for batch in _batches(self._data.assignments(hash_worker=self._hash_worker)):
            with self._study.database.write() as tables:
                added += tables.assignments.add(batch)
        with self._study.database.write() as tables:
            refresh_frequencies(tables)
        return added

    def _neighbors(self) -> int:
        added = 0
        for batch in _batches(_either(self._data.neighbors(), self._data.neighbors(test=True))):
            with self._study.database.write() as tables:
                for metric in sorted({row.metric for row in batch}):
                    lists = {row.candidate_id: row.neighbors for row in batch if row.metric == metric}
                    added += tables.neighbors.add_new(metric, lists)
        return added

    def _reviews(self) -> int:
        with self._study.database.write() as tables:
            before = tables.reviews.count()
            tables.reviews.add_new(row.review for row in self._data.neighbor_reviews())
            return tables.reviews.count() - before

    def _pairs(self) -> int:
        with self._study.database.write() as tables:
            return tables.pairs.add(self._data.near_duplicates(), user="imported", time=self._stamp.time)

    def _overrides(self) -> int:
        with self._study.database.write() as tables:
            return tables.pairs.add_overrides(self._data.resolution_overrides(), user="imported", time=self._stamp.time)

    def _all_revisions(self) -> int:
        added = 0
        for batch in _batches(self._data.revisions(), weight=lambda revision: len(revision.images), limit=_REVISION_BATCH):
            with self._study.database.write() as tables:
                for revision in batch:
                    try:
                        added += tables.revisions.add(revision)
                    except ConflictError as error:
                        self._differing[revision.name] = revision
                        where = f"datasets/{revision.name}.json"
                        tables.warnings.add("import", [("revision_differs", where, revision.name, error.problem)])
                        self.warned["revision_differs"] += 1
        return added

    def _revision(self, name: str) -> Revision | None:
        """The images that the rows of published predictions belong to; None when neither the files nor the study have them."""
        if name in self._differing:
            return self._differing[name]
        if self._last is None or self._last.name != name:
            with self._study.database.read() as tables:
                self._last = tables.revisions.get(name) if name in tables.revisions.names() else None
        return self._last

    def _class_reviews(self) -> int:
        with self._study.database.write() as tables:
            return tables.revisions.add_reviews(self._data.class_reviews())

    def _predictions(self) -> int:
        with self._study.database.read() as tables:
            cids = {info.wnid: info.cid for info in tables.classes.all()}
            known = {(entry.dataset, entry.model): entry.fingerprint for entry in tables.predictions.all()}
        added = 0
        for raw in self._data.predictions():
            if cids and int(raw.top.max(initial=0)) > max(cids.values()):  # where the files hold no class list, the study's decides
                problem = f"holds class indices up to {raw.top.max()}; left out"
                with self._study.database.write() as tables:
                    tables.warnings.add("import", [("class_index_out_of_range", raw.file, None, problem)])
                self.warned["class_index_out_of_range"] += 1
                continue
            revision = self._revision(raw.dataset)
            if revision is not None and len(revision.images) == len(raw.top):
                key = completion_key("published", raw.dataset, raw.model, sha256(raw.top.tobytes()).hexdigest(), revision.images[:1])
                if known.get((raw.dataset, raw.model)) != key:
                    self._store_predictions(raw, revision, cids, key)
                    added += 1
        return added

    def _store_predictions(self, raw: RawPredictions, revision: Revision, cids: Mapping[str, int], key: str) -> None:
        predictions = Predictions(
            dataset=raw.dataset,
            model=raw.model,
            image_ids=tuple(image for image, _ in revision.images),
            labels=np.array([cids.get(wnid, -1) for _, wnid in revision.images], np.int64),
            top=raw.top,
            provenance={"file": raw.file, "format": "published npy"},
            notes=raw.notes,
        )
        corrected = correct_order(predictions)
        turned = [("stored_worst_first", raw.file, raw.model, corrected.notes[-1])] if corrected is not predictions else []
        store_predictions(self._study, corrected, fingerprint=key, warnings=turned)
        self.warned.update(kind for kind, *_ in turned)

    def _documents(self) -> int:
        reviews = list(self._data.neighbor_reviews())
        content: dict[str, Any] = {
            documents.HIT_CANDIDATES: {row.file: list(row.candidate_ids) for row in self._data.hit_candidates()},
            documents.ADDITIONAL_IMAGES: [
                [row.wnid, list(row.pos_control), list(row.candidates), list(row.neg_control)] for row in self._data.additional_images()
            ],
            documents.NEGATIVE_CLASSES: self._data.negative_classes(),
            documents.CLASS_THRESHOLDS: self._data.class_thresholds(),
            documents.REVIEW_THRESHOLDS: sorted(
                [row.review.candidate_id, row.review.metric, row.threshold] for row in reviews if row.threshold is not None
            ),
            documents.EMPTY_REVIEWS: sorted(
                [r.candidate_id, r.metric, r.reviewer, r.time] for r in (row.review for row in reviews) if not r.references
            ),
            documents.UNKNOWN_HIT_EXCLUSIONS: self._unknown_hit_exclusions,
        }
        with self._study.database.write() as tables:
            return sum(documents.put_document(tables, name, value) for name, value in content.items())

    def _referenced(self) -> int:
        with self._study.database.write() as tables:
            return tables.candidates.add(row.as_candidate() for row in self._data.referenced_candidates())

    def _originals(self) -> int:
        with self._study.database.write() as tables:
            return tables.originals.add(self._data.original_images())


def _either(first: Iterable[T], otherwise: Iterable[T]) -> Iterator[T]:
    """The first iterable, or the other where the first is empty."""
    empty = True
    for row in first:
        empty = False
        yield row
    if empty:
        yield from otherwise


def _batches(rows: Iterable[T], *, weight: Callable[[T], int] = lambda _row: 1, limit: int = _BATCH) -> Iterator[list[T]]:
    """Rows in lists whose weights add up to ``limit`` or a little more: one transaction each."""
    batch: list[T] = []
    filled = 0
    for row in rows:
        batch.append(row)
        filled += weight(row)
        if filled >= limit:
            yield batch
            batch, filled = [], 0
    if batch:
        yield batch


def worker_hash(study_name: str, key: bytes | None) -> Callable[[str], str]:
    """Turns a raw annotator id into what is kept: :func:`~retest.crowd.hash_worker` where there is a key."""
    if key is not None:
        return partial(hash_worker, key)

    def hashed(worker_id: str) -> str:
        return hmac.new(study_name.encode(), worker_id.encode(), sha256).hexdigest()[:32]

    return hashed
