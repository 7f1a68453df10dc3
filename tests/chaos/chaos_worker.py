"""Runs steps of the tiny study in processes of their own."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import chaos_script
from chaos_script import Disturbance

from forked import PROCESSES


@dataclass(frozen=True)
class Outcome:
    """How a process ended: how many durable steps it made, its error, whether it was killed."""

    steps: int
    error: Exception | None
    killed: bool


class Started:
    """A process that tells (steps counted, error or None) when it is done."""

    def __init__(self, name: str, told: Connection, process: Any) -> None:
        self._name, self._told, self._process = name, told, process
        process.start()

    def wait(self) -> Outcome:
        try:
            steps, error = self._told.recv()
        except EOFError:
            steps, error = 0, None
        self._process.join()
        # Any other end is a traceback: an error that no user should see.
        assert self._process.exitcode in {0, -signal.SIGKILL}, f"{self._name}: ended with exit code {self._process.exitcode}, see above"
        return Outcome(steps, error, self._process.exitcode == -signal.SIGKILL)


def start(folder: Path, name: str, disturbance: Disturbance | None = None) -> Started:
    told, far_end = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=chaos_script.run_step, args=(folder, name, disturbance or Disturbance(), far_end))
    started = Started(name, told, process)
    far_end.close()
    return started


def run(folder: Path, name: str, disturbance: Disturbance | None = None) -> Outcome:
    return start(folder, name, disturbance).wait()


@dataclass(frozen=True)
class Undisturbed:
    folder: Path
    steps: dict[str, int]
    content: dict[str, list[str]]
