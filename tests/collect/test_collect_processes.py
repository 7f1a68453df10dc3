"""Decoding in processes: the same results as in threads, nothing left behind by a killed parent, a word about a dead worker."""

from __future__ import annotations

import io
import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from retest.errors import StageError
from retest.records import Candidate
from retest.stages import _decoding
from retest.stages._common import Stamp
from retest.stages.images import ImageCounts, open_executor, store_images
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


def study_of(folder: Path) -> Study:
    study = create_study(folder, StudyConfig())
    with study.database.write() as tables:
        tables.candidates.add(Candidate(f"{number:040x}", "n1", "mine", str(number), str(number)) for number in range(len(CONTENTS)))
    return study


def store(study: Study, executor: Executor | None) -> ImageCounts:
    return store_images(study, lambda candidate: CONTENTS[int(candidate.photo_id)], stamp=STAMP, executor=executor)


def test_few_images_take_threads_and_many_take_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with closing(study_of(tmp_path)) as study:
        for least, kind in ((len(CONTENTS) + 1, ThreadPoolExecutor), (len(CONTENTS), ProcessPoolExecutor)):
            monkeypatch.setattr(_decoding, "PROCESSES_FROM", least)
            with open_executor(study) as executor:
                assert isinstance(executor, kind)


def test_processes_give_what_threads_give(tmp_path: Path):
    dumps = []
    for number, images in enumerate((1, _decoding.PROCESSES_FROM)):
        with closing(study_of(tmp_path / str(number))) as study, _decoding.decoding_executor(images, workers=2) as executor:
            counts = store(study, executor)
            assert (counts.stored, counts.failed) == (20, 3)
            dumps.append((canonical_dump(study), [(key, study.blobs.get(key)) for key, _ in study.blobs.list()]))
    assert dumps[0] == dumps[1]
    assert sum("exif_orientation=6" in line for line in dumps[0][0]) == 7 * 3


def test_a_worker_that_dies_is_explained_and_nothing_is_lost(tmp_path: Path):
    context = multiprocessing.get_context("spawn")
    with closing(study_of(tmp_path)) as study:
        with ProcessPoolExecutor(1, mp_context=context, initializer=os._exit, initargs=(1,)) as broken, pytest.raises(StageError) as caught:
            store(study, broken)
        assert "ended unexpectedly" in caught.value.problem
        assert "Run the same command again" in str(caught.value.remedy)
        assert store(study, None).stored == 20


PARENT = """
import os, time
from retest.stages._decoding import PROCESSES_FROM, decoding_executor
if __name__ == "__main__":
    with decoding_executor(PROCESSES_FROM, workers=2) as executor:
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
