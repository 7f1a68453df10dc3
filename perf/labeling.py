"""Simulated annotators answer HITs through the labelling server's real HTTP interface, on the loopback address only.

    python perf/labeling.py --hits 5000 --assignments 10

``retest serve`` runs as a process of its own. HITs are published and collected by the protocol (boto3); annotators come in by invitation
links, load the task page, hand in and follow the redirect to the next task, each on a kept connection, as browsers do. At the end every
collected answer is compared with what its annotator sent. Printed as JSON: requests and answers per second and latencies.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import numpy as np

from retest.crowd import CrowdParameters, HitTask, MTurkCrowd, SimulatedAnnotator, SimulatedCrowdParameters, selection_probability
from retest.records import ClassInfo, Hit
from retest.study import StudyConfig, create_study
from retest.web import open_participants

KEY = "a key for benchmarks only, 32 b.."
IMAGES = 48
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def make_hit(number: int) -> Hit:
    images = tuple(f"image-{number}-{index}" for index in range(IMAGES))
    return Hit(f"hit-{number:06d}", "n0", images[:42], images[42:45], images[45:], images)


def make_task(number: int, assignments: int) -> HitTask:
    rng = random.Random(number)
    urls = tuple(f"./public/{rng.randrange(256):02x}/{rng.getrandbits(128):032x}.jpg" for _ in range(IMAGES))
    return HitTask(make_hit(number), ClassInfo("n0", 0, ("thing",), "some thing"), urls, CrowdParameters(), assignments)


class Annotator(threading.Thread):
    """One person: loads tasks and hands them in until there is none. ``sent``: assignment id -> indices selected."""

    def __init__(self, number: int, link: str, places: threading.Semaphore) -> None:
        super().__init__(daemon=True)
        self.link, self.places = urlsplit(link), places
        self.person = SimulatedAnnotator(f"simulated-{number}", skill=1.0, bias=0.0, lapse_rate=0.02, pace=1.0)
        self.rng = np.random.default_rng(number)
        self.sent: dict[str, tuple[str, tuple[int, ...]]] = {}
        self.times: dict[str, list[float]] = {"submit": [], "next": [], "page": []}
        self.connection = http.client.HTTPConnection(self.link.hostname, self.link.port, timeout=300)
        self.failure: Exception | None = None
        self.repeats = 0

    def call(self, kind: str | None, method: str, target: str, body: str | None = None) -> tuple[int, str, str]:
        with self.places:
            started = time.perf_counter()
            try:
                reply, text = self.once(method, target, body)
            except (http.client.RemoteDisconnected, ConnectionError):  # an idle connection was closed; the page repeats, too
                self.connection.close()
                self.repeats += 1
                reply, text = self.once(method, target, body)
            if kind is not None:
                self.times[kind].append(time.perf_counter() - started)
        if reply.status not in (200, 303):
            raise RuntimeError(f"{method} {target}: {reply.status} {text[:200]}")
        return reply.status, reply.headers.get("Location", ""), text

    def once(self, method: str, target: str, body: str | None) -> tuple[http.client.HTTPResponse, str]:
        self.connection.request(method, target, body, FORM if body is not None else {})
        reply = self.connection.getresponse()
        return reply, reply.read().decode()

    def run(self) -> None:
        try:
            _, where, _ = self.call(None, "POST", self.link.path, "")
            while where.startswith("/task?"):
                where = self.answer(where)
        except Exception as error:  # noqa: BLE001 raised again by the main thread
            self.failure = error

    def answer(self, where: str) -> str:
        _, _, page = self.call("page", "GET", where)
        uuid = re.search(r'name="hit" value="([^"]+)"', page)[1]
        assignment = parse_qs(urlsplit(where).query)["assignmentId"][0]
        affinities = np.random.default_rng(int(uuid[4:])).random(IMAGES)
        chances = selection_probability(affinities, self.person, parameters=SimulatedCrowdParameters())
        chosen = tuple(int(index) for index in np.flatnonzero(self.rng.random(IMAGES) < chances))
        fields = {"assignmentId": assignment, "hit": uuid, "shown": str(IMAGES), "missing": "", **{f"select-{i}": "1" for i in chosen}}
        self.sent[assignment] = (uuid, chosen)
        _, where, _ = self.call("submit", "POST", "/mturk/externalSubmit", urlencode(fields))
        _, where, _ = self.call("next", "GET", where)
        return where


def quantiles(values: list[float]) -> dict[str, float]:
    return {f"p{q}_ms": round(1000 * float(np.quantile(values, q / 100)), 1) for q in (50, 95, 99)}


def run(folder: Path, *, hits: int, assignments: int, annotators: int, at_once: int) -> dict[str, object]:
    study = create_study(folder / "study", StudyConfig())
    environment = {**os.environ, "RETEST_WORKER_KEY": KEY, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "retest", "serve", "--study", str(folder / "study"), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        port = int(re.search(r"port (\d+)", server.stdout.readline())[1])
        url = f"http://127.0.0.1:{port}"
        with closing(open_participants(study)) as people:
            links = [f"{url}/join/{people.invite(f'simulated {n}', now=0.0).token}" for n in range(annotators)]
        crowd = MTurkCrowd(CrowdParameters(backend="server", endpoint=url), worker_key=KEY.encode())
        started = time.perf_counter()
        for number in range(hits):
            crowd.publish(make_task(number, assignments))
        publish_s = time.perf_counter() - started

        places = threading.Semaphore(at_once)
        crew = [Annotator(number, link, places) for number, link in enumerate(links)]
        started = time.perf_counter()
        for one in crew:
            one.start()
        for one in crew:
            one.join()
        answer_s = time.perf_counter() - started
        for one in crew:
            if one.failure is not None:
                raise one.failure

        started = time.perf_counter()
        found = {a.assignment.id: a.assignment for a in crowd.collect([make_hit(number) for number in range(hits)])}
        collect_s = time.perf_counter() - started
        status = Path(f"/proc/{server.pid}/status")
        peak = re.search(r"VmHWM:\s+(\d+)", status.read_text())[1] if status.exists() else "0"
    finally:
        server.terminate()
        server.wait(30)
        study.close()
    sent = {name: answer for one in crew for name, answer in one.sent.items()}
    by_uuid = {hit.uuid: hit for hit in (make_hit(number) for number in range(hits))}
    wrong = [n for n, (u, chosen) in sent.items() if found[n].selected != tuple(by_uuid[u].images_all[i] for i in chosen)]
    if wrong or len(found) != hits * assignments or set(found) != set(sent):
        raise SystemExit(f"{len(found)} answers collected, {len(sent)} sent, {hits * assignments} wanted, {len(wrong)} differ")
    times = {kind: quantiles([t for one in crew for t in one.times[kind]]) for kind in ("page", "submit", "next")}
    return {
        "cores": os.cpu_count(),
        "load_average": [round(value, 1) for value in os.getloadavg()],
        "hits": hits,
        "assignments": len(found),
        "annotators": annotators,
        "at_once": at_once,
        "publish_hits_per_s": round(hits / publish_s, 1),
        "answers_per_s": round(len(found) / answer_s, 1),
        "requests_per_s": round(3 * len(found) / answer_s, 1),
        "collect_answers_per_s": round(len(found) / collect_s, 1),
        "latency": times,
        "repeated_requests": sum(one.repeats for one in crew),
        "server_peak_mib": int(peak) // 1024,
        "seconds": round(publish_s + answer_s + collect_s, 1),
        "all_answers_equal_what_was_sent": True,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hits", type=int, default=5000)
    parser.add_argument("--assignments", type=int, default=10)
    parser.add_argument("--annotators", type=int, default=40, help="people; at least as many as assignments")
    parser.add_argument("--at-once", type=int, default=8, help="requests under way at the same time")
    options = parser.parse_args()
    if options.annotators < options.assignments:
        parser.error("--annotators must be at least --assignments: nobody answers a HIT twice")
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(run(Path(folder), **vars(options)), indent=2))


if __name__ == "__main__":
    main()
