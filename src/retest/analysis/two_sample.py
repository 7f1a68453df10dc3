"""Can a classifier tell original from new images? A two-sample test on features."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retest.errors import InputError
from retest.settings import check_count, check_number, plain_numbers

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
@plain_numbers
class TwoSampleParameters:
    """How the two-sample test is made."""

    folds: int = field(default=5, metadata={"help": "parts of the cross-validation"})
    permutations: int = field(default=999, metadata={"help": "random relabellings that give the p-value"})
    components: int = field(default=128, metadata={"help": "principal components that the features are reduced to"})
    ridge: float = field(default=0.01, metadata={"help": "ridge penalty, relative to the variance of the components"})
    seed: int = field(default=0, metadata={"help": "seed of folds and permutations"})

    def __post_init__(self) -> None:
        check_count("folds", self.folds, low=2)
        check_count("permutations", self.permutations, low=19, remedy="19 give p-values down to 0.05")
        check_count("components", self.components, low=1)
        check_number("ridge", self.ridge, ends=False)
        check_count("seed", self.seed, high=2**32 - 1, remedy="Any such seed will do")  # scikit-learn takes no larger one


@dataclass(frozen=True, slots=True)
class TwoSampleTest:
    """Result of the test. ``auc`` is 0.5 when the sets cannot be told apart, 1 when always.

    ``null_auc_high`` is the 95 % quantile of the AUC under random relabelling. ``balanced_accuracy`` is the mean of the
    shares of original and of new images recognised, out of fold.
    """

    n_original: int
    n_new: int
    n_features: int
    auc: float
    balanced_accuracy: float
    p_value: float
    null_auc_mean: float
    null_auc_high: float
    parameters: TwoSampleParameters


def two_sample_test(
    original: ArrayLike, new: ArrayLike, *, strata: tuple[ArrayLike, ArrayLike] | None = None, parameters: TwoSampleParameters | None = None
) -> TwoSampleTest:
    """Classifier two-sample test with cross-validation and a permutation p-value (Lopez-Paz & Oquab 2017).

    A ridge classifier on standardised principal components scores each image out of fold; the statistic is the mean AUC
    over folds. The null distribution gives the labels "original" and "new" out anew at random and repeats the whole
    cross-validation; folds and components do not depend on the labels, so the p-value
    ``(1 + #{AUC_permuted >= AUC}) / (1 + permutations)`` is exact under the hypothesis that the images of both sets are
    exchangeable. The ridge solution is linear in the labels, so all permutations cost one factorisation per fold.

    Args:
        original: features of original images, (n1, d), finite.
        new: features of new images, (n2, d).
        strata: class of each original and of each new image; labels are then exchanged only within a class, which
            removes differences that come from unequal class shares.
        parameters: see :class:`TwoSampleParameters`.

    Raises:
        InputError: shapes do not fit, values are not finite, or there are fewer images than two per fold in a set.
    """
    parameters = parameters or TwoSampleParameters()
    x, is_new, groups = _join(original, new, strata, parameters.folds)
    rng = np.random.default_rng(parameters.seed)
    order = rng.permutation(len(x))  # ties in the scores must not be broken by the set an image is in
    x, is_new, groups = _components(x[order], parameters), is_new[order], groups[order]
    labels = np.concatenate([is_new[None], _permuted(is_new, groups, parameters.permutations, rng)])
    fold = rng.permutation(len(x)) % parameters.folds
    auc, balanced = _cross_validate(x, labels, fold, parameters)
    null = auc[1:]
    return TwoSampleTest(
        n_original=int((~is_new).sum()),
        n_new=int(is_new.sum()),
        n_features=np.asarray(new).shape[1],
        auc=float(auc[0]),
        balanced_accuracy=balanced,
        p_value=float((1 + (null >= auc[0]).sum()) / (1 + len(null))),
        null_auc_mean=float(null.mean()),
        null_auc_high=float(np.quantile(null, 0.95)),
        parameters=parameters,
    )


def _join(
    original: ArrayLike, new: ArrayLike, strata: tuple[ArrayLike, ArrayLike] | None, folds: int
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.intp]]:
    sets = [np.asarray(part, dtype=np.float64) for part in (original, new)]
    if any(part.ndim != 2 for part in sets) or sets[0].shape[1] != sets[1].shape[1]:
        raise InputError(f"features of shapes {sets[0].shape} and {sets[1].shape} do not fit", remedy="Give (n1, d) and (n2, d).")
    for name, part in zip(("original", "new"), sets, strict=True):
        if not np.isfinite(part).all():
            raise InputError("features are not finite", item=name, remedy="Leave out images whose features failed.")
        if len(part) < 2 * folds:
            raise InputError(f"{len(part)} images are too few for {folds} folds", item=name, remedy="Give more images or use fewer folds.")
    x = np.concatenate(sets)
    groups = np.zeros(len(x), dtype=np.intp)
    if strata is not None:
        names = np.concatenate([np.asarray(part) for part in strata])
        if len(names) != len(x):
            raise InputError(f"{len(names)} strata for {len(x)} images", item="strata", remedy="Give one class per image of both sets.")
        groups = np.unique(names, return_inverse=True)[1].astype(np.intp)
    return x, np.arange(len(x)) >= len(sets[0]), groups


def _components(x: Floats, parameters: TwoSampleParameters) -> Floats:
    """Principal components with unit variance, computed without the labels, (n, <= components)."""
    from sklearn.decomposition import PCA  # heavy to import, and only needed here

    if (x == x[0]).all():
        raise InputError("all images have the same features", remedy="Use features that differ between images.")
    number = min(parameters.components, x.shape[1], len(x) - 1)
    solver = "covariance_eigh" if x.shape[1] <= min(len(x), 1024) else "randomized" if number < 0.2 * min(x.shape) else "full"
    scores: Floats = PCA(number, svd_solver=solver, iterated_power=3, random_state=parameters.seed).fit_transform(x)
    spread = scores.std(axis=0)
    varies = spread > 1e-9 * max(float(spread.max()), np.finfo(np.float64).tiny)
    scaled: Floats = scores[:, varies] / spread[varies]
    return scaled


def _permuted(is_new: NDArray[np.bool_], groups: NDArray[np.intp], permutations: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Labels exchanged at random within groups, (permutations, n)."""
    result = np.repeat(is_new[None], permutations, axis=0)
    by_group = np.argsort(groups, kind="stable")
    for members in np.split(by_group, np.flatnonzero(np.diff(groups[by_group])) + 1):
        result[:, members] = rng.permuted(result[:, members], axis=1)
    return result


def _cross_validate(x: Floats, labels: NDArray[np.bool_], fold: NDArray[np.intp], parameters: TwoSampleParameters) -> tuple[Floats, float]:
    """Mean AUC over folds for each labelling, (p,), and the balanced accuracy of the first."""
    aucs, recognised = [], np.empty(len(x), dtype=np.bool_)
    for part in range(parameters.folds):
        train, test = fold != part, fold == part
        centre = x[train].mean(axis=0)
        design = x[train] - centre
        gram = design.T @ design
        gram[np.diag_indices_from(gram)] += parameters.ridge * len(design)
        targets = labels[:, train].T.astype(np.float64)
        weights = np.linalg.solve(gram, design.T @ (targets - targets.mean(axis=0)))
        scores = weights.T @ (x[test] - centre).T
        aucs.append(_auc(scores, labels[:, test]))
        fitted, truth = design @ weights[:, 0], labels[0, train]
        recognised[test] = (scores[0] > 0.5 * (fitted[truth].mean() + fitted[~truth].mean())) == labels[0, test]
    balanced = 0.5 * (recognised[labels[0]].mean() + recognised[~labels[0]].mean())
    return np.mean(aucs, axis=0), float(balanced)


def _auc(scores: Floats, positive: NDArray[np.bool_]) -> Floats:
    """Area under the ROC curve of each row by the rank-sum formula; 0.5 where one kind is missing, (p,)."""
    by_score = np.take_along_axis(positive, np.argsort(scores, axis=1), axis=1)
    n1 = positive.sum(axis=1)
    pairs = n1 * (scores.shape[1] - n1)
    u = by_score @ np.arange(1.0, scores.shape[1] + 1.0) - n1 * (n1 + 1) / 2
    auc: Floats = np.divide(u, pairs, out=np.full(len(pairs), 0.5), where=pairs > 0)
    return auc
