"""How much of a machine an evaluation uses: processes that decode, batches side by side, or other machines instead."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from retest.models import Classifier
from retest.settings import check_count, plain_numbers
from retest.stages._evaluation_sets import TestSet
from retest.stages._processes import IsolatingExecutor

_MOST_LANES = 8
_PROCESSES_FROM = 300
"""From so many images on, processes that decode are worth their start."""


@dataclass(frozen=True, slots=True, kw_only=True)
@plain_numbers
class Machine:
    """How much of this machine a run uses, or which other machines.

    Raises:
        ConfigError: a number is below 1.
    """

    workers: int = field(default=os.cpu_count() or 1, metadata={"help": "processes that decode images"})
    lanes: int = field(default=min(_MOST_LANES, os.cpu_count() or 1), metadata={"help": "batches classified side by side on the CPU"})
    cluster: Executor | None = None
    """Decodes and classifies whole batches instead: processes or a Dask cluster."""
    recipes: Mapping[str, Callable[[], Classifier]] = field(default_factory=dict)
    """How a worker of the cluster opens a model, by name."""

    def __post_init__(self) -> None:
        for name in ("workers", "lanes"):
            check_count(name, getattr(self, name), low=1, remedy="Use the number of cores")


@contextmanager
def decoders(sets: Sequence[TestSet], classifiers: Sequence[Classifier], images: int, machine: Machine) -> Iterator[Executor | None]:
    """What decodes ahead of the models: processes, or threads where there are few images or the parts cannot travel. A cluster decodes
    itself.
    """
    if machine.cluster is not None:
        yield None
        return
    pool: Executor
    if images >= _PROCESSES_FROM and _can_travel(sets, classifiers):
        pool = IsolatingExecutor(machine.workers, preload=("retest.models",))
    else:
        pool = ThreadPoolExecutor(machine.workers, thread_name_prefix="retest-decode")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _can_travel(sets: Sequence[TestSet], classifiers: Sequence[Classifier]) -> bool:
    parts = [one.images.images[0].load for one in sets if one.images.images] + [one.preprocess for one in classifiers]
    try:
        pickle.dumps(parts)
    except (pickle.PicklingError, AttributeError, TypeError):  # what pickle raises depends on the object
        return False
    return True


@contextmanager
def one_thread_each(machine: Machine) -> Iterator[None]:
    """While batches run side by side, each of them has one thread of PyTorch: more would fight over the same cores."""
    torch = sys.modules.get("torch")
    if torch is None or machine.lanes <= 1 or machine.cluster is not None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
