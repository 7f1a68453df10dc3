"""How fast the review pages answer with many reviewers at once: p50 and p95 per kind of request, over real HTTP.

    python perf/review.py --candidates 1000000 --classes 1000 --folder /tmp/review-1m --json

makes a synthetic study (once per folder), starts ``retest serve`` and lets 20 reviewers work: each one asks, waits as long as a person
looks (exponential, 1 second on average; --think-s 0 asks without pause), asks again. The clients are threads of this process, so they
share the machine with the server. Times are those of whole answers, connection kept open, as a browser sees them.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import http.client
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import quantiles
from urllib.parse import quote, urlencode, urlsplit

import sqlalchemy as sa

from retest.images import variant_names
from retest.stages import review_people
from retest.stages._common import Stamp
from retest.stages._facts import refresh
from retest.stages.review_progress import refresh_counts
from retest.store import schema
from retest.study import StudyConfig, StudySettings, create_study, open_study
from retest.testing.synthetic import SyntheticParameters, fill_study, random_facts

STAMP = Stamp("perf", "2026-01-01T00:00:00+00:00")
_BLOCK = 20_000


def make(folder: Path, candidates: int, classes: int) -> dict[str, float]:
    """Make the study; seconds per step."""
    seconds: dict[str, float] = {}

    def step(name: str, work: Callable[[], object]) -> None:
        started = time.perf_counter()
        work()
        seconds[name] = round(time.perf_counter() - started, 2)
        print(f"  {name}: {seconds[name]} s", file=sys.stderr)

    with closing(create_study(folder, StudyConfig(study=StudySettings(name="perf")))) as study:
        ids: list[str] = []

        def raw() -> None:
            facts = random_facts(seed=1, parameters=SyntheticParameters(candidates=candidates, classes=classes))
            fill_study(study, facts)
            ids.extend([*(c.id for c in facts.candidates), *(o.id for o in facts.originals)])

        step("raw records", raw)
        gc.collect()
        step("variants", lambda: _variants(study, ids))

        def derive() -> None:
            with study.database.write() as tables:
                refresh(study, tables)

        step("frequencies and resolution", derive)
        step("counts per class", lambda: refresh_counts(study))
    (folder / "made.json").write_text(json.dumps(seconds))
    return seconds


def _variants(study, ids: list[str]) -> None:
    """A stored rendition per image, so that every query meets a full table; the blobs themselves are not needed."""
    name = variant_names(study.config.images)[1]
    for start in range(0, len(ids), _BLOCK):
        rows = [
            {"image_id": i, "variant": name, "blob_key": f"images/x/{i}", "sha256": hashlib.sha256(i.encode()).hexdigest()}
            | {"size_bytes": 1000, "width": 500, "height": 375, "notes": []}
            for i in ids[start : start + _BLOCK]
        ]
        with study.database.write() as tables:
            tables.connection.execute(sa.insert(schema.variants), rows)


class Reviewer:
    """One person at a browser: a session, a connection, a random walk over the pages."""

    def __init__(self, url: str, token: str, wnids: list[str], seed: int) -> None:
        parts = urlsplit(url)
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=120)
        self.random, self.wnids = random.Random(seed), wnids
        self.times: list[tuple[str, float]] = []
        self.failures: list[str] = []
        body = urlencode({"token": token})
        self.connection.request("POST", "/review/sign-in", body, {"Content-Type": "application/x-www-form-urlencoded"})
        answer = self.connection.getresponse()
        answer.read()
        self.headers = {"Cookie": answer.headers["Set-Cookie"].split(";")[0]}
        self.csrf = re.search(r'data-csrf="(\w+)"', self.ask("", "/review", keep=False).decode()).group(1)

    def ask(self, name: str, path: str, body: object = None, *, keep: bool = True) -> bytes:
        started = time.perf_counter()
        if body is None:
            self.connection.request("GET", path, headers=self.headers)
        else:
            headers = {**self.headers, "Content-Type": "application/json", "X-CSRF-Token": self.csrf}
            self.connection.request("POST", path, json.dumps(body), headers)
        answer = self.connection.getresponse()
        data = answer.read()
        if answer.status not in (200, 409):
            self.failures.append(f"{name} {answer.status} {data[:200]!r}")
        if keep:
            self.times.append((name, time.perf_counter() - started))
        return data

    def work(self, until: float, think_s: float) -> None:
        while time.perf_counter() < until:
            for step in self.visit():
                step()
                if think_s:
                    time.sleep(self.random.expovariate(1 / think_s))
                if time.perf_counter() > until:
                    return

    def visit(self) -> list[Callable[[], object]]:
        """What one visit of a class is made of."""
        wnid = self.random.choice(self.wnids)
        api = "/review/api"
        state: dict = {}

        def candidates() -> None:
            found = json.loads(self.ask("candidates, first page", f"{api}/candidates?wnid={wnid}&limit=200"))
            state.update(found)

        def more() -> None:
            if state.get("next"):
                self.ask("candidates, next page", f"{api}/candidates?wnid={wnid}&limit=200&after={quote(state['next'])}")

        def exclude() -> None:
            item = self.random.choice(state["candidates"])
            mark = item["problematic"]
            after = None if mark["state"] else {"detail": "perf"}
            change = {"kind": "problematic", "item": item["id"], "after": after, "before": mark["state"], "version": mark["version"]}
            done = json.loads(self.ask("decide", f"{api}/decisions", {"changes": [change]}))
            state["no"] = [one["no"] for one in done.get("decided", []) if one["no"]]

        def undo() -> None:
            if state.get("no"):
                self.ask("take back", f"{api}/take-back", {"numbers": state["no"]})

        def details() -> None:
            self.ask("image details", f"{api}/image?id={self.random.choice(state['candidates'])['id']}")

        return [
            lambda: self.ask("page: progress", "/review"),
            lambda: self.ask("page: classes", "/review/classes?sort=missing&descending=true"),
            lambda: self.ask("page: classes, search", f"/review/classes?q={wnid[:6]}"),
            lambda: self.ask("page: class", f"/review/class?wnid={wnid}"),
            lambda: self.ask("originals", f"{api}/originals?wnid={wnid}&limit=50"),
            candidates,
            more,
            lambda: self.ask("candidates, filtered", f"{api}/candidates?wnid={wnid}&min_frequency=0.7&excluded=no&only_targets=true"),
            details,
            exclude,
            undo,
            lambda: self.ask("page: audit log", "/review/audit"),
            lambda: self.ask("page: audit, one person", "/review/audit?user=reviewer%203&kind=problematic"),
        ]


def measure(folder: Path, *, reviewers: int, seconds: float, think_s: float) -> dict:
    with closing(open_study(folder)) as study:
        with study.database.read() as tables:
            wnids = [info.wnid for info in tables.classes.all()]
        tokens = [
            review_people.give_token(study, f"reviewer {n}", review_people.Role.REVIEWER, stamp=STAMP).token for n in range(reviewers)
        ]
    command = [sys.executable, "-m", "retest", "serve", "--study", str(folder), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        port = re.search(r"port (\d+)\)", server.stdout.readline()).group(1)
        _wait_until_up(port)
        people = [Reviewer(f"http://127.0.0.1:{port}", token, wnids, n) for n, token in enumerate(tokens)]
        people[0].visit()[1]()  # class counts are parsed once per process
        people[0].times.clear()
        until = time.perf_counter() + seconds
        threads = [threading.Thread(target=person.work, args=(until, think_s)) for person in people]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        memory = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{server.pid}/status").read_text())
    finally:
        server.terminate()
        server.wait(30)
    times: dict[str, list[float]] = defaultdict(list)
    for person in people:
        for name, took in person.times:
            times[name].append(1000 * took)
    rows = {
        name: {"n": len(found), "p50_ms": round(quantiles(found, n=100)[49], 1), "p95_ms": round(quantiles(found, n=100)[94], 1)}
        for name, found in sorted(times.items())
        if len(found) > 1
    }
    return {
        "reviewers": reviewers,
        "think_s": think_s,
        "requests_per_s": round(sum(map(len, times.values())) / seconds, 1),
        "server_peak_mb": int(memory.group(1)) // 1024 if memory else None,
        "failures": [failure for person in people for failure in person.failures][:5],
        "times": rows,
    }


def _wait_until_up(port: str) -> None:
    for _ in range(600):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=5)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the server does not come up")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=20_000)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--reviewers", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--think-s", type=float, default=1.0, help="how long a person looks between two requests, on average")
    parser.add_argument("--folder", type=Path, required=True, help="where the study lies, or is made")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    made = options.folder / "made.json"
    steps = json.loads(made.read_text()) if made.exists() else make(options.folder, options.candidates, options.classes)
    found = measure(options.folder, reviewers=options.reviewers, seconds=options.seconds, think_s=options.think_s)
    if options.json:
        print(json.dumps({"make_s": steps, **found}, indent=2))
        return
    print(f"{found['reviewers']} reviewers, {found['requests_per_s']} requests per second, peak of the server {found['server_peak_mb']} MB")
    print(f"{'request':32} {'n':>6} {'p50 ms':>8} {'p95 ms':>8}")
    for name, row in found["times"].items():
        print(f"{name:32} {row['n']:>6} {row['p50_ms']:>8} {row['p95_ms']:>8}")
    for failure in found["failures"]:
        print("FAILED", failure)


if __name__ == "__main__":
    main()
