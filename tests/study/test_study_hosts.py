"""Two clusters on machines of their own compute whole stages: whatever is lost in the middle, both give the bytes of one process.

Each cluster is a scheduler in one network namespace and workers in another, which reach each other over a virtual cable only, as separate
processes. What needs namespaces (Linux, root) is skipped with the reason where they are not permitted.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from netns_hosts import Host, two_hosts, why_no_hosts

sys.path.append(str(Path(__file__).parents[1] / "stages"))

import stage_studies as tiny

from retest.study import open_study
from retest.testing.database import BOOKKEEPING, canonical_dump, canonical_predictions, differences

pytestmark = [
    pytest.mark.xdist_group("hosts"),
    pytest.mark.skipif(importlib.util.find_spec("distributed") is None,
                       reason="the extra 'cluster' (distributed) is not installed"),
]  # fmt: skip

HERE = Path(__file__).parent
MODELS = """
import numpy as np


class Mean:
    name, fingerprint, preprocessing, num_classes, provenance = "mean", "mean-1", "mean-1", 3, {"kind": "test"}

    def preprocess(self, rgb):
        return rgb.reshape(-1, 3).mean(axis=0).astype(np.float32)

    def predict(self, batch):
        return batch @ np.arange(9, dtype=np.float32).reshape(3, 3)


def load():
    return Mean()
"""


@dataclass
class Machines:
    """A scheduler on one host, workers on another; commands run beside the scheduler."""

    hosts: tuple[Host, Host]
    folder: Path
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    scheduler: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"tcp://{self.hosts[0].address}:8786"

    def environment(self) -> dict[str, str]:
        paths = [str(self.folder), str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}

    def start(self, host: Host, *command: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{len(list(self.folder.glob('*.log')))}-{command[0]}.log").open("wb")
        with log:
            full = [*host.prefix, sys.executable, "-m", *command]
            return subprocess.Popen(full, stdout=log, stderr=subprocess.STDOUT, env=self.environment(), cwd=self.folder)

    def start_scheduler(self) -> None:
        self.scheduler = self.start(self.hosts[0], "dask", "scheduler", "--host", self.hosts[0].address, "--port", "8786", "--no-dashboard")

    def add_worker(self) -> None:
        options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", self.hosts[1].address]
        options += ["--local-directory", str(self.folder / f"worker-{len(self.workers)}"), "--death-timeout", "120"]
        self.workers.append(self.start(self.hosts[1], "dask", "worker", self.address, *options))

    def retest(self, study: Path, *arguments: str) -> subprocess.Popen[bytes]:
        on = ["--study", str(study), "--executor", "dask", "--scheduler", self.address]
        return self.start(self.hosts[0], "retest", arguments[0], *on, *arguments[1:])

    def finish(self, study: Path, *arguments: str) -> None:
        running = self.retest(study, *arguments)
        assert running.wait(300) == 0, "\n".join(path.read_text()[-3000:] for path in sorted(self.folder.glob("*-retest.log"))[-1:])

    def stop(self) -> None:
        for process in [*self.workers, *filter(None, [self.scheduler])]:
            if process.poll() is None:
                process.kill()
            process.wait()


@contextmanager
def machines(folder: Path, number: int, *, workers: int) -> Iterator[Machines]:
    if reason := why_no_hosts():
        pytest.skip(reason)
    folder.mkdir()
    (folder / "planted_models.py").write_text(MODELS)
    with two_hosts(number) as hosts:
        made = Machines(hosts, folder)
        try:
            made.start_scheduler()
            for _ in range(workers):
                made.add_worker()
            yield made
        finally:
            made.stop()


def make_study(folder: Path, *, pool: int = 6) -> Path:
    """A study whose images are registered and found, but not stored yet; small blocks, so that there is something to lose."""
    tiny.write_benchmark(folder)
    for wnid, color in tiny.COLORS.items():
        for number in range(tiny.SIZES["pool"], pool):
            tiny.write_picture(folder / "pool" / wnid / f"{number:02d}.png", color, 5000 + number)
    with closing(tiny.make_study(folder, neighbors={"query_block": 2, "reference_block": 4}, study={"workers": 1})) as study:
        tiny.find_candidates(study)
    return folder / "study"


def copy_of(study: Path, folder: Path) -> Path:
    shutil.copytree(study.parent, folder)
    return folder / "study"


def content(study: Path) -> dict[str, list[str]]:
    """Rows, predictions and the bytes of every blob."""
    with closing(open_study(study)) as opened:
        blobs = {key: hashlib.sha256(opened.blobs.get(key)).hexdigest() for key, _ in opened.blobs.list()}
        stored = [f"{key} {digest}" for key, digest in blobs.items() if not key.startswith("partial/sources/")]
        rows = canonical_dump(opened, skip={*BOOKKEEPING, "prediction_sets"})
        # Who ran a command, and when, is no result.
        rows = [json.dumps({**json.loads(line.partition(" ")[2]), "user": "", "time": ""}) for line in rows]
        return {"rows": rows, "blobs": stored, "predictions": canonical_predictions(opened) if _evaluated(opened) else []}


def _evaluated(study) -> bool:
    with study.database.read() as tables:
        return bool(list(tables.predictions.all()))


STAGES = (
    ("download",),
    ("neighbors", "--metric", "l2"),
    ("evaluate", "--dataset", "original", "--models", "planted_models:load", "--batch-size", "2"),
)


def here(study: Path, folder: Path) -> dict[str, list[str]]:
    """What this process computes without any cluster."""
    folder.mkdir()
    (folder / "planted_models.py").write_text(MODELS)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])}
    for stage, *options in STAGES:
        command = [sys.executable, "-m", "retest", stage, "--study", str(study), *options]
        subprocess.run(command, check=True, capture_output=True, env=environment)
    return content(study)


def assert_equal(expected: dict[str, list[str]], found: dict[str, list[str]]) -> None:
    for part, lines in expected.items():
        assert lines, part
        assert differences(lines, found[part]) == [], part


def partial(study: Path) -> int:
    return len(list((study / "blobs/partial/neighbors").rglob("*.npy")))


def test_a_cluster_over_the_network_loses_a_worker_and_gives_the_same_bytes(tmp_path: Path):
    """The short form: one cluster, a search, a worker killed in the middle."""
    study = make_study(tmp_path / "one", pool=16)
    with closing(open_study(study)) as opened:
        tiny.store(opened)
    alone = copy_of(study, tmp_path / "alone")
    subprocess.run([sys.executable, "-m", "retest", "neighbors", "--study", str(alone), "--metric", "l2"], check=True, capture_output=True)
    with machines(tmp_path / "machines", 1, workers=2) as cluster:
        running = cluster.retest(study, "neighbors", "--metric", "l2")
        killed = False
        while running.poll() is None:
            if not killed and partial(study) >= 10:
                cluster.workers[0].kill()
                killed = True
            time.sleep(0.002)
        assert running.returncode == 0
        assert killed
    expected, found = content(alone), content(study)
    assert_equal({part: expected[part] for part in ("rows", "blobs")}, found)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_two_clusters_with_losses_give_the_bytes_of_one_process(tmp_path: Path):
    """Download, search and evaluation; on one cluster workers are killed in each stage, on the other the driver, then the scheduler."""
    first = make_study(tmp_path / "first", pool=24)
    second, alone = copy_of(first, tmp_path / "second"), copy_of(first, tmp_path / "alone")
    expected = here(alone, tmp_path / "here")
    with ExitStack() as stack:
        one = stack.enter_context(machines(tmp_path / "machines-1", 2, workers=2))
        two = stack.enter_context(machines(tmp_path / "machines-2", 3, workers=2))
        for stage in STAGES:
            running = one.retest(first, *stage)
            time.sleep(3.0)  # connected, in the middle of it or done
            one.workers[-2].kill()
            one.add_worker()
            assert running.wait(300) == 0, stage
        assert sum(worker.poll() is not None for worker in one.workers) == len(STAGES)

        two.finish(second, *STAGES[0])
        driver = two.retest(second, *STAGES[1])
        while partial(second) < 20:
            assert driver.poll() is None
            time.sleep(0.002)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        kept = partial(second)
        with closing(open_study(second)) as opened, opened.database.read() as tables:
            assert dict(tables.neighbors.all("l2")) == {}  # lost before the end
        two.scheduler.kill()
        two.scheduler.wait()
        assert kept >= 20
        assert _exit_code(two, second, STAGES[1]) == 1  # nobody answers: a message, nothing lost
        for worker in two.workers:
            worker.kill()
        two.start_scheduler()
        two.add_worker()
        done = {path: path.stat().st_mtime_ns for path in (second / "blobs/partial/neighbors").rglob("*.npy")}
        two.finish(second, *STAGES[1])
        assert all(path.stat().st_mtime_ns == when for path, when in done.items())  # resumed, not done again
        two.finish(second, *STAGES[2])
    assert_equal(expected, content(first))
    assert_equal(expected, content(second))


def _exit_code(cluster: Machines, study: Path, stage: tuple[str, ...]) -> int:
    running = cluster.retest(study, *stage)
    return running.wait(300)
