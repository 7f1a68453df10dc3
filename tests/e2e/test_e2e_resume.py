"""The demo killed again and again, at every stage, ends with what an undisturbed run ends with."""

from __future__ import annotations

import hashlib
import random
import signal
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from e2e_demo_run import DemoRun, run_watched

from forked import PROCESSES
from retest.study import open_study
from retest.testing.database import canonical_dump, canonical_predictions, differences

pytestmark = pytest.mark.xdist_group("demo")


@dataclass(frozen=True)
class Kill:
    """Kill ``delay_s`` after the ``count``-th event of this name."""

    event: str
    count: int
    delay_s: float


def kills(demo: DemoRun, seed: int) -> list[Kill]:
    """One kill within every piece of work that shows progress, in order, and some between two pieces, at seeded places."""
    rng = random.Random(seed)
    counts = Counter(demo.steps)
    one_of_a_kind = {label.split()[0] if label.startswith(("Export", "Evaluate")) else label: label for label in dict.fromkeys(demo.steps)}
    inside = [Kill(label, rng.randint(1, counts[label]), rng.uniform(0, 0.02)) for label in one_of_a_kind.values()]
    begin = Kill(demo.said[0], 1, rng.uniform(0.05, 0.5))
    (planned,) = [line for line in demo.said if line.startswith("HITs: ")]
    (marked,) = [line for line in demo.said if line.startswith("Near-duplicates: ")]
    return [begin, *inside[:3], Kill(planned, 1, rng.uniform(0, 0.5)), *inside[3:-2], Kill(marked, 1, rng.uniform(0, 0.05)), *inside[-2:]]


class Attempts:
    """Runs the demo in processes of their own."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def run(self, kill: Kill | None) -> int:
        """Run until done, or until the kill; returns the exit code."""
        events, far_end = PROCESSES.Pipe(duplex=False)
        process = PROCESSES.Process(target=run_watched, args=(self.out, far_end))
        process.start()
        far_end.close()
        seen = 0
        try:
            while True:
                event = events.recv()
                seen += kill is not None and event == kill.event
                if kill is not None and seen == kill.count:
                    time.sleep(kill.delay_s)
                    process.kill()
                    break
        except EOFError:
            pass
        process.join()
        return int(process.exitcode or 0)


def content(out: Path) -> dict[str, list[str]]:
    """Everything that a user gets from the study, as lines."""
    with closing(open_study(out / "study")) as study:
        blobs = [f"{key} {hashlib.sha256(study.blobs.get(key)).hexdigest()}" for key, _ in study.blobs.list()]
        return {
            "database": canonical_dump(study, places={str(out): "OUT"}),
            "predictions": canonical_predictions(study),
            "blobs": blobs,
            "sets": _files(out / "sets"),
            "digits": _files(out / "digits"),
            "report": [hashlib.sha256((out / "report.html").read_bytes()).hexdigest()],
            "settings": (out / "study/study.toml").read_text().replace(str(out), "OUT").splitlines(),
        }


def _files(folder: Path) -> list[str]:
    paths = [path for path in folder.rglob("*") if path.is_file() and not (path.name.startswith(".") and path.name.endswith(".tmp"))]
    return [f"{path.relative_to(folder).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in paths]


@pytest.mark.long  # tests/chaos kills every stage in make test
def test_killed_at_every_stage_it_ends_the_same(demo: DemoRun, tmp_path: Path):
    attempts = Attempts(tmp_path / "killed")
    planned = kills(demo, seed=7)
    codes = [attempts.run(kill) for kill in planned]
    killed = sum(code == -signal.SIGKILL for code in codes)
    assert set(codes) <= {-signal.SIGKILL, 0}
    assert killed >= len(planned) - 3, list(zip(planned, codes, strict=True))
    assert attempts.run(None) == 0
    expected, found = content(demo.out), content(attempts.out)
    for part in expected:
        assert differences(expected[part], found[part]) == [], part
    left = [path for path in attempts.out.rglob("*") if path.name.endswith((".tmp", ".part"))]
    assert [path for path in left if "sets" in path.parts] == []
