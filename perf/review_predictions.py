"""How fast the pages of predictions answer with many reviewers at once: p50 and p95 per kind of request, over real HTTP.

    python perf/review_predictions.py --folder /tmp/perf-predictions --images 50000 --models 60 --json

makes a study of made-up predictions (once per folder), starts ``retest serve`` and lets 20 reviewers work: each one asks, waits as long as
a person looks (exponential, 1 second on average; --think-s 0 asks without pause), asks again. The clients are threads of this process, so
they share the machine with the server. Times are those of whole answers. ``first`` is how long the first visit waits for the index.
"""

from __future__ import annotations

import argparse
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
from contextlib import closing
from pathlib import Path
from statistics import quantiles
from urllib.parse import quote, urlencode

import numpy as np
import sqlalchemy as sa

from retest.images import variant_names
from retest.records import ClassInfo, OriginalImage, Predictions, Split
from retest.stages import review_people
from retest.stages._common import Stamp
from retest.stages._evaluation_results import StudyResults
from retest.store import schema
from retest.study import StudyConfig, StudySettings, create_study, open_study

STAMP = Stamp("perf", "2026-01-01T00:00:00+00:00")
CLASSES = 1000
SET = "original"
_BLOCK = 10_000


def make(folder: Path, images: int, models: int) -> None:
    """Images of 1000 classes of different difficulty, models of different skill; wrong answers come from three classes per image."""
    rng = np.random.default_rng(1)
    ids = [hashlib.sha1(str(number).encode()).hexdigest() for number in range(images)]
    labels = rng.integers(0, CLASSES, images)
    confused = rng.integers(0, CLASSES, (images, 3))
    others = rng.integers(0, CLASSES, (images, 12))
    hardness = rng.beta(1.2, 2.5, images)
    with closing(create_study(folder, StudyConfig(study=StudySettings(name="perf")))) as study:
        name = variant_names(study.config.images)[1]
        with study.database.write() as tables:
            tables.classes.put([ClassInfo(f"n{cid:08}", cid, (f"class {cid}", "a synonym"), "some words") for cid in range(CLASSES)])
            tables.originals.add(OriginalImage(i, Split.VAL, f"n{cid:08}") for i, cid in zip(ids, labels.tolist(), strict=True))
            for start in range(0, images, _BLOCK):
                rows = [
                    {"image_id": i, "variant": name, "blob_key": f"images/x/{i}", "sha256": hashlib.sha256(i.encode()).hexdigest()}
                    | {"size_bytes": 1000, "width": 500, "height": 375, "notes": []}
                    for i in ids[start : start + _BLOCK]
                ]
                tables.connection.execute(sa.insert(schema.variants), rows)
        results = StudyResults(study)
        for model in range(models):
            right = rng.random(images) > hardness * (1.4 - model / models)
            pick = confused[np.arange(images), rng.choice(3, images, p=[0.6, 0.3, 0.1])]
            top = np.stack([np.where(right, labels, pick), np.where(right, pick, labels), *others[:, rng.permutation(12)[:3]].T], axis=1)
            scores = np.sort(rng.random((images, 5)).astype(np.float32))[:, ::-1].copy()
            results.store(Predictions(SET, f"model-{model:02}", tuple(ids), labels, top, scores), f"perf {model}")
    (folder / "made").touch()


class Reviewer:
    """One person at a browser: a session, a connection, a random walk over the pages."""

    def __init__(self, port: int, token: str, seed: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.random, self.times, self.failures = random.Random(seed), list[tuple[str, float]](), list[str]()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        self.connection.request("POST", "/review/sign-in", urlencode({"token": token}), headers)
        answer = self.connection.getresponse()
        answer.read()
        self.headers = {"Cookie": answer.headers["Set-Cookie"].split(";")[0]}
        self.csrf = re.search(r'data-csrf="(\w+)"', self.ask("", "/review/predictions").decode()).group(1)
        self.times.clear()

    def ask(self, name: str, path: str, body: object = None) -> bytes:
        started = time.perf_counter()
        headers = self.headers if body is None else {**self.headers, "Content-Type": "application/json", "X-CSRF-Token": self.csrf}
        self.connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body), headers)
        answer = self.connection.getresponse()
        data = answer.read()
        if answer.status not in (200, 409):
            self.failures.append(f"{name} {answer.status} {data[:200]!r}")
        self.times.append((name, time.perf_counter() - started))
        return data

    def work(self, until: float, think_s: float) -> None:
        time.sleep(self.random.random() * 5 * think_s)  # nobody comes at the same moment
        while time.perf_counter() < until:
            for step in self.visit():
                step()
                if think_s:
                    time.sleep(self.random.expovariate(1 / think_s))
                if time.perf_counter() > until:
                    return

    def visit(self):
        """Look at two pages of a list, then judge a few images one after the other."""
        api, state = "/review/api/predictions", {}
        filters = f"dataset={SET}&show={self.random.choice(('all', 'all_wrong', 'disagreement'))}"
        filters += self.random.choice(("", "&judged=open", "&skip_reviewed=true", f"&predicted=n{self.random.randrange(CLASSES):08}"))

        def first() -> None:
            self.ask("page: list", f"/review/predictions?{filters}")
            state.update(json.loads(self.ask("list, first page", f"{api}?{filters}&limit=48")))

        def deeper() -> None:
            if state["next"]:
                self.ask("page: list, next page", f"/review/predictions?{filters}&after={quote(state['next'])}")

        def image() -> None:
            if state["images"]:
                state["image"] = self.random.choice(state["images"])["image"]["id"]
                self.ask("page: image", f"/review/predictions/image?{filters}&image={state['image']}")
                state["items"] = [json.loads(self.ask("image", f"{api}/image?dataset={SET}&image={state['image']}"))]

        def queue() -> None:
            if "image" in state:
                page = json.loads(self.ask("queue of 4 images", f"{api}/queue?{filters}&after={state['image']}&limit=4"))
                state["items"] = page["items"] or state["items"]

        def judge() -> None:
            for one in self.random.sample(state.get("items", []), min(1, len(state.get("items", [])))):
                label = self.random.choice([label for label in one["labels"] if label["item"]])
                after = self.random.choice([v for v in ("correct", "wrong", "unclear", "dont_know") if v != label["state"]])
                change = {"kind": "predicted_label", "item": label["item"], "after": after, "version": label["version"]}
                done = json.loads(self.ask("judge", "/review/api/decisions", {"changes": [change]}))
                for decided in done.get("decided", []):
                    label.update(version=decided["version"], state=decided["state"])
                self.ask("progress after a judgement", f"{api}/progress?dataset={SET}")

        return [first, deeper, image, judge, queue, judge, judge, judge]


def measure(folder: Path, *, reviewers: int, seconds: float, think_s: float) -> dict:
    with closing(open_study(folder)) as study:
        roles = review_people.Role
        tokens = [review_people.give_token(study, f"reviewer {n}", roles.ANNOTATOR, stamp=STAMP).token for n in range(reviewers)]
    command = [sys.executable, "-m", "retest", "serve", "--study", str(folder), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        port = int(re.search(r"port (\d+)\)", server.stdout.readline()).group(1))
        _wait_until_up(port)
        people = [Reviewer(port, tokens[0], 0)]
        started = time.perf_counter()
        while b'id="preparing"' in people[0].ask("", f"/review/predictions?dataset={SET}"):
            time.sleep(0.2)
        first_s = time.perf_counter() - started
        people[0].times.clear()
        people += [Reviewer(port, token, n) for n, token in enumerate(tokens[1:], start=1)]
        load, until = os.getloadavg()[0], time.perf_counter() + seconds
        threads = [threading.Thread(target=person.work, args=(until, think_s)) for person in people]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        memory = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{server.pid}/status").read_text())
    finally:
        server.terminate()
        server.wait()
    times = defaultdict(list)
    for person in people:
        for name, duration in person.times:
            times[name].append(1000 * duration)
    times["all"] = [took for found in times.values() for took in found]
    rows = {name: _row(found) for name, found in sorted(times.items()) if len(found) > 1}
    failures = [failure for person in people for failure in person.failures]
    return {
        "load_before": load,
        "first_s": round(first_s, 2),
        "peak_mib": int(memory.group(1)) // 1024,
        "ms": rows,
        "failures": failures[:5],
    }


def _row(found: list[float]) -> dict[str, float]:
    return {"n": len(found), "p50": round(quantiles(found, n=100)[49], 1), "p95": round(quantiles(found, n=100)[94], 1)}


def _wait_until_up(port: int) -> None:
    for _ in range(300):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            connection.getresponse().read()
            return
        except OSError:
            time.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--models", type=int, default=60)
    parser.add_argument("--reviewers", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--think-s", type=float, default=1.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not (options.folder / "made").is_file():
        make(options.folder, options.images, options.models)
    found = measure(options.folder, reviewers=options.reviewers, seconds=options.seconds, think_s=options.think_s)
    if options.json:
        print(json.dumps(found, indent=1))
        return
    print(f"first visit {found['first_s']} s, peak {found['peak_mib']} MiB, load before {found['load_before']:.1f}")
    for name, row in found["ms"].items():
        print(f"{name:32} {row['n']:6} {row['p50']:8} {row['p95']:8}")
    for failure in found["failures"]:
        print(failure, file=sys.stderr)


if __name__ == "__main__":
    main()
