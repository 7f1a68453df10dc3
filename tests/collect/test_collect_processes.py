"""Decoding in processes: the same results as in threads, nothing left behind by a killed parent, and images that crash their decoder."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from collect_study import CLASSES, make_study
from PIL import Image

from retest.errors import StageError
from retest.records import Candidate
from retest.stages import _decoding
from retest.stages._common import Stamp
from retest.stages._decoding import decoding_executor
from retest.stages._processes import IsolatingExecutor
from retest.stages.images import ImageCounts, store_images
from retest.study import Study, StudyConfig, create_study
from retest.testing.database import canonical_dump
from retest.testing.imageserver import sample_image

STAMP = Stamp("tester", "2026-01-01T00:00:00+00:00")


def encoded(number: int) -> bytes:
    """A JPEG file, two of three of them lying on a side by their EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = (1, 6, 8)[number % 3]
    buffer = io.BytesIO()
    sample_image(number).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


CONTENTS = [*(encoded(number) for number in range(20)), b"", b"<html>", encoded(1)[:900]]


def study_of(folder: Path, *, count: int = len(CONTENTS)) -> Study:
    study = create_study(folder, StudyConfig())
    with study.database.write() as tables:
        tables.candidates.add(Candidate(f"{number:040x}", "n1", "mine", str(number), str(number)) for number in range(count))
    return study


def store(study: Study, executor: Executor | None) -> ImageCounts:
    return store_images(study, lambda candidate: CONTENTS[int(candidate.photo_id)], stamp=STAMP, executor=executor)


def test_processes_give_what_threads_give(tmp_path: Path):
    dumps = []
    for number, opened in enumerate((ThreadPoolExecutor(2), decoding_executor(1000, workers=2))):
        with closing(study_of(tmp_path / str(number))) as study, opened as executor:
            counts = store(study, executor)
            assert (counts.stored, counts.failed) == (20, 3)
            dumps.append((canonical_dump(study), [(key, study.blobs.get(key)) for key, _ in study.blobs.list()]))
    assert dumps[0] == dumps[1]
    assert sum("exif_orientation=6" in line for line in dumps[0][0]) == 7 * 3


# Loaded by every Python that starts with its folder on the path: what a fault in a decoder's C code would do.
CRASHING_PILLOW = """
import os, signal, time
from PIL import Image
_open = Image.open
def crashing_open(file, *args, **kwargs):
    head = file.getvalue()[:40]
    if b"SEGFAULT" in head:
        os.kill(os.getpid(), signal.SIGSEGV)
    if b"EXIT" in head:
        os._exit(3)
    if b"MEMORY" in head:
        raise MemoryError
    if b"ONCE" in head and os.path.exists(os.environ["CRASH_ONCE"]):
        os.unlink(os.environ["CRASH_ONCE"])
        os.kill(os.getpid(), signal.SIGKILL)
    return _open(file, *args, **kwargs)
Image.open = crashing_open
"""


@pytest.fixture
def crashing_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of processes whose decoder crashes on some files; this process is not one of them."""
    (tmp_path / "crashing").mkdir()
    (tmp_path / "crashing/sitecustomize.py").write_text(CRASHING_PILLOW)
    once = tmp_path / "crash-once"
    once.touch()
    environment = {"PYTHONPATH": str(tmp_path / "crashing"), "CRASH_ONCE": str(once)}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return environment


def test_an_image_that_ends_its_process_is_excluded_and_the_rest_goes_on(tmp_path: Path, crashing_pillow: dict[str, str]):
    """Through the command line, from a folder: an exclusion with its reason, also in the next run and after --retry-failed."""
    folder = tmp_path / "pool" / CLASSES[0][0]
    folder.mkdir(parents=True)
    planted = {"02-SEGFAULT": "signal SIGSEGV", "05-EXIT": "exit code 3", "06-EXIT": "exit code 3", "08-MEMORY": "not enough memory"}
    for number in range(12):
        (folder / f"{number:02}.jpg").write_bytes(encoded(number))
    for name in (*planted, "09-ONCE"):
        # A comment right behind the first two bytes of a good JPEG file.
        words = name.encode()
        (folder / f"{name}.jpg").write_bytes(b"\xff\xd8\xff\xfe" + (len(words) + 2).to_bytes(2, "big") + words + encoded(20)[2:])
    study = make_study(tmp_path / "s", source={"kind": "folder", "location": str(tmp_path / "pool")})
    study.environment |= crashing_pillow
    assert study.json("search")["new_candidates"] == 17

    def excluded() -> dict[str, tuple[str, str]]:
        rows = study.rows("SELECT photo_id, reason, detail FROM candidates JOIN exclusions ON id = candidate_id")
        return {Path(photo).stem: (reason, detail) for photo, reason, detail in rows}

    # The one that crashed once, as for lack of memory, was tried again and is good; so are the two originals.
    assert study.json("download") == {"stored": 15, "failed": 4, "present": 0, "later": {}}
    found = excluded()
    assert {name: reason for name, (reason, _) in found.items()} == dict.fromkeys(planted, "decoder_crashed")
    assert all(planted[name] in detail for name, (_, detail) in found.items())
    assert study.json("download") == {"stored": 0, "failed": 0, "present": 15, "later": {}}
    study.run("publish")
    assert study.json("check")["ok"]
    assert study.json("download", "--retry-failed") == {"stored": 0, "failed": 4, "present": 15, "later": {}}
    assert excluded().keys() == found.keys()
    # With a decoder that is mended they are images like all others.
    study.environment.clear()
    del os.environ["PYTHONPATH"]
    assert study.json("download", "--retry-failed")["stored"] == 4
    assert excluded() == {}


def test_a_decoder_that_crashes_on_everything_is_no_fault_of_the_images(
    tmp_path: Path, crashing_pillow: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(_decoding, "_CRASHES_IN_A_ROW", 3)
    contents = [b"EXIT"] * 10
    with closing(study_of(tmp_path / "s", count=10)) as study, decoding_executor(1000, workers=2) as executor:
        with pytest.raises(StageError, match="3 images in a row ended the process") as caught:
            store_images(study, lambda candidate: contents[int(candidate.photo_id)], stamp=STAMP, executor=executor)
        assert "--retry-failed" in str(caught.value.remedy)


def test_a_process_that_cannot_start_is_explained_and_nothing_is_excluded(tmp_path: Path):
    with closing(study_of(tmp_path)) as study:
        with IsolatingExecutor(2, preload=("no_such_module",)) as broken, pytest.raises(StageError, match="cannot start"):
            store(study, broken)
        assert store(study, None).stored == 20


def test_an_error_comes_back_and_the_process_goes_on():
    with IsolatingExecutor(1) as executor:
        pid = executor.submit(os.getpid).result()
        with pytest.raises(ZeroDivisionError):
            executor.submit(divmod, 1, 0).result()
        assert executor.submit(os.getpid).result() == pid != os.getpid()
    assert not alive(pid)


PARENT = """
import os, time
from retest.stages._decoding import decoding_executor
if __name__ == "__main__":
    with decoding_executor(1000, workers=2) as executor:
        pids = set()
        while len(pids) < 2:
            pids |= {f.result() for f in [executor.submit(os.getpid) for _ in range(8)]}
        print(*pids, flush=True)
        time.sleep(600)
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_the_workers_of_a_killed_parent_end(tmp_path: Path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        assert parent.stdout is not None
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(workers) == 2
        assert all(alive(pid) for pid in workers)
        parent.kill()
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in workers)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
