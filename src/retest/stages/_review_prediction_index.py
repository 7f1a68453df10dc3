"""The predictions of all models on one test set, image by image: a compact index of their Parquet files that pages can look things up in.

The files hold one model each, a page asks for one image and all models. The index lies in the study's folder under ``cache`` and is
derived: its name is a hash of the files (:func:`index_key`), so it is made again when one of them changes and can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from retest.errors import InputError, NotFoundError, StoreError
from retest.models import read_predictions

VERSION = 1
TOP = 5
"""Guesses that are kept per model and image."""

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PredictionFile:
    """A Parquet file of predictions; ``version`` changes when its content does."""

    model: str
    path: Path
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Votes:
    """What m models say of n images, from their first guesses; -1 is no class.

    A *run* is a class that some models name for an image: the runs of image i are ``run_start[i]`` to ``run_start[i + 1]`` of
    ``run_class`` and ``run_votes``, the most votes first, equals by class index. ``entropy_bits`` is the Shannon entropy of the answers.
    """

    predicting: Ints
    """(n,) models that have this image"""
    right: Ints
    """(n,) models whose first guess is the label; 0 where the label is unknown"""
    entropy_bits: NDArray[np.float64]
    """(n,)"""
    run_start: Ints
    """(n + 1,)"""
    run_class: Ints
    """(runs,)"""
    run_votes: Ints
    """(runs,)"""
    missed: Ints
    """Images that no model gets, the most unanimous wrong answers first, equals by image id."""
    disputed: Ints
    """Images that models disagree about, the most varied answers first, equals by image id."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PredictionIndex:
    """Predictions of m models on the n images of a test set; m models in the order of ``models``, images in that of the files."""

    dataset: str
    models: tuple[str, ...]
    images: tuple[str, ...]
    rows: dict[str, int]
    """image -> its place in ``images``"""
    labels: Ints
    """(n,) class indices, -1 where unknown"""
    top: Ints
    """(n, m, 5) class indices, best first, -1 where there is none; mapped from the disk"""
    scores: Floats | None
    """(n, m, 5), NaN where there is none"""
    votes: Votes
    notes: tuple[str, ...]

    def runs(self, row: int) -> list[tuple[int, int]]:
        """(class, votes) of an image, the most votes first."""
        here = slice(int(self.votes.run_start[row]), int(self.votes.run_start[row + 1]))
        return list(zip(self.votes.run_class[here].tolist(), self.votes.run_votes[here].tolist(), strict=True))


def index_key(dataset: str, files: Sequence[PredictionFile]) -> str:
    """A name for the content of the index of these files."""
    content = json.dumps([VERSION, TOP, dataset, [(one.model, str(one.path), one.version) for one in files]])
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def count_votes(first: Ints, labels: Ints, images: Sequence[str]) -> Votes:
    """Count what models say, image by image.

    Args:
        first: (n, m) first guesses, -1 where a model has none.
        labels: (n,) class indices, -1 where unknown.
        images: n ids.
    """
    n, m = first.shape
    ordered = np.sort(first, axis=1)
    begins = np.ones((n, m), dtype=bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    starts = np.flatnonzero(begins.ravel())
    votes, classes, rows = np.diff(np.append(starts, n * m)), ordered.ravel()[starts], starts // m
    known = classes >= 0
    votes, classes, rows = votes[known], classes[known], rows[known]
    order = np.lexsort((classes, -votes, rows))
    votes, classes = votes[order], classes[order]  # rows were sorted already
    run_start = np.searchsorted(rows, np.arange(n + 1))
    predicting = np.count_nonzero(first >= 0, axis=1)
    shares = votes / predicting[rows]
    # Rounded: the same answers in another order must tie exactly.
    bits = np.bincount(rows, weights=-shares * np.log2(shares), minlength=n).astype(np.float64)
    entropy = np.abs(np.round(bits, 9))
    right = np.count_nonzero(first == np.where(labels < 0, -2, labels)[:, None], axis=1)
    most = np.zeros(n, dtype=np.int64)
    most[predicting > 0] = votes[run_start[:-1][predicting > 0]]
    by_name = np.empty(n, dtype=np.int64)
    by_name[sorted(range(n), key=images.__getitem__)] = np.arange(n)
    missed = np.flatnonzero((labels >= 0) & (right == 0) & (predicting > 0))
    disputed = np.flatnonzero(np.diff(run_start) > 1)
    return Votes(
        predicting=_ints(predicting),
        right=_ints(right),
        entropy_bits=entropy,
        run_start=_ints(run_start),
        run_class=_ints(classes),
        run_votes=_ints(votes),
        missed=_ints(missed[np.lexsort((by_name[missed], -most[missed]))]),
        disputed=_ints(disputed[np.lexsort((by_name[disputed], -entropy[disputed]))]),
    )


def _ints(values: NDArray[Any]) -> Ints:
    return values.astype(np.int32)


# ------------------------------------------------------------------------------------------------------ on the disk


def open_index(folder: Path) -> PredictionIndex | None:
    """The index in a folder; None where there is none, or no whole one."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        with np.load(folder / "votes.npz", allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        top = np.load(folder / "top.npy", mmap_mode="r", allow_pickle=False)
        scores = np.load(folder / "scores.npy", mmap_mode="r", allow_pickle=False) if meta["scores"] else None
        images = tuple(meta["images"])
        return PredictionIndex(
            dataset=meta["dataset"],
            models=tuple(meta["models"]),
            images=images,
            rows={image: row for row, image in enumerate(images)},
            labels=arrays.pop("labels"),
            top=top,
            scores=scores,
            votes=Votes(**arrays),
            notes=tuple(meta["notes"]),
        )
    except (OSError, ValueError, KeyError, TypeError, BadZipFile):
        return None


def build_index(dataset: str, files: Sequence[PredictionFile], folder: Path, *, stop: Callable[[], bool] = lambda: False) -> bool:
    """Write the index of these files into ``folder``; older ones beside it are deleted. False when ``stop`` ended it.

    A file that cannot be read is left out with a note.

    Raises:
        InputError: none of the files can be read.
        StoreError: the index cannot be written.
    """
    found = _Collected(dataset)
    for one in files:
        if stop():
            return False
        found.add(one)
    if not found.models:
        raise InputError("no file of predictions can be read", item=dataset, remedy=found.notes[0] if found.notes else "Evaluate a model")
    aside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    try:
        aside.mkdir(parents=True)
        found.write(aside)
        shutil.rmtree(folder, ignore_errors=True)  # one that cannot be opened
        aside.replace(folder)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        if open_index(folder) is None:  # else another process was faster
            raise StoreError(
                f"the index of predictions cannot be written ({error.strerror or error})",
                item=str(folder.parent),
                remedy="Free some space, or make the folder writable",
            ) from error
    for old in folder.parent.iterdir():
        if old.name != folder.name:
            shutil.rmtree(old, ignore_errors=True)
    return True


class _Collected:
    """Predictions of one model after the other, by image."""

    def __init__(self, dataset: str) -> None:
        self.dataset, self.models, self.notes = dataset, list[str](), list[str]()
        self._rows: dict[str, int] = {}
        self._ids: tuple[str, ...] = ()
        self._labels: list[int] = []
        self._parts: list[tuple[NDArray[np.int64] | None, Ints, Floats | None]] = []

    def add(self, file: PredictionFile) -> None:
        try:
            read = read_predictions(file.path)
        except (InputError, NotFoundError) as error:
            self.notes.append(f"{file.model} is left out: {error.problem}")
            return
        places = None
        if not self._rows:
            self._ids, self._labels = read.image_ids, read.labels.tolist()
            self._rows = {image: row for row, image in enumerate(read.image_ids)}
        elif read.image_ids != self._ids:
            places = np.array([self._rows.setdefault(image, len(self._rows)) for image in read.image_ids], dtype=np.int64)
            self._labels += [-1] * (len(self._rows) - len(self._labels))
        if -1 in self._labels:
            for row, label in zip(range(len(read.labels)) if places is None else places.tolist(), read.labels.tolist(), strict=True):
                if self._labels[row] < 0:
                    self._labels[row] = label
        scores = None if read.scores is None else np.ascontiguousarray(read.scores[:, :TOP])
        self.models.append(file.model)
        self._parts.append((places, _ints(read.top[:, :TOP]), scores))

    def write(self, folder: Path) -> None:
        n, m = len(self._rows), len(self.models)
        shape = (n, m, TOP)
        top = np.full(shape, -1, dtype=np.int32)
        for model, (places, classes, _) in enumerate(self._parts):
            top[slice(0, len(classes)) if places is None else places, model, : classes.shape[1]] = classes
        labels, images = np.array(self._labels, dtype=np.int32), list(self._rows)
        votes = count_votes(top[:, :, 0], labels, images)
        np.save(folder / "top.npy", top)
        del top
        with_scores = any(scores is not None for _, _, scores in self._parts)
        if with_scores:
            kept = np.full(shape, np.nan, dtype=np.float32)
            for model, (places, _, scores) in enumerate(self._parts):
                if scores is not None:
                    kept[slice(0, len(scores)) if places is None else places, model, : scores.shape[1]] = scores
            np.save(folder / "scores.npy", kept)
        arrays = {one.name: getattr(votes, one.name) for one in fields(Votes)}
        np.savez(folder / "votes.npz", labels=labels, **arrays)
        meta = {"dataset": self.dataset, "models": self.models, "images": images, "scores": with_scores, "notes": self.notes}
        (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
