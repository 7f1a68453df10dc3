"""Where a heavy command computes: in this process, in processes of this machine, or on a Dask cluster."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import click

from retest.cli._common import F
from retest.study.executor import EXECUTOR_KINDS, ExecutorOptions, open_executor

_PROCESSES = "processes"


@dataclass(frozen=True, slots=True)
class Where:
    """What ``--executor`` and ``--scheduler`` say."""

    cluster: ExecutorOptions
    processes: bool = False

    def open(
        self, workers: int, *, preload: tuple[str, ...] = (), local: Callable[[], AbstractContextManager[Executor]] | None = None
    ) -> AbstractContextManager[Executor | None]:
        """The executor, closed at the end of the block; None for this process.

        Args:
            workers: how many processes of this machine, where these are asked for.
            preload: modules that such a process imports before its first call.
            local: what is opened instead of nothing for this process.
        """
        return open_executor(self.cluster, local=functools.partial(_isolating, workers, preload) if self.processes else local)


def _isolating(workers: int, preload: tuple[str, ...]) -> Any:
    from retest.stages._processes import IsolatingExecutor

    return IsolatingExecutor(workers, preload=preload)


def executor_option(text: str, *, processes: bool = True) -> Callable[[F], F]:
    """``--executor local|processes|dask --scheduler tcp://...``: the command gets ``where``, a :class:`Where`.

    Args:
        text: the help of ``--executor``: what each of them means for this command.
        processes: whether the command can compute in processes of this machine.
    """
    kinds = [EXECUTOR_KINDS[0], _PROCESSES, *EXECUTOR_KINDS[1:]] if processes else list(EXECUTOR_KINDS)
    address = {setting.name: setting.metadata["help"] for setting in dataclasses.fields(ExecutorOptions)}["scheduler"]

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def with_where(*arguments: Any, executor: str, scheduler: str, **options: Any) -> Any:
            kind = EXECUTOR_KINDS[0] if executor == _PROCESSES else executor
            where = Where(ExecutorOptions(kind=kind, scheduler=scheduler), processes=executor == _PROCESSES)
            return command(*arguments, where=where, **options)

        kind_option = click.option("--executor", type=click.Choice(kinds), default=kinds[0], show_default=True, help=text)
        scheduler_option = click.option("--scheduler", default="", metavar="ADDRESS", help=f"{address[0].upper()}{address[1:]}.")
        return kind_option(scheduler_option(with_where))  # type: ignore[return-value]

    return decorate
