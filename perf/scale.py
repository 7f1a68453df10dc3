"""How commands grow from 10,000 to 1,000,000 candidates: wall time, processor time and peak memory of each (run by hand).

    python perf/scale.py --folder /tmp/scale [--sizes 10000,100000,1000000] [--only sample] [--again] [--json]

Makes a study per size with retest.testing.scale (one class, 250 HITs and 2,500 answers per 1,000 candidates; the largest takes some
15 GB), then runs every command as a process of its own. What was measured is kept in FOLDER/measured.json, so that a run that was
stopped goes on; --again measures again. The first commands derive selection frequencies and resolution, as after an import.

The exponent is the slope of log(time) over log(candidates) between the two largest sizes: 1 is proportional. "start" is what every
command pays for starting Python and opening the study, which is taken off before the exponent is computed. Peaks below that of this
process (some 95 MiB) are not seen, because a new process begins as a copy of it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import os
import re
import statistics
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, urlencode

from retest.stages import review_people
from retest.stages._common import Stamp
from retest.study import open_study

_MAKE = """
import sys
from pathlib import Path
from retest.testing.scale import generate_study
size = int(sys.argv[2])
generate_study(Path(sys.argv[1]), classes=max(2, size // 1000), candidates=size, hits=size // 4, seed=1)
"""
_DERIVE = """
import sys
from contextlib import closing
from pathlib import Path
from retest.stages.{module} import {name} as derive
from retest.study import open_study
with closing(open_study(Path(sys.argv[1]))) as study, study.database.write() as tables:
    derive({arguments})
"""
_START = """
import sys
from pathlib import Path
import retest.cli._common, retest.stages.status
from retest.study import open_study
open_study(Path(sys.argv[1])).close()
"""
_REVISION = ("--per-class", "10", "--seed", "1", "--allow-invalid")


def commands(folder: Path) -> dict[str, list[str]]:
    """Name -> arguments, in the order in which they are run."""
    at = ["--study", str(folder)]
    frequencies = _DERIVE.format(module="_frequencies", name="refresh_frequencies", arguments="tables")
    resolution = _DERIVE.format(module="_duplicates", name="refresh_resolution", arguments="study, tables")
    retest = ["-m", "retest"]
    return {
        "start": ["-c", _START, str(folder)],
        "status": [*retest, "status", *at],
        "frequencies, derived": ["-c", frequencies, str(folder)],
        "resolution and review thresholds, derived": ["-c", resolution, str(folder)],
        "duplicates resolve": [*retest, "duplicates", "resolve", *at, "--json"],
        "duplicates stats": [*retest, "duplicates", "stats", *at],
        "duplicates queue": [*retest, "duplicates", "queue", *at],
        "label plan --dry-run": [*retest, "label", "plan", *at, "--dry-run"],
        "label plan --originals --dry-run": [*retest, "label", "plan", *at, "--originals", "--dry-run"],
        "plan neighbors (l2, dssim)": [*retest, "plan", "neighbors", *at, "--metric", "l2", "--metric", "dssim"],
        "label list": [*retest, "label", "list", *at, "--json"],
        "label progress --collected": [*retest, "label", "progress", *at, "--collected"],
        "label workers": [*retest, "label", "workers", *at],
        "label quality": [*retest, "label", "quality", *at],
        "sample threshold": [*retest, "sample", "threshold", *at, *_REVISION, "--name", "scale-a-1"],
        "sample matched-frequency": [*retest, "sample", "matched-frequency", *at, *_REVISION, "--name", "scale-b-1"],
        "sample top-images": [*retest, "sample", "top-images", *at, *_REVISION, "--name", "scale-c-1"],
        "report": [*retest, "report", *at, "--out", str(folder / "report.html")],
        "study verify": [*retest, "study", "verify", *at],
    }


def run(arguments: list[str], log: Path) -> dict[str, float]:
    """One process: wall and processor seconds, peak resident memory in MiB."""
    started = time.perf_counter()
    with log.open("wb") as errors:
        process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - started
    if process.returncode:
        print(f"exit code {process.returncode}: {' '.join(arguments[:6])}\n{log.read_text()[-1500:]}", file=sys.stderr)
    return {
        "wall_s": round(wall, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mib": usage.ru_maxrss // 1024,
        "exit": process.returncode,
        "load": round(os.getloadavg()[0], 1),
    }


def review_pages(folder: Path) -> dict[str, float]:
    """One reviewer at the review pages: the first look, which may have to count, and the median and slowest of later requests."""
    with closing(open_study(folder)) as study:
        with study.database.read() as tables:
            wnids = [info.wnid for info in tables.classes.all()]
        stamp = Stamp("perf", "2026-01-01T00:00:00+00:00")
        token = review_people.give_token(study, "reviewer 1", review_people.Role.REVIEWER, stamp=stamp).token
    command = [sys.executable, "-m", "retest", "serve", "--study", str(folder), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        port = int(re.search(r"port (\d+)\)", server.stdout.readline()).group(1))
        connection = _connected(port)
        body = urlencode({"token": token})
        connection.request("POST", "/review/sign-in", body, {"Content-Type": "application/x-www-form-urlencoded"})
        answer = connection.getresponse()
        answer.read()
        headers = {"Cookie": answer.headers["Set-Cookie"].split(";")[0]}
        first: dict[str, float] = {}
        later: list[float] = []
        for turn in range(6):
            wnid = wnids[turn * (len(wnids) - 1) // 5]
            for name, path in {
                "progress": "/review",
                "classes": "/review/classes?sort=missing&descending=true",
                "class": f"/review/class?wnid={wnid}",
                "candidates": f"/review/api/candidates?wnid={quote(wnid)}&limit=200",
                "near-duplicates": "/review/pairs",
                "audit": "/review/audit",
            }.items():
                started = time.perf_counter()
                connection.request("GET", path, headers=headers)
                answer = connection.getresponse()
                answer.read()
                took = time.perf_counter() - started
                if answer.status != 200:
                    print(f"{name}: {answer.status}", file=sys.stderr)
                if turn:
                    later.append(took)
                else:
                    first[name] = round(took, 2)
        memory = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{server.pid}/status").read_text())
    finally:
        server.terminate()
        server.wait(60)
    return {
        "wall_s": round(sum(first.values()), 2),
        "first": first,
        "median_ms": round(1000 * statistics.median(later), 1),
        "slowest_ms": round(1000 * max(later), 1),
        "peak_mib": int(memory.group(1)) // 1024,
        "load": round(os.getloadavg()[0], 1),
    }


def _connected(port: int) -> http.client.HTTPConnection:
    for _ in range(600):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
            connection.request("GET", "/health")
            connection.getresponse().read()
        except OSError:
            time.sleep(0.1)
        else:
            return connection
    raise SystemExit("the server does not come up")


def measure(root: Path, sizes: list[int], *, only: str, again: bool) -> dict[str, dict[str, dict[str, float]]]:
    """Run what was not run yet; every result is written as soon as it is there."""
    file = root / "measured.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    for size in sizes:
        folder, done = root / f"study-{size}", found.setdefault(str(size), {})

        def keep(name: str, values: dict[str, float], done: dict[str, dict[str, float]] = done, size: int = size) -> None:
            done[name] = values
            temporary = file.with_suffix(".tmp")
            temporary.write_text(json.dumps(found, indent=1))
            temporary.replace(file)
            print(f"{size:>9} {name:44} {values.get('wall_s')} s, {values.get('peak_mib')} MiB", file=sys.stderr)

        if not (folder / "study.toml").exists():
            keep("(making the study)", run(["-c", _MAKE, str(folder), str(size)], root / "stderr.txt"))
        for name, arguments in commands(folder).items():
            if only in name and (again or name not in done):
                keep(name, run(arguments, root / "stderr.txt"))
        name = "review pages, first look"
        if only in name and (again or name not in done):
            keep(name, review_pages(folder))
    return found


def exponent(found: dict[str, dict[str, dict[str, float]]], name: str, key: str) -> float | None:
    """Slope of log(value) over log(candidates) between the two largest sizes that have it, the start taken off."""
    rows = sorted((int(size), done) for size, done in found.items() if key in done.get(name, {}) and "start" in done)
    if len(rows) < 2:
        return None
    (small, before), (large, after) = rows[-2:]
    values = [max(done[name][key] - done["start"].get(key, 0), 0.01) for done in (before, after)]
    return round(math.log(values[1] / values[0]) / math.log(large / small), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the studies lie, or are made")
    parser.add_argument("--sizes", default="10000,100000,1000000", help="numbers of candidates, with commas")
    parser.add_argument("--only", default="", help="only commands with this in their name")
    parser.add_argument("--again", action="store_true", help="measure again what was measured")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    sizes = [int(size) for size in options.sizes.split(",")]
    found = measure(options.folder, sizes, only=options.only, again=options.again)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    names = list(dict.fromkeys(name for size in sizes for name in found.get(str(size), {})))
    print("| command | " + " | ".join(f"{size:,}: wall s / CPU s / MiB" for size in sizes) + " | exponent of CPU time | of memory |")
    print("| --- |" + " --- |" * (len(sizes) + 2))
    for name in names:
        rows = [found.get(str(size), {}).get(name, {}) for size in sizes]
        cells = [f"{row.get('wall_s', '')} / {row.get('cpu_s', '')} / {row.get('peak_mib', '')}" for row in rows]
        print(f"| {name} | {' | '.join(cells)} | {exponent(found, name, 'cpu_s')} | {exponent(found, name, 'peak_mib')} |")


if __name__ == "__main__":
    main()
