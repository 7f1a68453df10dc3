"""A Dask scheduler and workers as processes of their own, over the network stack, for tests that kill them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_TESTS = Path(__file__).parent


@dataclass
class Cluster:
    """A running scheduler and its workers."""

    address: str
    scheduler: subprocess.Popen[bytes]
    folder: Path
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def add_worker(self, *, threads: int = 1, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        # One process per worker, without a nanny that would start it again: a killed worker is gone.
        name = f"worker-{len(self.workers)}"
        command = ["worker", self.address, "--nthreads", str(threads), "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
        command += ["--local-directory", str(self.folder / name), "--death-timeout", "60"]
        worker = _start(command, self.folder / f"{name}.log", environment)
        self.workers.append(worker)
        return worker


def _start(command: list[str], log: Path, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    paths = os.pathsep.join([str(_TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    variables = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **(environment or {})}
    with log.open("wb") as output:
        return subprocess.Popen([sys.executable, "-m", "dask", *command], stdout=output, stderr=subprocess.STDOUT, env=variables)


@contextmanager
def dask_cluster(folder: Path, *, workers: int) -> Iterator[Cluster]:
    """A scheduler on a free port of this machine with so many workers of one thread; all are killed at the end."""
    file = folder / "scheduler.json"
    command = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    scheduler = _start(command, folder / "scheduler.log")
    cluster = Cluster("", scheduler, folder)
    try:
        cluster.address = _address(file, scheduler)
        for _ in range(workers):
            cluster.add_worker()
        yield cluster
    finally:
        for process in (*cluster.workers, scheduler):
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()


def _address(file: Path, scheduler: subprocess.Popen[bytes]) -> str:
    import json

    give_up = time.monotonic() + 120
    while time.monotonic() < give_up and scheduler.poll() is None:
        if file.exists() and file.read_text().strip():
            return str(json.loads(file.read_text())["address"])
        time.sleep(0.05)
    raise RuntimeError("the scheduler did not start:\n" + (file.parent / "scheduler.log").read_text())


# ------------------------------------------------------------------- what the workers do; they import this module by its name


def slow_square(number: int) -> int:
    time.sleep(0.05)
    return number * number


def die(_number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail_usage(number: int) -> None:
    from retest.errors import UsageError

    raise UsageError(f"number {number}", item="x")
