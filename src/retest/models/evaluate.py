"""Run classifiers over images: each distinct image is decoded once for all models and all test sets, and a killed run resumes.

The engine is whatever stands behind :class:`retest.models.base.Classifier`; this module knows no deep-learning library.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from retest.errors import InputError, UsageError
from retest.models._prepared import Batch, EvaluationImage, ExcludedImage, Job, prepared
from retest.models._runs import ModelError, Run
from retest.models._sets import Distinct, EvaluationSet, predictions_of, set_run_key, take_finished
from retest.models.base import Classifier, UInt8Array
from retest.models.remote import Answer, Order, Ready, work
from retest.records import Predictions
from retest.settings import check_count, plain_numbers

__all__ = [
    "EvaluateParameters",
    "Evaluation",
    "EvaluationImage",
    "EvaluationProgress",
    "EvaluationSet",
    "ExcludedImage",
    "ModelFailure",
    "evaluate",
    "evaluate_sets",
    "set_run_key",
]


@dataclass(frozen=True, slots=True)
@plain_numbers
class EvaluateParameters:
    """How an evaluation runs. Only ``top_k`` changes what is stored."""

    batch_size: int = field(default=64, metadata={"help": "images per batch; also what is lost at most when a run is killed"})
    top_k: int = field(default=5, metadata={"help": "classes kept per image, best first; 0 keeps the scores of all classes"})
    batches_ahead: int = field(default=1, metadata={"help": "batches decoded while another is being classified"})

    def __post_init__(self) -> None:
        for name, smallest in (("batch_size", 1), ("top_k", 0), ("batches_ahead", 0)):
            check_count(name, getattr(self, name), low=smallest, remedy=f"Set {name} to {smallest} or more.")


@dataclass(frozen=True, slots=True)
class EvaluationProgress:
    """State after a batch: distinct images, and rows, which are pairs (image, classifier); ``rows_reused`` an earlier run had done."""

    images_done: int
    images_total: int
    images_excluded: int
    rows_reused: int
    rows_done: int = 0
    rows_total: int = 0


@dataclass(frozen=True, slots=True)
class ModelFailure:
    """A classifier that was given up, and why; what it had done before is kept for the next run."""

    model: str
    problem: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Predictions per test set and classifier, in the orders given, all over the same images; what was left out; what was noticed."""

    predictions: tuple[Predictions, ...]
    excluded: tuple[ExcludedImage, ...]
    notes: tuple[str, ...] = ()
    failures: tuple[ModelFailure, ...] = ()
    images: int = 0
    """Images of all test sets together."""
    distinct: int = 0
    """Distinct ones among them, which is how many were classified."""


Progress = Callable[[EvaluationProgress], None]
Recipes = Mapping[str, Callable[[], Classifier]]


def evaluate(
    images: Iterable[EvaluationImage | tuple[str, int, Callable[[], UInt8Array]]],
    classifiers: Sequence[Classifier],
    *,
    dataset: str,
    part_dir: Path | str,
    parameters: EvaluateParameters | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
    finished: Iterable[Predictions] = (),
) -> Evaluation:
    """Classify every image of one test set with every classifier: :func:`evaluate_sets` with one set named ``dataset``."""
    one = EvaluationSet(dataset, [EvaluationImage(*image) for image in images])
    return evaluate_sets(
        [one], classifiers, part_dir=part_dir, parameters=parameters, executor=executor, progress=progress, finished=finished
    )


def evaluate_sets(
    sets: Sequence[EvaluationSet],
    classifiers: Sequence[Classifier],
    *,
    part_dir: Path | str,
    parameters: EvaluateParameters | None = None,
    executor: Executor | None = None,
    executor_ended: tuple[type[Exception], ...] = (),
    lanes: int = 1,
    workers: Executor | None = None,
    workers_count: int = 1,
    recipes: Recipes | None = None,
    progress: Progress | None = None,
    finished: Iterable[Predictions] = (),
    keep_going: bool = False,
) -> Evaluation:
    """Classify the images of several test sets with every classifier; an image that several sets hold is decoded and classified once.

    Finished batches are kept under ``part_dir`` and reused by later calls with the same fingerprint, preprocessing and k, image by
    image; a killed call therefore continues at its batch. An image that cannot be decoded is tried again by the next call, and
    excluded from the results of all classifiers alike.

    Args:
        sets: with distinct names; images are held as ids, labels and loaders, never as pixels.
        classifiers: with distinct names.
        part_dir: folder of partial results.
        parameters: batch size, k, look-ahead.
        executor: decodes and preprocesses ahead of the classifiers; without one this happens in turn. A pool of processes needs
            loaders and preprocessing that can be pickled.
        executor_ended: errors by which it says that the process of a call has ended and that it goes on with others; the image that
            did it is then found and excluded.
        lanes: so many (batch, classifier) pairs are classified side by side, in threads. Classifiers without a true attribute
            ``thread_safe`` take one batch at a time.
        workers: decodes *and* classifies whole batches instead: processes with a GPU each, or a cluster. Loaders and recipes must be
            picklable, and mean the same there.
        workers_count: how many batches these can work on at the same time.
        recipes: classifier's name -> how a worker opens it; without one the classifier itself travels.
        progress: called after every batch, finished ones included.
        finished: predictions of earlier calls; those with the same run key are reused like partial results.
        keep_going: give up a classifier that fails, and go on with the others; by default its error ends the call.

    Raises:
        UsageError: no classifier, no set, or two of the same name.
        InputError: an image id appears twice in a set, a label is no class of some classifier, a classifier breaks its contract, or
            image after image ends the process that decodes it.
        StoreError: a partial result cannot be written.
    """
    parameters = parameters or EvaluateParameters()
    _check_names(sets, classifiers)
    for one in sets:
        _check_images(one.images, classifiers)
    distinct = Distinct(sets)
    runs = [Run(classifier, distinct.keys, distinct.row_of, Path(part_dir), parameters.top_k) for classifier in classifiers]
    take_finished(runs, distinct, finished, parameters.top_k)
    state = _State(len(distinct.images), runs, progress, keep_going)
    if workers is None:
        _here(distinct.images, runs, parameters, executor, executor_ended, lanes, state)
    else:
        _there(distinct.images, runs, parameters, workers, workers_count, recipes or {}, state)
    return _finish(distinct, runs, state.excluded, parameters.top_k)


def _check_names(sets: Sequence[EvaluationSet], classifiers: Sequence[Classifier]) -> None:
    if not classifiers:
        raise UsageError("no classifier given", item="classifiers", remedy="Name at least one model.")
    if not sets:
        raise UsageError("no test set given", item="sets", remedy="Name at least one.")
    for what, names in (("classifiers", [one.name for one in classifiers]), ("test sets", [one.name for one in sets])):
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise UsageError(f"two {what} of this name", item=repeated[0], remedy="Give each its own name.")


def _check_images(images: Sequence[EvaluationImage], classifiers: Sequence[Classifier]) -> None:
    seen = set()
    for image in images:
        if image.id in seen:
            raise InputError("appears twice in the image list", item=image.id, remedy="Give each image its own id.")
        seen.add(image.id)
    largest = max(images, key=lambda image: image.label, default=None)
    for classifier in classifiers:
        if largest is not None and largest.label >= classifier.num_classes:
            raise InputError(
                f"has label {largest.label}, {classifier.name} knows the classes 0 to {classifier.num_classes - 1}",
                item=largest.id,
                remedy="Choose a classifier of this benchmark, or map the labels.",
            )


class _State:
    """What has happened so far, told after every batch."""

    def __init__(self, total: int, runs: Sequence[Run], progress: Progress | None, keep_going: bool) -> None:
        self.excluded: dict[int, ExcludedImage] = {}
        self.keep_going = keep_going
        self._total, self._runs, self._progress = total, runs, progress
        self._reused = sum(int(run.done.sum()) for run in runs)
        self._seen = 0

    def batch_done(self, size: int) -> None:
        """Count a batch and tell."""
        self._seen += size
        if self._progress is not None:
            rows = sum(int(run.done.sum()) for run in self._runs)
            total = self._total * len(self._runs)
            self._progress(EvaluationProgress(self._seen, self._total, len(self.excluded), self._reused, rows, total))

    def failed(self, run: Run, error: ModelError) -> None:
        """Give a classifier up, or end the call."""
        if not self.keep_going:
            raise error
        run.failure = run.failure or str(error)


# ------------------------------------------------------------------------------------------------- in this process


def _here(
    images: Sequence[EvaluationImage],
    runs: Sequence[Run],
    parameters: EvaluateParameters,
    executor: Executor | None,
    ended: tuple[type[Exception], ...],
    lanes: int,
    state: _State,
) -> None:
    size = parameters.batch_size
    starts = range(0, len(images), size)
    batches = [(min(size, len(images) - start), _jobs_maker(images, runs, start, size)) for start in starts]
    with closing(prepared(batches, executor, ahead=parameters.batches_ahead, ended=ended)) as decoded, _lanes(lanes) as pool:
        waiting: deque[tuple[Batch, list[tuple[Run, Future[None]]]]] = deque()
        for batch in decoded:
            state.excluded.update(batch.excluded)
            if pool is None:
                for run in runs:
                    _classified(run, lambda run=run, batch=batch: run.classify(batch, images), state)  # type: ignore[misc]
                state.batch_done(batch.size)
                continue
            busy = [run for run in runs if run.waiting(batch)]
            waiting.append((batch, [(run, pool.submit(run.classify, batch, images)) for run in busy]))
            # With fewer units than lanes in a batch, further batches fill the lanes.
            while sum(len(units) for _, units in waiting) > lanes + len(runs) or len(waiting) > lanes + 1:
                _await_first(waiting, state)
        while waiting:
            _await_first(waiting, state)


def _jobs_maker(images: Sequence[EvaluationImage], runs: Sequence[Run], start: int, size: int) -> Callable[[], list[Job]]:
    def make() -> list[Job]:
        rows = range(start, min(start + size, len(images)))
        active = [run for run in runs if not run.failure]
        wanted = [row for row in rows if not all(run.done[row] for run in active)]
        return [Job(row, images[row], {run.input_name: run.classifier.preprocess for run in active if not run.done[row]}) for row in wanted]

    return make


def _await_first(waiting: deque[tuple[Batch, list[tuple[Run, Future[None]]]]], state: _State) -> None:
    batch, units = waiting.popleft()
    for run, future in units:
        _classified(run, future.result, state)
    state.batch_done(batch.size)


def _classified(run: Run, classify: Callable[[], None], state: _State) -> None:
    try:
        classify()
    except ModelError as error:
        state.failed(run, error)


@contextmanager
def _lanes(number: int) -> Iterator[ThreadPoolExecutor | None]:
    if number <= 1:
        yield None
        return
    pool = ThreadPoolExecutor(number, thread_name_prefix="retest-classify")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


# --------------------------------------------------------------------------------------------- in other processes


def _there(
    images: Sequence[EvaluationImage], runs: Sequence[Run], parameters: EvaluateParameters, workers: Executor, count: int, recipes: Recipes,
    state: _State,
) -> None:  # fmt: skip
    makers = [recipes.get(run.classifier.name) or Ready(run.classifier) for run in runs]
    waiting: deque[tuple[int, Future[tuple[dict[int, ExcludedImage], list[Answer | None]]] | None]] = deque()
    try:
        for start in range(0, len(images), parameters.batch_size):
            rows = range(start, min(start + parameters.batch_size, len(images)))
            orders = [_order(run, maker, rows) for run, maker in zip(runs, makers, strict=True)]
            wanted = sorted({row for order in orders if order is not None for row in order.rows})
            future = workers.submit(work, {row: images[row] for row in wanted}, orders) if wanted else None
            waiting.append((len(rows), future))
            if len(waiting) > count + parameters.batches_ahead:
                _take_answers(waiting, runs, state)
        while waiting:
            _take_answers(waiting, runs, state)
    finally:
        for _, future in waiting:
            if future is not None:
                future.cancel()


def _order(run: Run, maker: Callable[[], Classifier], rows: Iterable[int]) -> Order | None:
    wanted = tuple(row for row in rows if not run.done[row])
    return Order(maker, run.classifier.fingerprint, wanted, run.k) if wanted and not run.failure else None


def _take_answers(
    waiting: deque[tuple[int, Future[tuple[dict[int, ExcludedImage], list[Answer | None]]] | None]], runs: Sequence[Run], state: _State
) -> None:
    size, future = waiting.popleft()
    if future is not None:
        excluded, answers = future.result()
        state.excluded.update(excluded)
        for run, answer in zip(runs, answers, strict=True):
            if answer is not None:
                _take_answer(run, answer, state)
    state.batch_done(size)


def _take_answer(run: Run, answer: Answer, state: _State) -> None:
    if answer.failure:
        state.failed(run, ModelError(answer.failure))
    if answer.rows is not None and answer.top is not None and answer.scores is not None:
        run.keep(answer.rows, answer.top, answer.scores)
        run.provenance = answer.provenance
        run.notes.update(dict.fromkeys(answer.notes))


def _finish(distinct: Distinct, runs: Sequence[Run], excluded: Mapping[int, ExcludedImage], k: int) -> Evaluation:
    predictions: list[Predictions] = []
    left_out: list[ExcludedImage] = []
    for one, rows in zip(distinct.sets, distinct.rows, strict=True):
        bad = [position for position, row in enumerate(rows.tolist()) if row in excluded]
        named = [replace(excluded[int(rows[position])], id=one.images[position].id, dataset=one.name) for position in bad]
        left_out += named
        kept = np.delete(np.arange(len(rows)), bad)
        predictions += [predictions_of(one, run, rows, kept, named, k) for run in runs if not run.failure]
    notes = [f"{path} is damaged; its rows were computed again" for run in runs for path in run.parts.unreadable]
    notes += [note for run in runs for note in (*run.notes, *getattr(run.classifier, "notes", ()))]
    failures = tuple(ModelFailure(run.classifier.name, run.failure) for run in runs if run.failure)
    total = sum(len(one.images) for one in distinct.sets)
    return Evaluation(tuple(predictions), tuple(left_out), tuple(dict.fromkeys(notes)), failures, total, len(distinct.images))
