"""Image bytes that somebody has damaged, or made to hurt: pixels or an :class:`ImageError`, never another exception, in bounded memory."""

from __future__ import annotations

import random
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import pytest
import security_images as odd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retest.errors import ImageError
from retest.images import REASONS, ImageParameters, make_variants

SMALL = ImageParameters(display_side=32, compare_side=16, max_pixels=1_000_000)
SAMPLES = odd.samples()
OUTCOMES = {"3 variants", *REASONS}


def outcome(data: bytes) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning of the decoder is no outcome either
        warnings.filterwarnings("ignore", module="PIL")
        try:
            return f"{len(make_variants(data, item='x', parameters=SMALL).variants)} variants"
        except ImageError as error:
            return error.reason if error.problem else "no message"


@pytest.mark.parametrize("name", SAMPLES)
def test_the_whole_file_is_read(name: str):
    assert outcome(SAMPLES[name]) == "3 variants"


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(sorted(SAMPLES)), st.integers(0, 2**32))
def test_a_damaged_image_is_pixels_or_a_reason(name: str, seed: int):
    assert outcome(odd.mutated(SAMPLES[name], random.Random(seed))) in OUTCOMES


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_an_image_that_ends_too_early_or_is_overwritten(name: str, data: st.DataObject):
    whole = SAMPLES[name]
    start = data.draw(st.integers(0, len(whole)))
    cut = whole[:start] + data.draw(st.binary(max_size=64)) + whole[start + data.draw(st.integers(0, len(whole))) :]
    assert outcome(cut) in OUTCOMES


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes):
    assert outcome(data) in OUTCOMES


def test_the_damage_reaches_the_decoders():
    """Neither does every change end at the first check, nor do they change nothing."""
    found = Counter(outcome(odd.mutated(SAMPLES[name], random.Random(seed))) for seed, name in enumerate(sorted(SAMPLES) * 10))
    assert set(found) >= {"3 variants", "corrupt", "not_an_image"}
    assert found["corrupt"] > 30


_IN_LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
from retest.errors import ImageError
from retest.images import ImageParameters, make_variants

small = ImageParameters(display_side=32, compare_side=16, max_pixels=int(sys.argv[2]))
whole, *bombs = map(Path, sys.argv[3:])
make_variants(whole.read_bytes(), item="whole", parameters=small)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[1]),) * 2)
for bomb in bombs:
    try:
        make_variants(bomb.read_bytes(), item=bomb.name, parameters=small)
    except ImageError as error:
        print(f"{bomb.name}: {error.reason}")
    except BaseException as error:
        print(f"{bomb.name}: {type(error).__name__}")
    else:
        print(f"{bomb.name}: variants")
"""


def in_little_memory(folder: Path, bombs: dict[str, bytes], *, max_pixels: int) -> dict[str, str]:
    """Decode in a process that may take 60 MB more memory than it has, up to images of ``max_pixels`` pixels."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs Linux's /proc")
    (folder / "whole").write_bytes(SAMPLES["tiff lzw"])
    for name, data in bombs.items():
        (folder / name).write_bytes(data)
    command = [sys.executable, "-c", _IN_LITTLE_MEMORY, "60000000", str(max_pixels), "whole", *bombs]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(line.split(": ") for line in done.stdout.splitlines())


def test_what_asks_for_much_memory_does_not_get_it(tmp_path: Path):
    bombs = odd.bombs()
    found = in_little_memory(tmp_path, bombs, max_pixels=1_000_000)
    assert set(found) == set(bombs)
    reasons = {"variants", "too_many_pixels", "corrupt", "not_an_image", "truncated"}
    assert {name: reason for name, reason in found.items() if reason not in reasons} == {}
    assert sum(reason == "too_many_pixels" for reason in found.values()) >= 6


def test_the_bound_on_memory_is_one(tmp_path: Path):
    from io import BytesIO

    from PIL import Image

    large = BytesIO()
    Image.new("RGB", (6000, 6000)).save(large, "PNG")  # four bytes a pixel in Pillow: 144 MB
    assert in_little_memory(tmp_path, {"large": large.getvalue()}, max_pixels=40_000_000) == {"large": "MemoryError"}
