"""How fast the review pages answer with many reviewers at once: p50, p95 and p99 per kind of request, over real HTTP.

    python perf/review.py --candidates 1000000 --classes 1000 --folder /tmp/review-1m --json

makes a synthetic study (once per folder), starts ``retest serve`` and lets 20 reviewers work: each one asks, waits as long as a person
looks (exponential, 1 second on average), asks again; pictures are fetched without waiting, as a browser does. ``--think-s 0`` asks
without pause: what the server can do at most. The clients are coroutines of this process with a hand-written HTTP client, and share the
machine with the server; how much processor time each took is reported. Times are those of whole answers, connection kept open.

The server is fresh; before the clock starts, one reviewer makes each kind of visit once, and waits until all that this made it bring up
to date is. ``--extra NAME=PATH`` adds a page to the mix.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles

import review_study
from review_walk import API, METRICS, Connection, Reviewer

from retest.stages import review_people
from retest.study import open_study


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is measured: how many people, for how long, and in which state; see the options."""

    reviewers: int
    seconds: float
    think_s: float
    settle_s: float
    cold: bool
    go: Path | None = None
    extra: dict[str, str] = field(default_factory=dict)


async def _visit(port: int, tokens: list[str], wnids: list[str], load: Load, folder: Path) -> dict:
    people = [Reviewer(port, wnids, number, load.extra) for number in range(len(tokens))]
    await asyncio.gather(*(person.sign_in(token) for person, token in zip(people, tokens, strict=True)))
    await people[0].every_visit()
    late = await _settle(people[0], load.settle_s)
    while load.go is not None and not load.go.exists():
        await asyncio.sleep(0.1)
    if load.cold:
        _forget_file(folder / "study.db")
    for person in people:
        person.connection.forget()  # the server has closed those on which nothing was said for long
    busy, own = os.getloadavg()[0], resource.getrusage(resource.RUSAGE_SELF)
    until = time.perf_counter() + load.seconds
    await asyncio.gather(*(person.work(until, load.think_s) for person in people))
    now = resource.getrusage(resource.RUSAGE_SELF)
    times: dict[str, list[float]] = defaultdict(list)
    for person in people:
        for name, took in person.times:
            times[name].append(1000 * took)
    everything = [took for found in times.values() for took in found]
    return {
        "reviewers": len(people),
        "think_s": load.think_s,
        "load_before": round(busy, 2),
        "being_derived": late,
        "requests_per_s": round(len(everything) / load.seconds, 1),
        "client_cpu_s": round(now.ru_utime + now.ru_stime - own.ru_utime - own.ru_stime, 2),
        "conflicts": sum(person.conflicts for person in people),
        "failures": [failure for person in people for failure in person.failures][:5],
        "all": _row(everything),
        "times": {name: _row(found) for name, found in sorted(times.items())},
    }


def _forget_file(path: Path) -> None:
    """Let the system drop what it has of a file in memory."""
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


async def _settle(person: Reviewer, most_s: float) -> list[str]:
    """Wait until nothing is brought up to date beside the requests any more, as everything was asked for once; what still is."""
    pages = [f"{API}/classes?limit=1", f"{API}/hits?limit=1", *(f"{API}/pairs/progress?metric={metric}" for metric in METRICS)]
    until = time.perf_counter() + most_s
    while (late := [page for page in pages if not (await person.load("", page)).get("current")]) and time.perf_counter() < until:
        await asyncio.sleep(0.5)
    for failure in person.failures:
        print("FAILED before the clock started:", failure, file=sys.stderr)
    person.failures.clear()
    person.times.clear()
    return late


def _row(found: list[float]) -> dict[str, float | int]:
    cuts = quantiles(found, n=100, method="inclusive") if len(found) > 1 else found * 99
    row = {"n": len(found), "p50_ms": cuts[49], "p95_ms": cuts[94], "p99_ms": cuts[98], "max_ms": max(found)}
    return {name: round(value, 1) for name, value in row.items()}


def measure(folder: Path, load: Load) -> dict:
    with closing(open_study(folder)) as study:
        with study.database.read() as tables:
            wnids = [info.wnid for info in tables.classes.all()]
        admin = review_people.Role.ADMIN
        tokens = [review_people.give_token(study, f"reviewer {n}", admin, stamp=review_study.STAMP).token for n in range(load.reviewers)]
    command = [sys.executable, "-m", "retest", "serve", "--study", str(folder), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        port = int(re.search(r"port (\d+)\)", server.stdout.readline()).group(1))
        asyncio.run(_wait_until_up(port))
        before = _processor_s(server.pid)
        found = asyncio.run(_visit(port, tokens, wnids, load, folder))
        found["server_cpu_s"] = round(_processor_s(server.pid) - before, 2)
        memory = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{server.pid}/status").read_text())
        found["server_peak_mb"] = int(memory.group(1)) // 1024
    finally:
        server.terminate()
        server.wait(30)
    return found


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _wait_until_up(port: int) -> None:
    for _ in range(600):
        try:
            if (await Connection(port).request("GET", "/health", {}))[0] == 200:
                return
        except (OSError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.1)
    raise SystemExit("the server does not come up")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=20_000)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--reviewers", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--think-s", type=float, default=1.0, help="how long a person looks between two requests, on average")
    parser.add_argument("--folder", type=Path, required=True, help="where the study lies, or is made")
    parser.add_argument("--extra", action="append", default=[], metavar="NAME=PATH", help="another page of the mix")
    parser.add_argument("--settle-s", type=float, default=300.0, help="wait at most so long until nothing is derived beside the requests")
    parser.add_argument("--go", type=Path, help="begin to measure when this file is there; until then the server is made ready")
    parser.add_argument("--cold", action="store_true", help="let the system forget the database's file as the clock starts")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    steps = review_study.make(options.folder, options.candidates, options.classes)
    extra = dict(one.split("=", 1) for one in options.extra)
    asked = {name: getattr(options, name) for name in ("reviewers", "seconds", "think_s", "settle_s", "cold", "go")}
    found = measure(options.folder, Load(**asked, extra=extra))
    if options.json:
        print(json.dumps({"make_s": steps, **found}, indent=2))
    else:
        _show(found)


def _show(found: dict) -> None:
    for name in (
        "reviewers",
        "requests_per_s",
        "load_before",
        "being_derived",
        "server_cpu_s",
        "client_cpu_s",
        "server_peak_mb",
        "conflicts",
    ):
        print(f"{name:16} {found[name]}")
    print(f"{'request':34} {'n':>6} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'max ms':>8}")
    for name, row in [*found["times"].items(), ("all", found["all"])]:
        print(f"{name:34} {row['n']:>6} {row['p50_ms']:>8} {row['p95_ms']:>8} {row['p99_ms']:>8} {row['max_ms']:>8}")
    for failure in found["failures"]:
        print("FAILED", failure)


if __name__ == "__main__":
    main()
