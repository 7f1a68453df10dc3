"""What models predict: per data set, per model, per image."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, replace

from retest.analysis import AccuracyRow, Correctness, accuracy_rows, correctness_table
from retest.datasets._base import Fresh, StudyView, not_found
from retest.models import read_predictions
from retest.records import Predictions
from retest.store import PredictionSet, Tables
from retest.study import Study

_BYTES_KEPT = 256 * 2**20


@dataclass(frozen=True, slots=True)
class ImagePrediction:
    """What one model predicts for one image of one data set.

    ``wnid`` is the true class (None where unknown); ``top`` are the predicted class indices, best first, ``wnids`` their classes
    (None where the study does not know the index), ``scores`` beside them where they were kept.
    """

    dataset: str
    model: str
    image_id: str
    wnid: str | None
    top: tuple[int, ...]
    wnids: tuple[str | None, ...]
    scores: tuple[float, ...] | None

    @property
    def correct(self) -> bool:
        """Whether the first guess is the true class."""
        return self.rank == 1

    @property
    def rank(self) -> int | None:
        """Position of the true class among the predicted ones, from 1; None when it is not among them."""
        return self.wnids.index(self.wnid) + 1 if self.wnid is not None and self.wnid in self.wnids else None


@dataclass(frozen=True, slots=True)
class _Loaded:
    fingerprint: str
    predictions: Predictions
    num_bytes: int


class PredictionData(StudyView):
    """Predictions of every model on every data set (the published project's class of this name).

    A data set is a revision, or what else models were run on (``original``: all original validation images). Files are read when
    they are first needed and kept while memory allows.

    Args:
        study: an open study.
    """

    def __init__(self, study: Study) -> None:
        super().__init__(study)
        self._loaded: OrderedDict[tuple[str, str], _Loaded] = OrderedDict()
        self._rows: dict[str, tuple[tuple[str, ...], dict[str, int]]] = {}
        self._classes = Fresh(("classes",), lambda tables: {info.cid: info.wnid for info in tables.classes.all()})

    def datasets(self) -> dict[str, int]:
        """Data set -> number of models with predictions on it."""
        with self._read() as tables:
            return tables.predictions.counts_by_dataset()

    def models(self, dataset: str) -> list[str]:
        """The models with predictions on a data set, sorted.

        Raises:
            NotFoundError: there are no predictions on it; the message names the most similar data set that has some.
        """
        return [entry.model for entry in self._entries(dataset)]

    def common_models(self, datasets: Collection[str]) -> list[str]:
        """The models that every one of some data sets has, sorted: what comparisons between them may use. Raises as :meth:`models`."""
        found = [set(self.models(dataset)) for dataset in datasets]
        return sorted(set.intersection(*found)) if found else []

    def predictions(self, dataset: str, model: str) -> Predictions:
        """What a model predicts on a data set; ``notes`` say openly what was corrected on reading.

        Raises:
            NotFoundError: there are none, or their file is missing.
        """
        with self._read() as tables:
            entry = tables.predictions.get(dataset, model)
        if entry is None:
            known = self.models(dataset)
            raise not_found(f"has no predictions on {dataset}", model, known=known, remedy="List the models with models(dataset)")
        return self._load(entry)

    def of_image(self, image_id: str, *, dataset: str | None = None) -> list[ImagePrediction]:
        """What every model predicts for an image, by data set and model; in one data set or in all that have it.

        Raises:
            NotFoundError: there are no predictions on ``dataset``.
        """
        with self._read() as tables:
            wnids = self._classes.get(tables)
            names = [dataset] if dataset is not None else _datasets_of(tables, image_id)
        found = []
        for name in names:
            for entry in self._entries(name):
                predictions = self._load(entry)
                row = self._positions(predictions).get(image_id)
                if row is not None:
                    found.append(_of_row(predictions, row, wnids))
        return found

    def top1_counts(self, image_id: str, *, dataset: str | None = None) -> Counter[str | None]:
        """Predicted class (wnid) -> how many models have it as their first guess; a model that was run on several data sets with
        the image counts once.
        """
        return Counter({found.model: found.wnids[0] for found in self.of_image(image_id, dataset=dataset)}.values())

    def accuracies(self, dataset: str) -> list[AccuracyRow]:
        """Top-1 and top-5 accuracy of every model with 95 % Clopper-Pearson intervals and ranks, best first. Raises as :meth:`models`."""
        return accuracy_rows(self._load(entry) for entry in self._entries(dataset))

    def correctness(self, dataset: str, *, models: Collection[str] | None = None) -> Correctness:
        """Which models get which images right, as one table; of all models, or of some. Raises as :meth:`predictions`."""
        chosen = self.models(dataset) if models is None else models
        return correctness_table(self.predictions(dataset, model) for model in chosen)

    def _entries(self, dataset: str) -> list[PredictionSet]:
        with self._read() as tables:
            entries = tables.predictions.all(dataset=dataset)
            known = tables.predictions.counts_by_dataset() if not entries else {}
        if not entries:
            raise not_found("the study has no predictions on this data set", dataset, known=known, remedy="Run: retest evaluate")
        return entries

    def _load(self, entry: PredictionSet) -> Predictions:
        key = (entry.dataset, entry.model)
        kept = self._loaded.get(key)
        if kept is None or kept.fingerprint != entry.fingerprint:
            predictions = self._shared(read_predictions(self.study.folder / entry.blob_key))
            scores = 0 if predictions.scores is None else predictions.scores.nbytes
            kept = _Loaded(entry.fingerprint, predictions, predictions.top.nbytes + predictions.labels.nbytes + scores)
            self._loaded[key] = kept
            self._drop_oldest()
        self._loaded.move_to_end(key)
        return kept.predictions

    def _drop_oldest(self) -> None:
        total = sum(kept.num_bytes for kept in self._loaded.values())
        while total > _BYTES_KEPT and len(self._loaded) > 1:
            total -= self._loaded.popitem(last=False)[1].num_bytes

    def _shared(self, predictions: Predictions) -> Predictions:
        """The same predictions with image ids that all models of the data set share, where they are equal."""
        ids, _ = self._rows.setdefault(predictions.dataset, (predictions.image_ids, _numbered(predictions.image_ids)))
        return replace(predictions, image_ids=ids) if predictions.image_ids == ids else predictions

    def _positions(self, predictions: Predictions) -> dict[str, int]:
        ids, rows = self._rows[predictions.dataset]
        return rows if predictions.image_ids is ids else _numbered(predictions.image_ids)


def _numbered(image_ids: tuple[str, ...]) -> dict[str, int]:
    return {image: row for row, image in enumerate(image_ids)}


def _datasets_of(tables: Tables, image_id: str) -> list[str]:
    """Data sets with predictions that may have the image: revisions that hold it, and whatever is no revision."""
    holding = {revision for revision, _, _ in tables.revisions.containing(image_id)}
    revisions = set(tables.revisions.names())
    return [name for name in tables.predictions.counts_by_dataset() if name in holding or name not in revisions]


def _of_row(predictions: Predictions, row: int, wnids: dict[int, str]) -> ImagePrediction:
    top = tuple(predictions.top[row].tolist())
    return ImagePrediction(
        dataset=predictions.dataset,
        model=predictions.model,
        image_id=predictions.image_ids[row],
        wnid=wnids.get(int(predictions.labels[row])),
        top=top,
        wnids=tuple(wnids.get(cid) for cid in top),
        scores=None if predictions.scores is None else tuple(predictions.scores[row].tolist()),
    )
