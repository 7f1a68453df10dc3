"""Runs steps of the tiny study in processes of their own."""

from __future__ import annotations

import multiprocessing
import signal
from dataclasses import dataclass
from pathlib import Path

import chaos_script
from chaos_script import Disturbance

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["chaos_script", "retest.neighbors.l2", "retest.neighbors._l2_kernels"])


@dataclass(frozen=True)
class Outcome:
    """How a process ended: how many durable steps it made, its error, whether it was killed."""

    steps: int
    error: Exception | None
    killed: bool


class Worker:
    """Runs a step in a process of its own."""

    def __init__(self, folder: Path, name: str, disturbance: Disturbance | None = None) -> None:
        self._name = name
        self._told, far_end = PROCESSES.Pipe(duplex=False)
        self._process = PROCESSES.Process(target=chaos_script.run_step, args=(folder, name, disturbance or Disturbance(), far_end))
        self._process.start()
        far_end.close()

    def wait(self) -> Outcome:
        try:
            steps, error = self._told.recv()
        except EOFError:
            steps, error = 0, None
        self._process.join()
        # Any other end is a traceback: an error that no user should see.
        assert self._process.exitcode in {0, -signal.SIGKILL}, f"{self._name}: ended with exit code {self._process.exitcode}, see above"
        return Outcome(steps, error, self._process.exitcode == -signal.SIGKILL)


def run(folder: Path, name: str, disturbance: Disturbance | None = None) -> Outcome:
    return Worker(folder, name, disturbance).wait()


@dataclass(frozen=True)
class Undisturbed:
    folder: Path
    steps: dict[str, int]
    content: dict[str, list[str]]
