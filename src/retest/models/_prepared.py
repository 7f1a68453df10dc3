"""Decoding: every image once, in all the forms that the models of a run need, some batches ahead of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retest.errors import ImageError, InputError
from retest.models.base import UInt8Array

_CHUNK = 8
"""Images per task of the executor: enough to make its cost small, few enough to keep all its workers busy."""
_CRASHES_IN_A_ROW = 20
"""So many images that end their process one after the other are no fault of the images."""

Ended = tuple[type[Exception], ...]
"""By what an executor says that the process of a call has ended, and that it can go on with others."""

Preprocessor = Callable[[UInt8Array], NDArray[Any]]


class EvaluationImage(NamedTuple):
    """An image to classify.

    ``label`` is the true class index, -1 where unknown. ``load`` gives upright RGB, uint8 (height, width, 3), and raises
    :class:`~retest.errors.ImageError` when the image cannot be used. ``version`` says which content the id stands for (its hash,
    say): results of another version are not reused, and images of equal version, whatever they are called and in whichever data
    sets they are, are classified once. Without it the id stands for the content, within its data set.
    """

    id: str
    label: int
    load: Callable[[], UInt8Array]
    version: str = ""


@dataclass(frozen=True, slots=True)
class ExcludedImage:
    """An image that no classifier is judged on because it could not be decoded."""

    id: str
    reason: str
    problem: str
    dataset: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """A decoded image: its row in the run, and the model input per distinct preprocessing."""

    row: int
    inputs: Mapping[str, NDArray[Any]]
    excluded: ExcludedImage | None = None


class Batch:
    """Decoded images that are classified together; ``size`` counts the finished ones of the batch as well."""

    def __init__(self, size: int, items: Sequence[Item]) -> None:
        self.size = size
        self.items = [item for item in items if item.excluded is None]
        self.excluded = {item.row: item.excluded for item in items if item.excluded is not None}
        self._stacked: dict[str, NDArray[Any]] = {}

    def stacked(self, name: str, items: Sequence[Item]) -> NDArray[Any]:
        """The inputs of some of the items as one array; models that classify all of them share it."""
        if len(items) < len(self.items):
            return np.stack([item.inputs[name] for item in items])
        if name not in self._stacked:
            self._stacked[name] = np.stack([item.inputs[name] for item in items])
        return self._stacked[name]


@dataclass(frozen=True, slots=True)
class Job:
    """One image to decode, and what to make of it."""

    row: int
    image: EvaluationImage
    preprocessors: Mapping[str, Preprocessor]


def prepared(
    batches: Sequence[tuple[int, Callable[[], list[Job]]]], executor: Executor | None, *, ahead: int, ended: Ended = ()
) -> Generator[Batch, None, None]:
    """Decode batch after batch, at most ``ahead`` of them in advance; each is given by its size and what makes its jobs.

    An image that ends the process which decodes it is excluded, where the executor says so with one of ``ended`` and goes on.

    Raises:
        InputError: image after image ends its process.
    """
    waiting: deque[tuple[int, list[_Chunk]]] = deque()
    crashes = _Crashes(ended)
    try:
        for size, make in batches:
            jobs = make()
            if executor is None:
                yield Batch(size, prepare(jobs))
                continue
            chunks = [jobs[start : start + _CHUNK] for start in range(0, len(jobs), _CHUNK)]
            waiting.append((size, [(chunk, executor.submit(prepare, chunk)) for chunk in chunks]))
            if len(waiting) > ahead:
                yield _collect(waiting, executor, crashes)
        while waiting and executor is not None:
            yield _collect(waiting, executor, crashes)
    finally:
        for _, chunks_left in waiting:
            for _, future in chunks_left:
                future.cancel()


_Chunk = tuple[list[Job], Future[list[Item]]]


def _collect(waiting: deque[tuple[int, list[_Chunk]]], executor: Executor, crashes: _Crashes) -> Batch:
    size, chunks = waiting[0]
    items = [item for jobs, future in chunks for item in crashes.result(jobs, future, executor)]
    waiting.popleft()
    return Batch(size, items)


class _Crashes:
    """Finds the images of a chunk that ended its process, and counts how many did in a row."""

    def __init__(self, ended: Ended) -> None:
        self._ended, self._in_a_row = ended, 0

    def result(self, jobs: Sequence[Job], future: Future[list[Item]], executor: Executor) -> list[Item]:
        """The items of a chunk; where it ended its process, of its images one by one."""
        try:
            items = future.result()
        except self._ended as error:
            if len(jobs) == 1:
                return [self._crashed(jobs[0], error)]
            return [item for job in jobs for item in self.result([job], executor.submit(prepare, [job]), executor)]
        self._in_a_row = 0
        return items

    def _crashed(self, job: Job, error: Exception) -> Item:
        self._in_a_row += 1
        if self._in_a_row >= _CRASHES_IN_A_ROW:
            problem = f"{self._in_a_row} images in a row ended the process that decoded them ({error})"
            raise InputError(
                problem, item=job.image.id, remedy="Check the installation of Pillow and the memory; then run again"
            ) from error
        problem = f"the process that decoded it ended ({error})"
        from retest.images import DECODER_CRASHED  # Pillow comes with it, which those who only name models do without

        return Item(job.row, {}, ExcludedImage(job.image.id, DECODER_CRASHED, problem))


def prepare(jobs: Sequence[Job]) -> list[Item]:
    """Decode some images; what cannot be decoded comes back as excluded.

    Raises:
        InputError: a loader gives something else than an RGB image.
    """
    return [_prepare(job) for job in jobs]


def _prepare(job: Job) -> Item:
    try:
        rgb = job.image.load()
    except ImageError as error:
        return Item(job.row, {}, ExcludedImage(job.image.id, error.reason, error.problem))
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        problem = f"its loader gave {rgb.dtype} {rgb.shape}"
        raise InputError(problem, item=job.image.id, remedy="A loader must give upright RGB, uint8 (height, width, 3).")
    return Item(job.row, {}, None) if not job.preprocessors else Item(job.row, {n: f(rgb) for n, f in job.preprocessors.items()})


def input_name(classifier: Any) -> str:
    """What pins a classifier's input: ``shared_input`` where it has that, else its preprocessing."""
    return str(getattr(classifier, "shared_input", None) or classifier.preprocessing)
