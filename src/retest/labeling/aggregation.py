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

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import overload

import numpy as np
from numpy.typing import NDArray

from retest.errors import ConfigError, InputError
from retest.records import VALID_STATUSES, Assignment, Hit

_F64 = NDArray[np.float64]
_ANSWERS_AT_ONCE = 2**20


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

    items: Sequence[tuple[str, str]]
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
        item_parts.append(page[1])
        selected_parts.append(_selections(page[0], assignment))
        worker_of_part.append(workers.setdefault(assignment.worker, len(workers)))
    lengths = [len(part) for part in item_parts]
    return Answers(
        items=tuple(items),
        workers=tuple(workers),
        item=np.concatenate(item_parts) if item_parts else np.zeros(0, np.int32),
        worker=np.repeat(np.array(worker_of_part, dtype=np.int32), lengths),
        selected=np.concatenate(selected_parts) if selected_parts else np.zeros(0, np.bool_),
    )


class AnswersByClass:
    """Collects :class:`Answers` class by class, with a few bytes per image of each page and answer, and nothing else but names.

    The result is that of :func:`collect_answers` given all HITs by their numbers and all assignments by HIT uuid and id.
    """

    def __init__(self) -> None:
        self._names: list[NDArray[np.bytes_]] = []  # of items, class by class
        self._wnids: list[str] = []
        self._firsts: list[NDArray[np.int64]] = []  # where each item was met first: number of the HIT, place on the page
        self._workers: dict[str, int] = {}
        self._uuids: list[bytes] = []
        self._parts: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_]]] = []  # per HIT: items, annotators, selections
        self._items = 0

    def add(self, wnid: str, hits: Iterable[tuple[int, Hit]], assignments: Iterable[Assignment]) -> None:
        """Add a class: its HITs that count with their numbers, and the assignments to them in the order in which they are to count."""
        items: dict[str, int] = {}
        firsts: list[tuple[int, int]] = []
        pages: dict[str, tuple[tuple[str, ...], NDArray[np.int32]]] = {}
        for number, hit in hits:
            images = tuple(dict.fromkeys(hit.images_all))
            for place, image in enumerate(images):
                if items.setdefault(image, len(items)) == len(firsts):
                    firsts.append((number, place))
            pages[hit.uuid] = (images, np.array([items[image] for image in images], dtype=np.int32) + np.int32(self._items))
        given: dict[str, list[tuple[int, NDArray[np.bool_]]]] = {}
        seen: set[str] = set()
        for assignment in assignments:
            page = pages.get(assignment.hit_uuid)
            if page is None or assignment.status not in VALID_STATUSES or assignment.id in seen:
                continue
            seen.add(assignment.id)
            worker = self._workers.setdefault(assignment.worker, len(self._workers))
            given.setdefault(assignment.hit_uuid, []).append((worker, _selections(page[0], assignment)))
        for uuid, answers in given.items():
            self._uuids.append(uuid.encode())
            workers = np.array([worker for worker, _ in answers], np.int32)
            self._parts.append((pages[uuid][1], workers, np.concatenate([selected for _, selected in answers])))
        self._names.append(np.array([image.encode() for image in items], dtype=np.bytes_))
        self._firsts.append(np.array(firsts, np.int64).reshape(-1, 2))
        self._wnids.append(wnid)
        self._items += len(items)

    def answers(self) -> Answers:
        """All answers. What was collected is used up."""
        order, items = self._ordered_items()
        place = np.empty(len(order), np.int32)
        place[order] = np.arange(len(order), dtype=np.int32)
        sizes = [len(selected) for *_, selected in self._parts]
        item, worker = np.empty(sum(sizes), np.int32), np.empty(sum(sizes), np.int32)
        chosen = np.empty(sum(sizes), np.bool_)
        at = 0
        numbers = np.full(len(self._workers), -1, np.int32)  # in the order in which annotators are met
        met = 0
        for part in sorted(range(len(self._parts)), key=self._uuids.__getitem__):
            shown, workers, selected = self._parts[part]
            for one in workers:
                if numbers[one] < 0:
                    numbers[one], met = met, met + 1
            end = at + len(selected)
            item[at:end] = np.tile(place[shown], len(workers))
            worker[at:end] = np.repeat(numbers[workers], len(shown))
            chosen[at:end] = selected
            at = end
            self._parts[part] = (shown, workers, selected[:0])
        named = sorted(self._workers.items(), key=lambda entry: numbers[entry[1]])
        return Answers(items, tuple(name for name, _ in named), item, worker, chosen)

    def _ordered_items(self) -> tuple[NDArray[np.int64], Sequence[tuple[str, str]]]:
        firsts = np.concatenate(self._firsts) if self._firsts else np.zeros((0, 2), np.int64)
        order = np.lexsort((firsts[:, 1], firsts[:, 0]))
        of_class = np.repeat(np.arange(len(self._names), dtype=np.int32), [len(names) for names in self._names])
        names = np.concatenate(self._names) if self._names else np.zeros(0, np.bytes_)
        return order, _Items(names[order], of_class[order], tuple(self._wnids))


@dataclass(frozen=True, slots=True, eq=False)
class _Items(Sequence[tuple[str, str]]):
    """(image id, wnid), made when asked for."""

    names: NDArray[np.bytes_]
    of_class: NDArray[np.int32]
    wnids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> tuple[str, str]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[tuple[str, str]]: ...
    def __getitem__(self, index: int | slice) -> tuple[str, str] | Sequence[tuple[str, str]]:
        if isinstance(index, slice):
            return _Items(self.names[index], self.of_class[index], self.wnids)
        return bytes(self.names[index]).decode(), self.wnids[self.of_class[index]]


def _selections(images: Sequence[str], assignment: Assignment) -> NDArray[np.bool_]:
    chosen = frozenset(assignment.selected)
    return np.fromiter((image in chosen for image in images), dtype=np.bool_, count=len(images))


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
