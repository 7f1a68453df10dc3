"""The one place that opens an executor from options: local threads or processes, or a Dask cluster by the address of its scheduler.

Heavy stages take any ``concurrent.futures.Executor``. What a cluster adds is handled here: the scheduler is there, every worker runs
this version of retest, and a cluster that is lost becomes an error with a remedy. We write no scheduler of our own.
"""

from __future__ import annotations

import platform
import pydoc
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from retest import __version__
from retest.errors import MissingExtraError, StageError, UsageError
from retest.settings import plain_numbers

__all__ = ["EXECUTOR_KINDS", "ClusterExecutor", "ExecutorOptions", "executor_slots", "open_executor"]

EXECUTOR_KINDS = ("local", "dask")

P = ParamSpec("P")
T = TypeVar("T")
_SCHEMES = ("tcp://", "tls://", "ucx://", "ws://", "wss://", "inproc://")


@dataclass(frozen=True, slots=True, kw_only=True)
@plain_numbers
class ExecutorOptions:
    """Where a heavy stage computes.

    Raises:
        UsageError: an unknown kind, or an address that does not belong to the kind.
    """

    kind: str = field(default="local", metadata={"help": "where to compute: local (this machine) or dask (a cluster)"})
    scheduler: str = field(default="", metadata={"help": "address of the Dask scheduler, such as tcp://10.0.0.5:8786"})
    wait_s: float = field(default=60.0, metadata={"help": "how long to wait for the scheduler and its first worker, in seconds"})

    def __post_init__(self) -> None:
        if self.kind not in EXECUTOR_KINDS:
            raise UsageError(f"unknown executor {self.kind!r}", item="--executor", remedy=f"Use one of: {', '.join(EXECUTOR_KINDS)}")
        if self.kind == "local" and self.scheduler:
            raise UsageError("an address is given, but the executor is local", item="--scheduler", remedy="Add --executor dask")
        if self.kind == "dask" and not self.scheduler.startswith(_SCHEMES):
            problem = (
                f"{self.scheduler!r} is no address of a Dask scheduler" if self.scheduler else "the Dask scheduler's address is missing"
            )
            raise UsageError(
                problem, item="--scheduler", remedy="Start one with 'dask scheduler' and give what it prints, such as tcp://HOST:8786"
            )
        if not self.wait_s > 0:
            raise UsageError(f"must be positive, is {self.wait_s}", item="wait_s", remedy="Give seconds, such as 60")


class ClusterExecutor(Executor):
    """Dask's own executor with what ours need beside it: how many calls run at once, and ``cancel_futures``."""

    def __init__(self, inner: Executor, *, count_slots: Callable[[], int]) -> None:
        self._inner = inner
        self._count_slots = count_slots
        self._pending: set[Future[Any]] = set()

    @property
    def slots(self) -> int:
        """Threads of all workers that are there now, at least 1."""
        return max(1, self._count_slots())

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future = self._inner.submit(fn, *args, **kwargs)
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if cancel_futures:
            for future in list(self._pending):
                future.cancel()
        self._inner.shutdown(wait=wait)


def executor_slots(executor: Executor | None, *, otherwise: int) -> int:
    """How many calls run at once: all threads of a cluster, else ``otherwise`` (as a rule ``study.config.study.workers``).

    Stages keep a small multiple of it under way, so that memory is bounded and no worker waits.
    """
    return executor.slots if isinstance(executor, ClusterExecutor) else otherwise


@contextmanager
def open_executor(
    options: ExecutorOptions, *, local: Callable[[], AbstractContextManager[Executor]] | None = None
) -> Iterator[Executor | None]:
    """The executor that options ask for, closed at the end; what is under way when the block raises is cancelled.

    Args:
        options: local, or a cluster and its address.
        local: what to open for ``local``; without it None is given, and the stage takes its own default.

    Raises:
        MissingExtraError: the cluster's library is not installed (extra ``cluster``).
        StageError: no scheduler answers, it has no workers, a worker runs another retest, or the cluster is lost in the middle.
    """
    if options.kind == "local":
        with ExitStack() as stack:
            yield None if local is None else stack.enter_context(local())
        return
    with _cluster(options) as executor:
        yield executor


@contextmanager
def _cluster(options: ExecutorOptions) -> Iterator[Executor]:
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise MissingExtraError("distributed", "cluster") from error
    client = _connected(distributed, options)
    done = False
    executor = ClusterExecutor(client.get_executor(pure=False), count_slots=lambda: sum(client.nthreads().values()))
    try:
        _check_workers(distributed, client, options)
        yield executor
        done = True
    except distributed.KilledWorker as error:
        raise StageError(
            f"a piece of work ended {error.allowed_failures + 1} workers of the cluster, perhaps for lack of memory",
            item=options.scheduler,
            remedy="Look into the workers' logs, give each more memory (--memory-limit) or fewer threads, and run the same command again",
        ) from error
    except (CancelledError, distributed.CancelledError, distributed.comm.CommClosedError) as error:
        raise StageError(
            "the connection to the Dask scheduler was lost",
            item=options.scheduler,
            remedy="See that the scheduler runs, then run the same command again: finished work is kept",
        ) from error
    finally:
        if client.status == "running":
            executor.shutdown(wait=done, cancel_futures=not done)
        client.close(timeout=5)


def _connected(distributed: Any, options: ExecutorOptions) -> Any:
    try:
        return distributed.Client(options.scheduler, timeout=options.wait_s, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise StageError(
            f"no Dask scheduler answers ({str(error).splitlines()[0] if str(error) else type(error).__name__})",
            item=options.scheduler,
            remedy="Start it with 'dask scheduler' and give the address that it prints; for tls:// set Dask's certificates",
        ) from error


def _check_workers(distributed: Any, client: Any, options: ExecutorOptions) -> None:
    """Every worker must run the code that this process runs: what differs would show as other results, or not at all."""
    try:
        client.wait_for_workers(1, timeout=options.wait_s)
        # Functions of the standard library, so that a worker without retest can answer as well.
        versions = client.run(pydoc.locate, "retest.__version__", on_error="return")
        pythons = client.run(platform.python_version_tuple)
    except (TimeoutError, distributed.TimeoutError) as error:
        remedy = f"Start workers with: dask worker {options.scheduler}"
        raise StageError("the Dask scheduler has no workers", item=options.scheduler, remedy=remedy) from error
    own = sys.version_info[:2]
    for address, version in sorted(versions.items()):
        remedy = f"Install the same version there: pip install 'retest[cluster]=={__version__}'"
        if not isinstance(version, str):
            raise StageError(f"retest cannot be imported on the worker {address}", item=options.scheduler, remedy=remedy)
        if version != __version__:
            raise StageError(f"worker {address} has retest {version}, this process {__version__}", item=options.scheduler, remedy=remedy)
    for address, python in sorted(pythons.items()):
        if (int(python[0]), int(python[1])) != own:
            problem = f"worker {address} runs Python {python[0]}.{python[1]}, this process {own[0]}.{own[1]}"
            raise StageError(problem, item=options.scheduler, remedy="Start the workers with the same Python")
