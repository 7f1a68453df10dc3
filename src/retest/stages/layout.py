"""Stage: write a study in the layout of the published ImageNetV2 repository (``retest export imagenetv2-layout``).

Importing what this writes into an empty study gives an equal study. What the layout cannot hold is left out: images, what a
prediction file says beyond the class indices, which of a review's references were near-duplicates (the pairs say it), and who of
several reviewers of one candidate looked at which reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import numpy as np

from retest.benchmarks.imagenetv2 import (
    AdditionalImages,
    HitCandidates,
    HitExclusion,
    LayoutContent,
    Neighbors,
    PublishedReview,
    RawPredictions,
    export_layout,
)
from retest.errors import InputError, StoreError
from retest.models import read_predictions
from retest.records import NeighborReview
from retest.stages import _documents as documents
from retest.stages._common import Progress, silent
from retest.store import PredictionSet, Tables
from retest.study import Study

_ALIAS = "_model"


@dataclass(frozen=True, slots=True)
class LayoutCounts:
    """Where the layout lies and its files, relative to the folder."""

    folder: Path
    files: tuple[str, ...]


def export_repository(study: Study, out: Path, *, progress: Progress = silent) -> LayoutCounts:
    """Write the study in the published layout below the new or empty folder ``out``; its families lie under ``out/data``.

    Predictions that were published worst first, and were turned around on import, are written as they were published: reading
    them again corrects them again, and says so again.

    Raises:
        InputError: the folder is not empty, or a name in the study is no file name.
    """
    _refuse_full(out)
    with _draft_of(out) as draft, study.database.read() as tables:
        entries = tables.predictions.all()
        with progress("Write predictions", total=len(entries)) as advance:
            files = export_layout(_content(study, tables, entries, advance), draft)
        aliases = {path: alias for path, alias in ((path, _published_path(path, entries)) for path in files) if alias != path}
        for path, alias in aliases.items():
            (draft / path).rename(draft / alias)
    return LayoutCounts(out, tuple(aliases.get(path, path) for path in files))


@contextmanager
def _draft_of(out: Path) -> Iterator[Path]:
    """A folder that becomes ``out`` at the end of the block: an interrupted export leaves nothing, and two at once do not mix."""
    target = out.resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as draft:
            yield Path(draft)
            _refuse_full(target)
            target.mkdir(exist_ok=True)
            for child in Path(draft).iterdir():  # one folder, data: it comes whole or not at all
                child.rename(target / child.name)
    except OSError as error:
        raise StoreError(
            f"cannot be written ({error.strerror or error})", item=str(out), remedy="Check path, space and permissions"
        ) from error


def _refuse_full(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("is not empty", item=str(out), remedy="Give a new folder")


def _content(study: Study, tables: Tables, entries: list[PredictionSet], advance: Callable[[int], None]) -> LayoutContent:
    kept = {
        name: documents.get_document(tables, name) or {}
        for name in (
            documents.HIT_CANDIDATES,
            documents.ADDITIONAL_IMAGES,
            documents.NEGATIVE_CLASSES,
            documents.CLASS_THRESHOLDS,
            documents.UNKNOWN_HIT_EXCLUSIONS,
        )
    }
    excluded_hits = {**tables.hits.excluded(), **kept[documents.UNKNOWN_HIT_EXCLUSIONS]}
    return LayoutContent(
        classes=tables.classes.all(),
        candidates=(c for c in tables.candidates.all() if c.source != "reference"),
        occurrences=tables.candidates.all_occurrences(),
        exclusions=tables.exclusions.all().values(),
        hit_candidates=[HitCandidates(file, tuple(ids)) for file, ids in kept[documents.HIT_CANDIDATES].items()],
        hits=tables.hits.all(),
        hit_exclusions=[HitExclusion(uuid, reason) for uuid, reason in excluded_hits.items()],
        assignments=tables.assignments.all(),
        negative_classes=kept[documents.NEGATIVE_CLASSES],
        additional_images=[AdditionalImages(w, tuple(p), tuple(c), tuple(n)) for w, p, c, n in kept[documents.ADDITIONAL_IMAGES]],
        neighbors=(Neighbors(candidate, metric, found) for candidate, metric, found in tables.neighbors.by_candidate()),
        neighbor_reviews=_reviews(tables),
        near_duplicates=tables.pairs.all(),
        resolution_overrides=tables.pairs.overrides(),
        class_thresholds=kept[documents.CLASS_THRESHOLDS],
        revisions=(tables.revisions.get(name) for name in tables.revisions.names()),
        class_reviews=tables.revisions.all_reviews(),
        predictions=_predictions(study, entries, advance),
    )


def _reviews(tables: Tables) -> Iterator[PublishedReview]:
    """One review per candidate and metric, as the layout has them: references of several reviewers together, the last one's name."""
    thresholds = {
        (candidate, metric): value for candidate, metric, value in documents.get_document(tables, documents.REVIEW_THRESHOLDS) or []
    }
    empty = (NeighborReview(c, m, (), (), who, when) for c, m, who, when in documents.get_document(tables, documents.EMPTY_REVIEWS) or [])
    merged: dict[tuple[str, str], NeighborReview] = {}
    for review in (*empty, *tables.reviews.all()):
        key = (review.candidate_id, review.metric)
        merged[key] = _together(merged[key], review) if key in merged else review
    for key in sorted(merged):
        yield PublishedReview(merged[key], thresholds.get(key))


def _together(first: NeighborReview, second: NeighborReview) -> NeighborReview:
    last = max(first, second, key=lambda review: review.time)
    references = tuple(dict.fromkeys((*first.references, *second.references)))
    return NeighborReview(first.candidate_id, first.metric, references, (), last.reviewer, last.time)


def _predictions(study: Study, entries: Iterable[PredictionSet], advance: Callable[[int], None]) -> Iterator[RawPredictions]:
    for entry in entries:
        predictions = read_predictions(study.folder / entry.blob_key)
        turned = predictions.provenance.get("order_corrected") is True
        top = np.ascontiguousarray(predictions.top[:, ::-1]) if turned else predictions.top
        yield RawPredictions(entry.dataset, entry.model, "", top, entry.notes)
        advance(1)


def _published_path(path: str, entries: Iterable[PredictionSet]) -> str:
    """The name that a prediction file was published under: some are called ``<model>_model.npy``."""
    place = PurePosixPath(path)
    if place.suffix != ".npy":
        return path
    aliased = {(e.dataset, e.model) for e in entries if f"the file is named {e.model}{_ALIAS}" in e.notes}
    return str(place.with_stem(place.stem + _ALIAS)) if (place.parent.name, place.stem) in aliased else path
