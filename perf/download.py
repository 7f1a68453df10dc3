"""`retest download` (download, three variants, storing, recording) against img2dataset doing one resize of the same files.

    python perf/download.py --photos FOLDER --peer PYTHON_WITH_IMG2DATASET     # all that docs/performance.md says; 5 minutes
    python perf/download.py --photos FOLDER --memory                           # only the memory
    python perf/download.py --photos FOLDER --count 1000 --rounds 1            # only ours, quickly

Ours is the command itself on a study of its own, with its start, its database and its end; the peer is the call of its own that its
documentation shows. A server process serves the FOLDER's JPEG files on loopback, again and again under other names until COUNT. Both
programs get as many worker processes as there are cores; runs alternate and the medians count. It prints images and output images per
second, how busy the cores were (CPU time of all processes, the server's included, over wall time and cores), the CPU time per output
image, and the peak memory of the main process, of its largest worker and of all together.

The memory is measured with the same photos made small (96 pixels), so that 20,000 of them take a minute: what waits in memory is limited
in bytes and in number, and this shows that nothing else grows.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

CORES = len(os.sched_getaffinity(0))
SMALL = 96
MEMORY_COUNTS = (1_000, 5_000, 20_000)

PEER = """
import sys
from img2dataset import download
if __name__ == "__main__":
    download(url_list=sys.argv[1], output_folder=sys.argv[2], processes_count=int(sys.argv[3]), thread_count=32, image_size=256,
             resize_mode="keep_ratio", input_format="txt", output_format="files", encode_quality=90, enable_wandb=False,
             number_sample_per_shard=1000, retries=0, disallowed_header_directives=[], max_shard_retry=0)
"""


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


@contextmanager
def photo_server(photos: Path) -> Iterator[tuple[int, str]]:
    """(process id, start of its addresses) of a server of the folder's photos."""
    with subprocess.Popen([sys.executable, __file__, "--serve", str(photos)], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.pid, f"http://127.0.0.1:{int(server.stdout.readline())}/"
        finally:
            server.terminate()


def make_study(folder: Path, address: str, count: int, *, small: bool) -> None:
    """A study of so many candidates with addresses on the server; its command may use all cores."""
    from retest.images import ImageParameters
    from retest.records import Candidate
    from retest.sources.download import DownloadParameters
    from retest.study import StudyConfig, StudySettings, create_study

    config = StudyConfig(
        study=StudySettings(name="perf", workers=CORES),
        images=ImageParameters(display_side=SMALL, compare_side=64) if small else ImageParameters(),
        download=DownloadParameters(allow_private=True, host_rate_per_s=1e9, at_once=32, per_host=32),
    )
    with closing(create_study(folder, config)) as study, study.database.write() as tables:
        tables.candidates.add(Candidate(f"{n:040x}", "n1", "table", str(n), f"{address}{n}.jpg") for n in range(count))


@dataclass
class Run:
    """What one program took: seconds, megabytes."""

    wall: float
    cpu: float
    main_mb: float
    worker_mb: float
    together_mb: float


def measured(program: list[str]) -> Run:
    """Run a program to its end, looking at its processes ten times a second."""
    start = time.perf_counter()
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    main = worker = together = 0.0
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        others = descendants(process.pid)
        main = max(main, memory_mb(process.pid, "VmHWM"))
        worker = max([worker, *(memory_mb(other, "VmHWM") for other in others)])
        together = max(together, sum(memory_mb(one, "RssAnon") for one in [process.pid, *others]))
        time.sleep(0.1)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{program} ended with {process.returncode}")
    return Run(wall, usage.ru_utime + usage.ru_stime, main, worker, together)


def descendants(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    except OSError:
        pass
    return found


def memory_mb(pid: int, name: str) -> float:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith(name + ":")), 0.0)


def cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def retest_download(folder: Path) -> list[str]:
    return [sys.executable, "-m", "retest", "download", "--study", str(folder), "--json"]


def compare(options: argparse.Namespace) -> None:
    rates: dict[str, list[float]] = {}
    cpus: dict[str, list[float]] = {}
    with photo_server(options.photos) as (server, address), tempfile.TemporaryDirectory() as scratch:
        urls, peer = Path(scratch, "urls.txt"), Path(scratch, "peer.py")
        urls.write_text("\n".join(f"{address}{n}.jpg" for n in range(options.count)))
        peer.write_text(PEER)
        for turn in range(options.rounds):
            for name in ("retest", "img2dataset") if options.peer else ("retest",):
                folder = Path(scratch, f"{name}{turn}")
                if name == "retest":
                    make_study(folder, address, options.count, small=False)
                    program = retest_download(folder)
                else:
                    program = [options.peer, str(peer), str(urls), str(folder), str(CORES)]
                served = cpu_of(server)
                run = measured(program)
                files = sum(1 for path in folder.rglob("*.jpg"))
                if files != options.count * (3 if name == "retest" else 1):
                    raise SystemExit(f"{name} made {files} files of {options.count} images")
                cpu = run.cpu + cpu_of(server) - served
                rates.setdefault(name, []).append(files / run.wall)
                cpus.setdefault(name, []).append(1000 * cpu / files)
                print(
                    f"{name:12} {run.wall:6.1f} s  {options.count / run.wall:6.1f} images/s  {files / run.wall:7.1f} output images/s  "
                    f"cores busy {100 * cpu / run.wall / CORES:3.0f} %  CPU {1000 * cpu / files:.2f} ms per output  "
                    f"peak {run.main_mb:.0f} + {run.worker_mb:.0f} MB, together {run.together_mb:.0f}",
                    flush=True,
                )
    for name in rates:
        print(f"{name:12} medians: {statistics.median(rates[name]):.0f} output images/s, {statistics.median(cpus[name]):.2f} ms CPU each")
    if options.peer:
        ratio = statistics.median(rates["retest"]) / statistics.median(rates["img2dataset"])
        print(f"ratio per output image (medians): {ratio:.2f}")


def memory(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        small = Path(scratch, "photos")
        make_small(options.photos, small)
        with photo_server(small) as (_, address):
            for count in options.memory or MEMORY_COUNTS:
                folder = Path(scratch, f"study{count}")
                make_study(folder, address, count, small=True)
                run = measured(retest_download(folder))
                print(
                    f"{count:7} images: {run.wall:6.1f} s, peak of the main process {run.main_mb:.0f} MB, of the largest worker "
                    f"{run.worker_mb:.0f} MB, private memory of all together {run.together_mb:.0f} MB",
                    flush=True,
                )


def make_small(photos: Path, folder: Path) -> None:
    from PIL import Image

    folder.mkdir()
    for path in jpegs(photos):
        with Image.open(path) as image:
            image.thumbnail((SMALL, SMALL))
            buffer = io.BytesIO()
            image.convert("RGB").save(buffer, "JPEG", quality=90)
        (folder / path.name).write_bytes(buffer.getvalue())


def jpegs(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.[jJ][pP]*[gG]"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder of JPEG files")
    parser.add_argument("--count", type=int, default=4000, help="images per run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", help="a Python that has img2dataset installed; with it, everything is measured")
    parser.add_argument("--memory", type=int, nargs="*", metavar="IMAGES", help="only the memory, for so many images each")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve([path.read_bytes() for path in jpegs(options.serve)]))
        return
    if options.photos is None or not jpegs(options.photos):
        parser.error("--photos names no folder with JPEG files")
    if options.memory is None:
        compare(options)
    if options.memory is not None or options.peer:
        memory(options)


if __name__ == "__main__":
    main()
