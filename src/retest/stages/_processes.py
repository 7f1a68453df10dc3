"""An executor of processes in which a process that dies takes only its own call with it.

The standard library's process pool is broken as a whole when one of its processes dies, and passes every value through two threads
and two locks. Here each thread of a thread pool talks to a process of its own over a pipe: who died over what is known exactly,
and a new process takes its place.

This module imports nothing heavy, so that a new process is ready in a moment.
"""

from __future__ import annotations

import importlib
import multiprocessing
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from retest.errors import StageError

__all__ = ["IsolatingExecutor", "WorkerEndedError"]

R = TypeVar("R")
_SPAWN = multiprocessing.get_context("spawn")
_READY = b"ready"


class WorkerEndedError(Exception):
    """The process ended before it answered; says how."""


class IsolatingExecutor(ThreadPoolExecutor):
    """Runs each call in one of ``workers`` spawned processes; values and results must be picklable.

    A call whose process dies is made once more while nothing else runs; when that process dies too, its future alone raises
    :class:`WorkerEndedError`. Processes start when they are needed, ignore Ctrl-C (their parent ends them), and end by themselves
    when their parent is killed. On Linux they are the first that the kernel ends for lack of memory.

    Like all spawned processes they import the main module of the program: a script needs ``if __name__ == "__main__"``.

    Args:
        workers: the most processes at once.
        preload: names of modules that a process imports before its first call, so that an installation that is broken is no fault
            of a call.
    """

    def __init__(self, workers: int, *, preload: tuple[str, ...] = ()) -> None:
        super().__init__(workers, thread_name_prefix="retest-process")
        self._workers = workers
        self._free: queue.LifoQueue[_Worker] = queue.LifoQueue()
        self._alone = threading.Lock()
        for _ in range(workers):
            self._free.put(_Worker(preload))

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        """As every executor.

        The future raises what ``fn`` raises, :class:`WorkerEndedError`, or :class:`~retest.errors.StageError` when no process can be
        started.
        """
        return super().submit(self._call, fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for what runs, then end the processes."""
        super().shutdown(wait=True, cancel_futures=cancel_futures)
        for _ in range(self._workers):
            with suppress(queue.Empty):
                self._free.get_nowait().end()

    def _call(self, fn: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        try:
            with self._borrowed(1) as worker:
                return worker.call(fn, args, kwargs)
        except WorkerEndedError:
            # Perhaps the memory was short because of the others, so it gets all of it.
            with self._alone, self._borrowed(self._workers) as worker:
                return worker.call(fn, args, kwargs)

    @contextmanager
    def _borrowed(self, number: int) -> Iterator[_Worker]:
        taken = [self._free.get() for _ in range(number)]
        try:
            yield taken[0]
        finally:
            for worker in reversed(taken):
                self._free.put(worker)


class _Worker:
    """The parent's side of one process; used by one thread at a time."""

    _starting = threading.Lock()  # the standard library's list of children is not made for threads

    def __init__(self, preload: tuple[str, ...]) -> None:
        self._preload = preload
        self._process: Any = None
        self._pipe: Connection | None = None

    def call(self, fn: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        pipe = self._pipe or self._start()
        try:
            pipe.send((fn, args, kwargs))
            good, value = pipe.recv()
        except (EOFError, OSError):
            self.end()
            raise WorkerEndedError(_how_it_ended(self._process.exitcode)) from None
        if good:
            result: R = value
            return result
        raise value

    def end(self) -> None:
        """Let the process end, if there is one; it does so when the pipe is closed."""
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
            self._process.join()

    def _start(self) -> Connection:
        ours, theirs = _SPAWN.Pipe()
        with self._starting:
            self._process = _SPAWN.Process(target=_serve, args=(theirs, self._preload), name="retest-worker", daemon=True)
            self._process.start()
        theirs.close()
        try:
            ours.recv()
        except (EOFError, OSError):
            ours.close()
            self._process.join()
            raise StageError(
                f"a process for decoding cannot start (exit code {self._process.exitcode})",
                remedy='See the messages above; a script needs: if __name__ == "__main__"',
            ) from None
        self._pipe = ours
        return ours


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    names = {-number: number.name for number in signal.Signals}
    return f"signal {names.get(code, -code)}"


def _serve(pipe: Connection, preload: tuple[str, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in preload:
        importlib.import_module(name)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    with suppress(EOFError, OSError):  # the parent is done, or gone
        pipe.send(_READY)
        while True:
            fn, args, kwargs = pipe.recv()
            try:
                answer = (True, fn(*args, **kwargs))
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller's future raises it
                answer = (False, error)
            pipe.send(answer)
