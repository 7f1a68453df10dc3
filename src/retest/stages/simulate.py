"""Stand-ins for people, for demos, tests and rehearsals of a study: a simulated crowd and a simulated reviewer.

Both are named *simulated* wherever their results show. The crowd's difficulty comes from the images themselves; the reviewer knows
nothing but distances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retest.crowd import SimulatedCrowd, SimulatedCrowdParameters
from retest.duplicates import ReviewItem
from retest.errors import StageError
from retest.images import compare_array
from retest.neighbors import NeighborParameters, nearest_dssim, nearest_features, nearest_l2
from retest.records import ImageVariant, NeighborReview, Split
from retest.stages._common import Progress, Stamp, compare_variant, silent
from retest.stages._features import Featuriser
from retest.study import Study

REVIEWER = "simulated-reviewer"
_GREY_SIDE = 16


def simulated_crowd(study: Study, *, parameters: SimulatedCrowdParameters, start_time: str, progress: Progress = silent) -> SimulatedCrowd:
    """A simulated crowd whose affinity of image and class is a classifier's probability.

    The classifier (random Fourier features and logistic regression on small grey images) is trained on the study's training
    images and is not offered for evaluation, so that no evaluated model agrees with the crowd by construction.

    Raises:
        StageError: the study has no stored training images.
    """
    affinity = _Affinity(study, progress)
    return SimulatedCrowd(affinity, start_time=start_time, parameters=parameters, path=study.folder / "simulated-crowd.db")


class _Affinity:
    """(image id, wnid) -> probability; images are scored when first asked for."""

    def __init__(self, study: Study, progress: Progress) -> None:
        self._study = study
        self._progress = progress
        self._model: Any = None
        self._columns: dict[str, int] = {}
        self._scores: dict[str, NDArray[np.float64]] = {}

    def __call__(self, image_id: str, wnid: str) -> float:
        if self._model is None:
            with self._progress("Train simulated crowd", total=2) as advance:
                self._model = self._train()
                self._columns = {str(name): number for number, name in enumerate(self._model.classes_)}
                advance(1)
                self._score_all()
                advance(1)
        if wnid not in self._columns:
            return 0.0
        return float(self._scores[image_id][self._columns[wnid]])

    def _train(self) -> Any:
        from sklearn.kernel_approximation import Nystroem
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        with self._study.database.read() as tables:
            labels = {image.id: image.wnid for image in tables.originals.all(split=Split.TRAIN)}
            variants = [v for v in tables.variants.all(compare_variant(self._study.config.images)) if labels.get(v.image_id)]
        if len({labels[v.image_id] for v in variants}) < 2:
            raise StageError("no training images to derive difficulty from", item="simulated crowd", remedy="Set train in [benchmark]")
        pixels = self._grey(variants)
        gamma = 1.0 / (pixels.shape[1] * max(float(pixels.var()), 1e-9))
        components = min(400, len(variants))
        model = make_pipeline(Nystroem(gamma=gamma, n_components=components, random_state=0), LogisticRegression(C=30.0, max_iter=2000))
        return model.fit(pixels, [str(labels[v.image_id]) for v in variants])

    def _score_all(self) -> None:
        with self._study.database.read() as tables:
            variants = list(tables.variants.all(compare_variant(self._study.config.images)))
        for start in range(0, len(variants), 1000):
            block = variants[start : start + 1000]
            for variant, scores in zip(block, self._model.predict_proba(self._grey(block)), strict=True):
                self._scores[variant.image_id] = scores

    def _grey(self, variants: list[ImageVariant]) -> NDArray[np.float64]:
        from PIL import Image

        rows = []
        for variant in variants:
            image = Image.fromarray(self._pixels(variant)).convert("L").resize((_GREY_SIDE, _GREY_SIDE), Image.Resampling.BOX)
            rows.append(np.asarray(image, np.float64).ravel() / 255.0)
        return np.stack(rows)

    def _pixels(self, variant: ImageVariant) -> NDArray[np.uint8]:
        return compare_array(self._study.blobs.get(variant.blob_key), item=variant.image_id, parameters=self._study.config.images)


def calibrate_reviewer(
    pixels: NDArray[np.uint8],
    *,
    parameters: NeighborParameters,
    featurisers: Mapping[str, Featuriser],
    quantile: float,
    progress: Progress = silent,
) -> dict[str, float]:
    """Distances below which the simulated reviewer calls a pair near-duplicates, per metric.

    The training images of a benchmark are different photos, so the ``quantile`` of their nearest-neighbour distances tells how close
    different photos come. ``pixels`` are training images of the compare size, uint8 (n, side, side, 3), n >= 2.
    """
    search: dict[str, Callable[[], NDArray[np.float64]]] = {
        "l2": lambda: nearest_l2(pixels, pixels, k=2).distances,
        "dssim": lambda: nearest_dssim(pixels, pixels, k=2, window=parameters.ssim_window).distances,
    }
    result = {}
    with progress("Calibrate reviewer (simulated)", total=len(parameters.metrics)) as advance:
        for metric in parameters.metrics:
            if metric in search:
                distances = search[metric]()
            else:
                features = featurisers[metric].features(pixels)
                distances = nearest_features(features, features, k=2).distances
            result[metric] = float(np.quantile(distances[:, 1], quantile))
            advance(1)
    return result


def simulated_reviews(waiting: Iterable[ReviewItem], decide_at: Mapping[str, float], *, stamp: Stamp) -> list[NeighborReview]:
    """Decisions about queue entries: a pair is a near-duplicate when its distance is at most ``decide_at`` of its metric."""
    return [
        NeighborReview(
            item.candidate_id,
            item.metric,
            tuple(n.reference for n in item.neighbors),
            tuple(n.reference for n in item.neighbors if n.distance <= decide_at.get(item.metric, -1.0)),
            REVIEWER,
            stamp.time,
        )
        for item in waiting
    ]
