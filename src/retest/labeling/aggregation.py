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

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from retest.labeling.answers import Answers
from retest.settings import check_count, check_number, plain_numbers

_F64 = NDArray[np.float64]
_ANSWERS_AT_ONCE = 2**20


@dataclass(frozen=True, slots=True)
@plain_numbers
class AggregationParameters:
    """How the label models are fitted."""

    max_iterations: int = field(default=200, metadata={"help": "most rounds of expectation-maximisation"})
    tolerance: float = field(default=1e-6, metadata={"help": "stop when no posterior changes by more than this"})
    pseudo_count: float = field(
        default=0.01, metadata={"help": "imaginary answers of each kind per annotator; keeps estimates off 0 and 1"}
    )

    def __post_init__(self) -> None:
        check_count("max_iterations", self.max_iterations, low=1, remedy="200 is enough.")
        check_number("tolerance", self.tolerance, high=1.0, remedy="1e-6 is the default.")
        check_number("pseudo_count", self.pseudo_count, ends=False, remedy="0.01 is the default.")


@dataclass(frozen=True, slots=True, eq=False)
class LabelModel:
    """A fitted model. ``posterior`` is P(t_i = 1 | all answers), float64 (items,), NaN for a pair without answers."""

    method: str
    items: Sequence[tuple[str, str]]
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


def dawid_skene(answers: Answers, parameters: AggregationParameters | None = None) -> LabelModel:
    """Dawid-Skene: a confusion matrix per annotator.

    E step: P(t_i = t) proportional to P(t) prod over answers of i of pi_j[t, a]. M step, with eps the pseudo-count:
    pi_j[t, a] = (eps + sum of P(t_i = t) over j's answers a) / (2 eps + the same over all of j's answers), and
    P(t) = mean over i of P(t_i = t).

    Args:
        answers: see :func:`~retest.labeling.collect_answers`.
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
class _Some:
    """Some answers: indices of pair and annotator, and the answer, all (n,)."""

    item: NDArray[np.int32]
    worker: NDArray[np.int32]
    answer: NDArray[np.int8]


_Weights = Callable[[_Some], _F64]
"""Answers -> their weights, float64 (n,)."""


@dataclass(slots=True)
class _Data:
    """Answers reduced to sums, part after part: only how often annotator j gave answer a to pair i matters."""

    item: NDArray[np.int32]
    worker: NDArray[np.int32]
    answer: NDArray[np.int8]
    items: int
    workers: int

    def parts(self) -> Iterator[_Some]:
        for start in range(0, len(self.item), _ANSWERS_AT_ONCE):
            part = slice(start, start + _ANSWERS_AT_ONCE)
            yield _Some(self.item[part], self.worker[part], self.answer[part])

    def per_worker_and_answer(self, weights: _Weights) -> _F64:
        """Sum of weights by annotator and answer, float64 (workers, 2)."""
        sums = np.zeros(2 * self.workers)
        for part in self.parts():  # added one by one, so that the sum does not depend on the parts
            np.add.at(sums, part.worker.astype(np.int64) * 2 + part.answer, weights(part))
        return sums.reshape(self.workers, 2)

    def per_item(self, weights: _Weights) -> _F64:
        """Sum of weights by pair, float64 (items,)."""
        sums = np.zeros(self.items)
        for part in self.parts():
            np.add.at(sums, part.item, weights(part))
        return sums

    def per_worker(self) -> NDArray[np.int64]:
        """Number of answers by annotator, (workers,)."""
        return sum((np.bincount(part.worker, minlength=self.workers) for part in self.parts()), np.zeros(self.workers, np.int64))


@dataclass(slots=True)
class _State:
    confusion: _F64
    accuracy: _F64 | None = None
    habit: _F64 | None = None


_Step = Callable[[_Data, _F64, _State | None, float], _State]


def _fit(method: str, answers: Answers, parameters: AggregationParameters, step: _Step, *, estimate_prior: bool = True) -> LabelModel:
    data = _Data(answers.item, answers.worker, answers.selected.view(np.int8), len(answers.items), len(answers.workers))
    number = data.per_item(lambda some: np.ones(len(some.item)))
    answered = number > 0
    posterior = data.per_item(lambda some: some.answer.astype(np.float64)) / np.maximum(number, 1)
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
    joint = np.stack([data.per_item(partial(_looked_up, np.ascontiguousarray(log_confusion[:, truth]))) for truth in (0, 1)])
    joint = joint + np.log([[1 - prior], [prior]])
    evidence = np.logaddexp(joint[0], joint[1])
    return np.exp(joint[1] - evidence), float(evidence.sum())


def _dawid_skene_step(data: _Data, posterior: _F64, state: _State | None, pseudo_count: float) -> _State:
    wrong = data.per_worker_and_answer(lambda some: 1 - posterior[some.item])
    sums = np.stack([wrong, data.per_worker_and_answer(lambda some: posterior[some.item])], axis=1) + pseudo_count
    return _State(confusion=sums / sums.sum(axis=2, keepdims=True))


def _one_coin_step(data: _Data, posterior: _F64, state: _State | None, pseudo_count: float) -> _State:
    right = data.per_worker_and_answer(partial(_right, posterior)).sum(axis=1)
    number = data.per_worker()
    p = (pseudo_count + right) / (2 * pseudo_count + number)
    return _State(confusion=np.stack([np.stack([p, 1 - p], axis=1), np.stack([1 - p, p], axis=1)], axis=1), accuracy=p)


def _mace_step(data: _Data, posterior: _F64, state: _State | None, pseudo_count: float) -> _State:
    number = data.per_worker()
    if state is None or state.accuracy is None or state.habit is None:
        given = data.per_worker_and_answer(lambda some: np.ones(len(some.item))) + pseudo_count
        theta = (pseudo_count + data.per_worker_and_answer(partial(_right, posterior)).sum(axis=1)) / (2 * pseudo_count + number)
        habit = given / given.sum(axis=1, keepdims=True)
    else:
        meant = partial(_meant, posterior, state.accuracy, state.habit)
        spam = data.per_worker_and_answer(lambda some: 1 - meant(some)) + pseudo_count
        theta = (pseudo_count + data.per_worker_and_answer(meant).sum(axis=1)) / (2 * pseudo_count + number)
        habit = spam / spam.sum(axis=1, keepdims=True)
    confusion = (1 - theta)[:, None, None] * habit[:, None, :] + theta[:, None, None] * np.eye(2)
    return _State(confusion=confusion, accuracy=theta, habit=habit)


def _looked_up(table: _F64, some: _Some) -> _F64:
    """Value of a table (workers, 2), by answer."""
    values: _F64 = table[some.worker, some.answer]
    return values


def _right(posterior: _F64, some: _Some) -> _F64:
    """P(the answer is true), by answer."""
    truth = posterior[some.item]
    return np.where(some.answer == 1, truth, 1 - truth)


def _meant(posterior: _F64, accuracy: _F64, habit: _F64, some: _Some) -> _F64:
    """P(the answer is true and was meant), by answer."""
    by_theta = accuracy[some.worker]
    by_habit = (1 - by_theta) * habit[some.worker, some.answer]
    return _right(posterior, some) * by_theta / (by_theta + by_habit)
