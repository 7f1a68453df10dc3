"""Download + three variants + storing, against img2dataset doing one resize of the same files, on loopback.

    python perf/download.py --photos FOLDER --count 3000 [--peer PYTHON_WITH_IMG2DATASET]
    python perf/download.py --photos FOLDER --memory 1000 20000

Ours is the download stage itself on a study of its own, database and all. Serves the FOLDER's JPEG files (again and again under
other names until COUNT) from a process of its own and prints images per second, output images per second, how busy the cores were
(CPU time of all processes, the server's included, over wall time and cores), and peak memory. Both programs get the same number of
worker processes; runs alternate and the median counts.
With --memory it prints the peak memory of ours for each number of images instead.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from retest.records import Candidate
from retest.sources.download import Downloader, DownloadParameters
from retest.stages._common import Stamp
from retest.stages.images import download_images, open_executor
from retest.study import StudyConfig, StudySettings, create_study

CORES = len(os.sched_getaffinity(0))


async def serve(photos: list[bytes]) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                number = int(head.split(b" ", 2)[1].rsplit(b"/", 1)[1].split(b".")[0])
                body = photos[number % len(photos)]
                alive = b"keep-alive" if b"connection: close" not in head.lower() else b"close"
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nConnection: %s\r\nContent-Length: %d\r\n\r\n" % (alive, len(body))
                    + body
                )
                await writer.drain()
                if alive == b"close":
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


def ours(urls: list[str], folder: str, workers: int, executor: str) -> int:
    """The download stage on a study of its own, database included; returns the number of output images."""
    parameters = DownloadParameters(allow_private=True, host_rate_per_s=1e9, at_once=32, per_host=32)
    config = StudyConfig(study=StudySettings(name="perf", workers=workers), download=parameters)
    with closing(create_study(Path(folder), config)) as study:
        with study.database.write() as tables:
            tables.candidates.add(Candidate(f"{number:040x}", "n1", "table", str(number), url) for number, url in enumerate(urls))
        chosen = ThreadPoolExecutor(workers) if executor == "threads" else open_executor(study)
        with chosen as pool:
            counts = download_images(study, Downloader(parameters), stamp=Stamp("perf", "2026-01-01T00:00:00+00:00"), executor=pool)
    assert counts.stored == len(urls), counts
    return 3 * counts.stored


PEER = """
import sys
from img2dataset import download
if __name__ == "__main__":
    download(url_list=sys.argv[1], output_folder=sys.argv[2], processes_count=int(sys.argv[3]), thread_count=32, image_size=256,
             resize_mode="keep_ratio", input_format="txt", output_format="files", encode_quality=90, enable_wandb=False,
             number_sample_per_shard=1000, retries=0, disallowed_header_directives=[], max_shard_retry=0)
"""


def child(arguments: list[str]) -> dict[str, float]:
    """Run a program to its end; wall and CPU seconds of it and its children, and the largest process's peak memory."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(arguments, check=True, capture_output=True, text=True)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "cpu": cpu} | (json.loads(done.stdout.splitlines()[-1]) if done.stdout.startswith("{") else {})


def cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def own_run(urls: Path, folder: str, workers: int, executor: str) -> None:
    start = time.perf_counter()
    made = ours(urls.read_text().split(), folder, workers, executor)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(json.dumps({"made": made, "work": time.perf_counter() - start, "peak_mb": peak, "worker_peak_mb": largest}))


def start_server(photos: Path) -> tuple[subprocess.Popen[str], int]:
    server = subprocess.Popen([sys.executable, __file__, "--serve", str(photos)], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    return server, int(server.stdout.readline())


def compare(options: argparse.Namespace) -> None:
    server, port = start_server(options.photos)
    rates: dict[str, list[float]] = {}
    try:
        with tempfile.TemporaryDirectory() as scratch:
            urls = Path(scratch, "urls.txt")
            urls.write_text("\n".join(f"http://127.0.0.1:{port}/{n}.jpg" for n in range(options.count)))
            peer = Path(scratch, "peer.py")
            peer.write_text(PEER)
            for turn in range(options.rounds):
                for name in ("ours", "img2dataset") if options.peer else ("ours",):
                    folder = Path(scratch, f"{name}{turn}")
                    folder.mkdir()
                    program = [sys.executable, __file__, "--own", str(urls), str(folder), str(CORES), options.executor]
                    if name == "img2dataset":
                        program = [options.peer, str(peer), str(urls), str(folder), str(CORES)]
                    busy = cpu_of(server.pid)
                    result = child(program)
                    cpu = result["cpu"] + cpu_of(server.pid) - busy
                    files = sum(1 for path in folder.rglob("*.jpg"))
                    rate = files / result["wall"]
                    rates.setdefault(name, []).append(rate)
                    busy_percent = 100 * cpu / result["wall"] / CORES
                    print(
                        f"{name:12} {result['wall']:6.1f} s  {options.count / result['wall']:6.1f} images/s  {rate:7.1f} output images/s  "
                        f"cores busy {busy_percent:3.0f} %  CPU {1000 * cpu / files:.2f} ms per output",
                        flush=True,
                    )
    finally:
        server.terminate()
    if options.peer:
        print(f"ratio per output image (medians): {statistics.median(rates['ours']) / statistics.median(rates['img2dataset']):.2f}")


def memory(options: argparse.Namespace) -> None:
    server, port = start_server(options.photos)
    try:
        for count in options.memory:
            with tempfile.TemporaryDirectory() as scratch:
                urls = Path(scratch, "urls.txt")
                urls.write_text("\n".join(f"http://127.0.0.1:{port}/{n}.jpg" for n in range(count)))
                result = child([sys.executable, __file__, "--own", str(urls), scratch, str(CORES), options.executor])
                print(f"{count:7} images: {result['wall']:6.1f} s, peak {result['peak_mb']:.0f} MB", end="")
                print(f", largest worker {result['worker_peak_mb']:.0f} MB", flush=True)
    finally:
        server.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", help="a Python that has img2dataset installed")
    parser.add_argument("--memory", type=int, nargs="+")
    parser.add_argument("--executor", choices=["processes", "threads"], default="processes", help="where ours decodes")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--own", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve([path.read_bytes() for path in sorted(options.serve.glob("*.[jJ][pP]*[gG]"))]))
    elif options.own:
        own_run(Path(options.own[0]), options.own[1], int(options.own[2]), options.own[3])
    elif options.memory:
        memory(options)
    else:
        compare(options)


if __name__ == "__main__":
    main()
