"""Model-based posteriors of "this image shows the class" beside the raw selection frequency.

All models see the same answers: annotator j gave image-class pair i the answer a in {0 = left, 1 = selected}; the true
label t_i in {0, 1} is hidden. Each is fitted by expectation-maximisation from the same start, the selection frequency, so
that the result is deterministic and label 1 keeps its meaning.

- :func:`dawid_skene`: each annotator has a confusion matrix pi_j[t, a] (Dawid and Skene 1979).
- :func:`one_coin`: each annotator has one probability of being right, pi_j[t, a] = p_j if a = t else 1 - p_j.
- :func:`mace`: an annotator answers truly with probability theta_j and else spams with answer a with probability xi_j[a]:
  P(a | t) = theta_j [a = t] + (1 - theta_j) xi_j[a] (Hovy, Berg-Kirkpatrick, Vaswani and Hovy 2013).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from retest.errors import ConfigError, InputError
from retest.records import VALID_STATUSES, Assignment, Hit

_F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AggregationParameters:
    """How the label models are fitted."""

    max_iterations: int = field(default=200, metadata={"help": "most rounds of expectation-maximisation"})
    tolerance: float = field(default=1e-6, metadata={"help": "stop when no posterior changes by more than this"})
    pseudo_count: float = field(
        default=0.01, metadata={"help": "imaginary answers of each kind per annotator; keeps estimates off 0 and 1"}
    )

    def __post_init__(self) -> None:
        if isinstance(self.max_iterations, bool) or not isinstance(self.max_iterations, int) or self.max_iterations < 1:
            raise ConfigError(
                f"must be a whole number of at least 1, not {self.max_iterations!r}", item="max_iterations", remedy="200 is enough."
            )
        if not 0 <= self.tolerance < 1:
            raise ConfigError(f"must be between 0 and 1, not {self.tolerance!r}", item="tolerance", remedy="1e-6 is the default.")
        if not 0 < self.pseudo_count < float("inf"):
            raise ConfigError(f"must be above 0, not {self.pseudo_count!r}", item="pseudo_count", remedy="0.01 is the default.")


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """All valid answers as arrays of equal length: ``item`` and ``worker`` int32 indices into the names, ``selected`` bool."""

    items: tuple[tuple[str, str], ...]
    """(image id, wnid), in the order in which the HITs brought them."""
    workers: tuple[str, ...]
    item: NDArray[np.int32]
    worker: NDArray[np.int32]
    selected: NDArray[np.bool_]

    def __post_init__(self) -> None:
        shapes = {self.item.shape, self.worker.shape, self.selected.shape}
        if len(shapes) != 1 or self.item.ndim != 1:
            raise InputError("item, worker and selected must be vectors of equal length", item="answers", remedy="Use collect_answers.")
        for name, index, names in (("item", self.item, self.items), ("worker", self.worker, self.workers)):
            if index.size and (int(index.min()) < 0 or int(index.max()) >= len(names)):
                raise InputError(f"{name} holds an index outside its names", item="answers", remedy="Use collect_answers.")


@dataclass(frozen=True, slots=True, eq=False)
class LabelModel:
    """A fitted model. ``posterior`` is P(t_i = 1 | all answers), float64 (items,), NaN for a pair without answers."""

    method: str
    items: tuple[tuple[str, str], ...]
    posterior: _F64
    prior: float
    """Estimated share of pairs that show their class; 0.5 by definition for MACE."""
    workers: tuple[str, ...]
    accuracy: _F64
    """P(annotator answers truly), float64 (workers,): under the prior for Dawid-Skene, p_j for one-coin, theta_j for MACE."""
    confusion: _F64
    """P(answer a | truth t) per annotator, float64 (workers, 2, 2), rows t, columns a."""
    iterations: int
    converged: bool
    log_likelihood: float
    """Log-likelihood of the answers under the final parameters, without the pseudo-counts."""


def collect_answers(hits: Iterable[Hit], assignments: Iterable[Assignment], *, excluded_hits: Collection[str] = ()) -> Answers:
    """Turn HITs and valid assignments into arrays; the same rules as for selection frequencies decide what counts.

    Memory is about nine bytes per (assignment, image) beside the HITs.
    """
    excluded = frozenset(excluded_hits)
    items: dict[tuple[str, str], int] = {}
    workers: dict[str, int] = {}
    pages: dict[str, tuple[tuple[str, ...], NDArray[np.int32]]] = {}
    for hit in hits:
        if hit.uuid not in excluded:
            images = tuple(dict.fromkeys(hit.images_all))
            pages[hit.uuid] = (images, np.array([items.setdefault((image, hit.wnid), len(items)) for image in images], dtype=np.int32))
    item_parts: list[NDArray[np.int32]] = []
    selected_parts: list[NDArray[np.bool_]] = []
    worker_of_part: list[int] = []
    seen: set[str] = set()
    for assignment in assignments:
        page = pages.get(assignment.hit_uuid)
        if page is None or assignment.status not in VALID_STATUSES or assignment.id in seen:
            continue
        seen.add(assignment.id)
        chosen = frozenset(assignment.selected)
        item_parts.append(page[1])
        selected_parts.append(np.fromiter((image in chosen for image in page[0]), dtype=np.bool_, count=len(page[0])))
        worker_of_part.append(workers.setdefault(assignment.worker, len(workers)))
    lengths = [len(part) for part in item_parts]
    return Answers(
        items=tuple(items),
        workers=tuple(workers),
        item=np.concatenate(item_parts) if item_parts else np.zeros(0, np.int32),
        worker=np.repeat(np.array(worker_of_part, dtype=np.int32), lengths),
        selected=np.concatenate(selected_parts) if selected_parts else np.zeros(0, np.bool_),
    )


def dawid_skene(answers: Answers, parameters: AggregationParameters | None = None) -> LabelModel:
    """Dawid-Skene: a confusion matrix per annotator.

    E step: P(t_i = t) proportional to P(t) prod over answers of i of pi_j[t, a]. M step, with eps the pseudo-count:
    pi_j[t, a] = (eps + sum of P(t_i = t) over j's answers a) / (2 eps + the same over all of j's answers), and
    P(t) = mean over i of P(t_i = t).

    Args:
        answers: see :func:`collect_answers`.
        parameters: iterations, tolerance, pseudo-count.

    References:
        Dawid and Skene (1979), Maximum likelihood estimation of observer error-rates using the EM algorithm.
    """
    return _fit("dawid_skene", answers, parameters or AggregationParameters(), _dawid_skene_step)


def one_coin(answers: Answers, parameters: AggregationParameters | None = None) -> LabelModel:
    """One-coin Dawid-Skene: one probability of being right per annotator.

    M step: p_j = (eps + sum of P(t_i = a) over j's answers a) / (2 eps + number of j's answers); else as
    :func:`dawid_skene`.

    References:
        Zhang, Chen, Zhou and Jordan (2016), Spectral methods meet EM, section 2 (the one-coin model).
    """
    return _fit("one_coin", answers, parameters or AggregationParameters(), _one_coin_step)


def mace(answers: Answers, parameters: AggregationParameters | None = None) -> LabelModel:
    """MACE: an annotator either answers truly (probability theta_j) or spams by habit xi_j.

    E step: for an answer a under truth t the probability that it was meant is g = theta_j [a = t] / P(a | t). M step:
    theta_j = (eps + sum g) / (2 eps + number of j's answers), xi_j[a] = (eps + sum of 1 - g over j's answers a) / (2 eps +
    sum of 1 - g over j's answers), both sums weighted by P(t_i = t); the prior of t is uniform, as in the paper.
    Start: theta_j from the agreement with the selection frequencies, xi_j from j's own share of selections.

    References:
        Hovy, Berg-Kirkpatrick, Vaswani and Hovy (2013), Learning whom to trust with MACE.
    """
    return _fit("mace", answers, parameters or AggregationParameters(), _mace_step, estimate_prior=False)


# ------------------------------------------------------------------------------------------------------ the fits


@dataclass(slots=True)
class _Data:
    """Answers reduced to sums: only how often annotator j gave answer a to pair i matters, and pairs are indexed by answer."""

    item: NDArray[np.int32]
    worker: NDArray[np.int32]
    answer: NDArray[np.int8]
    items: int
    workers: int

    def per_worker_and_answer(self, weights: _F64) -> _F64:
        """Sum of weights (one per answer) by annotator and answer, float64 (workers, 2)."""
        index = self.worker.astype(np.int64) * 2 + self.answer
        sums: _F64 = np.bincount(index, weights=weights, minlength=2 * self.workers).astype(np.float64)
        return sums.reshape(self.workers, 2)


@dataclass(slots=True)
class _State:
    confusion: _F64
    accuracy: _F64 | None = None
    habit: _F64 | None = None


_Step = Callable[[_Data, _F64, _State | None, float], _State]


def _fit(method: str, answers: Answers, parameters: AggregationParameters, step: _Step, *, estimate_prior: bool = True) -> LabelModel:
    data = _Data(answers.item, answers.worker, answers.selected.astype(np.int8), len(answers.items), len(answers.workers))
    number = np.bincount(data.item, minlength=data.items)
    answered = number > 0
    posterior = np.bincount(data.item, weights=data.answer, minlength=data.items) / np.maximum(number, 1)
    state: _State | None = None
    converged = False
    prior, iterations, log_likelihood = 0.5, 0, 0.0
    while not converged and iterations < parameters.max_iterations:
        iterations += 1
        state = step(data, posterior, state, parameters.pseudo_count)
        if estimate_prior:
            prior = _prior(posterior[answered], parameters.pseudo_count)
        updated, log_likelihood = _expect(data, state.confusion, prior)
        converged = float(np.max(np.abs(updated - posterior)[answered], initial=0.0)) <= parameters.tolerance
        posterior = updated
    confusion = state.confusion if state is not None else np.zeros((0, 2, 2))
    if state is not None and state.accuracy is not None:
        accuracy = state.accuracy
    else:
        accuracy = (1 - prior) * confusion[:, 0, 0] + prior * confusion[:, 1, 1]
    return LabelModel(
        method=method,
        items=answers.items,
        posterior=np.where(answered, posterior, np.nan),
        prior=prior,
        workers=answers.workers,
        accuracy=accuracy,
        confusion=confusion,
        iterations=iterations,
        converged=converged,
        log_likelihood=log_likelihood,
    )


def _prior(posterior: _F64, pseudo_count: float) -> float:
    return float((pseudo_count + posterior.sum()) / (2 * pseudo_count + len(posterior)))


def _expect(data: _Data, confusion: _F64, prior: float) -> tuple[_F64, float]:
    log_confusion = np.log(confusion)
    # log P(answers of i, t_i = t) for t = 0 and 1
    joint = np.stack(
        [np.bincount(data.item, weights=log_confusion[data.worker, truth, data.answer], minlength=data.items) for truth in (0, 1)]
    )
    joint = joint + np.log([[1 - prior], [prior]])
    evidence = np.logaddexp(joint[0], joint[1])
    return np.exp(joint[1] - evidence), float(evidence.sum())


def _dawid_skene_step(data: _Data, posterior: _F64, state: _State | None, pseudo_count: float) -> _State:
    truth = posterior[data.item]
    sums = np.stack([data.per_worker_and_answer(1 - truth), data.per_worker_and_answer(truth)], axis=1) + pseudo_count
    return _State(confusion=sums / sums.sum(axis=2, keepdims=True))


def _one_coin_step(data: _Data, posterior: _F64, state: _State | None, pseudo_count: float) -> _State:
    truth = posterior[data.item]
    right = data.per_worker_and_answer(np.where(data.answer == 1, truth, 1 - truth)).sum(axis=1)
    number = np.bincount(data.worker, minlength=data.workers)
    p = (pseudo_count + right) / (2 * pseudo_count + number)
    return _State(confusion=np.stack([np.stack([p, 1 - p], axis=1), np.stack([1 - p, p], axis=1)], axis=1), accuracy=p)


def _mace_step(data: _Data, posterior: _F64, state: _State | None, pseudo_count: float) -> _State:
    truth = posterior[data.item]
    right = np.where(data.answer == 1, truth, 1 - truth)
    number = np.bincount(data.worker, minlength=data.workers)
    if state is None or state.accuracy is None or state.habit is None:
        given = data.per_worker_and_answer(np.ones(len(data.item))) + pseudo_count
        theta = (pseudo_count + data.per_worker_and_answer(right).sum(axis=1)) / (2 * pseudo_count + number)
        habit = given / given.sum(axis=1, keepdims=True)
    else:
        by_theta = state.accuracy[data.worker]
        by_habit = (1 - by_theta) * state.habit[data.worker, data.answer]
        meant = right * by_theta / (by_theta + by_habit)
        spam = data.per_worker_and_answer(1 - meant) + pseudo_count
        theta = (pseudo_count + data.per_worker_and_answer(meant).sum(axis=1)) / (2 * pseudo_count + number)
        habit = spam / spam.sum(axis=1, keepdims=True)
    confusion = (1 - theta)[:, None, None] * habit[:, None, :] + theta[:, None, None] * np.eye(2)
    return _State(confusion=confusion, accuracy=theta, habit=habit)
