"""The one place that opens executors: options, a real Dask cluster as separate processes, its loss in every way."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import click
import dask_cluster
import pytest
from click.testing import CliRunner

from retest.cli._executors import Where, executor_option
from retest.errors import MissingExtraError, StageError, UsageError
from retest.study import ExecutorOptions, executor_slots, open_executor

needs_dask = pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None,
    reason="the extra 'cluster' (distributed) is not installed",
)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "slurm"}, r"--executor: unknown executor 'slurm'. Use one of: local, dask"),
        ({"kind": "dask"}, r"--scheduler: the Dask scheduler's address is missing. Start one with 'dask scheduler'"),
        ({"kind": "dask", "scheduler": "10.0.0.5"}, r"--scheduler: '10.0.0.5' is no address"),
        ({"scheduler": "tcp://x:1"}, r"--scheduler: an address is given, but the executor is local. Add --executor dask"),
        ({"wait_s": 0}, "wait_s: must be positive, is 0"),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, object], message: str):
    with pytest.raises(UsageError, match=message):
        ExecutorOptions(**options)


def test_local_opens_what_the_stage_takes_and_closes_it():
    closed = []

    @contextmanager
    def local() -> Iterator[Executor]:
        with ThreadPoolExecutor(3) as pool:
            yield pool
        closed.append(True)

    with open_executor(ExecutorOptions(), local=local) as executor:
        assert executor.submit(sum, (1, 2)).result() == 3
        assert executor_slots(executor, otherwise=7) == 7
        assert not closed
    assert closed == [True]
    with open_executor(ExecutorOptions()) as executor:
        assert executor is None
        assert executor_slots(executor, otherwise=2) == 2


def test_the_commands_option():
    @click.command()
    @executor_option("Where to compute.")
    @click.option("--other", default=1)
    def command(where: Where, other: int) -> None:
        with where.open(2) as executor:
            result = "-" if executor is None else executor.submit(pow, 2, 5).result()
        click.echo(f"{where.cluster.kind} {where.processes} {result} {other}")

    run = CliRunner().invoke
    assert run(command, []).output == "local False - 1\n"
    assert run(command, ["--executor", "processes", "--other", "2"]).output == "local True 32 2\n"
    assert run(command, ["--executor", "spark"]).exit_code == 2
    for arguments, message in (
        (["--executor", "dask"], "address is missing"),
        (["--executor", "processes", "--scheduler", "tcp://h:1"], "an address is given"),
    ):
        with pytest.raises(UsageError, match=message):
            run(command, arguments, catch_exceptions=False)
    assert "--scheduler ADDRESS" in run(command, ["--help"]).output


def test_a_command_without_processes_opens_its_own_executor():
    opened = []

    @contextmanager
    def own():
        opened.append("own")
        yield "own"

    @click.command()
    @executor_option("Where images are decoded.", processes=False)
    def command(where: Where) -> None:
        with where.open(2, local=own) as executor:
            click.echo(executor)

    assert CliRunner().invoke(command, []).output == "own\n"
    assert CliRunner().invoke(command, ["--executor", "processes"]).exit_code == 2
    assert opened == ["own"]


def test_without_the_library_the_remedy_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'retest\[cluster\]'"), open_executor(_at("tcp://127.0.0.1:1")):
        pass


def _at(address: str, **options: float) -> ExecutorOptions:
    return ExecutorOptions(kind="dask", scheduler=address, **options)


@needs_dask
def test_nobody_listens_at_the_address():
    with (
        pytest.raises(StageError, match=r"tcp://127\.0\.0\.1:9: no Dask scheduler answers"),
        open_executor(_at("tcp://127.0.0.1:9", wait_s=0.5)),
    ):
        pass


@contextmanager
def lost(message: str, options: ExecutorOptions) -> Iterator[Executor]:
    """An executor in whose block (or in whose opening) this StageError must come up."""
    with pytest.raises(StageError, match=message), open_executor(options) as executor:
        yield executor


def refused(message: str, options: ExecutorOptions) -> None:
    with pytest.raises(StageError, match=message), open_executor(options):
        raise AssertionError("opened")


@pytest.mark.slow
@needs_dask
def test_a_cluster_of_processes_and_its_losses(tmp_path: Path):
    """One cluster for the whole life: work, errors, a killed worker, a deadly task, foreign versions, no workers, no scheduler."""
    with dask_cluster.dask_cluster(tmp_path, workers=2) as cluster:
        options = _at(cluster.address)
        with open_executor(options) as executor:
            _all_workers(executor, 2)
            squares = [executor.submit(dask_cluster.slow_square, number) for number in range(40)]
            assert squares[0].result() == 0
            cluster.workers[0].kill()  # mid-run: its work, done or not, is done again by the other
            assert [future.result() for future in squares] == [number * number for number in range(40)]
            with pytest.raises(UsageError, match="x: number 3"):  # errors come back as they are
                executor.submit(dask_cluster.fail_usage, 3).result()
        for _ in range(4):  # one more than a task may kill
            cluster.add_worker()
        with lost(r"a piece of work ended 4 workers.*memory", options) as executor:
            _all_workers(executor, 5)
            executor.submit(dask_cluster.die, 1).result()

        waiting: list[Future[int]] = []

        def interrupted() -> None:
            with open_executor(options) as executor:
                waiting.extend(executor.submit(dask_cluster.slow_square, number) for number in range(200))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert sum(future.cancelled() for future in waiting) > 100
        _end(*cluster.workers)
        refused("the Dask scheduler has no workers. Start workers with: dask worker tcp:", _at(cluster.address, wait_s=1))
        _other_retest(tmp_path / "broken", "raise ImportError('not here')")
        _other_retest(tmp_path / "old", "__version__ = '0.0.1'")
        for name, message in (("broken", "retest cannot be imported on the worker tcp:"), ("old", r"has retest 0\.0\.1, this process")):
            worker = cluster.add_worker(environment={"PYTHONPATH": str(tmp_path / name)})
            refused(message + r".*pip install 'retest\[cluster\]==", options)
            _end(worker)
        cluster.add_worker()
        with lost("connection to the Dask scheduler was lost", options) as executor:
            futures = [executor.submit(dask_cluster.slow_square, number) for number in range(100)]
            futures[0].result()
            _end(cluster.scheduler)
            for future in futures:
                future.result()


def _end(*processes: subprocess.Popen[bytes]) -> None:
    for process in processes:
        process.kill()
        process.wait()


def _other_retest(folder: Path, text: str) -> None:
    (folder / "retest").mkdir(parents=True)
    (folder / "retest/__init__.py").write_text(text)


def _all_workers(executor: Executor, number: int) -> None:
    executor._inner._client.wait_for_workers(number, timeout=60)
    assert executor_slots(executor, otherwise=1) == number
