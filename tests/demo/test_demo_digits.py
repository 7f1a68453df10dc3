"""The demo's benchmark and pool: real digits, split without overlap, with exactly the planted trouble that is written down."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from retest.demo import DigitsParameters, digits
from retest.demo.digits import DigitsBenchmark, write_digits
from retest.errors import ConflictError

SMALL = DigitsParameters(train=3, val=4, pool=12, exact_copies=4, near_copies=6, wrong_class=5, ambiguous=3, broken=3)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> DigitsBenchmark:
    return write_digits(tmp_path_factory.mktemp("digits"), SMALL)


@pytest.fixture(scope="module")
def real() -> np.ndarray:
    """All digits of scikit-learn at the demo's size, uint8 (1797, 64, 64)."""
    from sklearn.datasets import load_digits

    small = [Image.fromarray(np.round(image * (255 / 16)).astype(np.uint8)) for image in load_digits().images]
    return np.stack([np.asarray(image.resize((64, 64), Image.Resampling.BICUBIC)) for image in small])


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L"))


def path_of(written: DigitsBenchmark, source: str) -> Path:
    return written.folder / "original" / source if source.startswith(("train/", "val/")) else written.pool / source


def test_the_parts_have_their_sizes_and_share_nothing(written: DigitsBenchmark, real: np.ndarray):
    numbers: Counter[int] = Counter()
    for part, count in (("original/train", 3), ("original/val", 4)):
        for digit in range(10):
            paths = sorted((written.folder / part / str(digit)).glob("*.png"))
            assert len(paths) == count
            numbers.update(int(path.stem) for path in paths)
    numbers.update(int(path.stem) for path in written.pool.glob("*/[0-9]*.png"))
    assert set(numbers.values()) == {1}
    # Twelve per digit in the pool, less those that were moved to a wrong class or blended.
    assert len(list(written.pool.glob("*/[0-9]*.png"))) == 120 - 5 - 3
    assert len(list(written.pool.glob("*/planted-*"))) == len(written.planted) == 4 + 6 + 5 + 3 + 3


def test_the_images_are_the_real_ones(written: DigitsBenchmark, real: np.ndarray):
    from sklearn.datasets import load_digits

    labels = load_digits().target
    for path in [*(written.folder / "original").rglob("*.png"), *written.pool.glob("*/[0-9]*.png")]:
        assert labels[int(path.stem)] == int(path.parent.name)
        assert (pixels(path) == real[int(path.stem)]).all()


def test_what_was_planted_is_what_is_written_down(written: DigitsBenchmark):
    assert Counter(entry.kind for entry in written.planted) == {
        "exact copy": 4,
        "shifted copy": 2,
        "re-encoded copy": 2,
        "brightened copy": 2,
        "wrong class": 5,
        "ambiguous": 3,
        "broken file": 3,
    }
    copies = [entry for entry in written.planted if entry.source]
    assert len({entry.source for entry in copies}) == len(copies) == 10  # nothing is copied twice
    assert {entry.source.startswith(("train/", "val/")) for entry in copies if entry.source} == {True, False}
    assert len({entry.file for entry in written.planted}) == len(written.planted)
    for entry in copies:
        source, copy = path_of(written, str(entry.source)), written.pool / entry.file
        assert source.parent.name == copy.parent.name  # a copy is of its own class
        image, found = Image.open(source).convert("L"), pixels(copy).astype(float)
        if entry.kind == "exact copy":
            assert (found == np.asarray(image)).all()
        elif entry.kind == "shifted copy":
            assert (found == np.roll(np.asarray(image), 1, axis=1)).all()
        elif entry.kind == "brightened copy":
            assert (found == np.asarray(ImageEnhance.Brightness(image).enhance(1.15))).all()
        else:
            assert copy.read_bytes().startswith(b"\xff\xd8")
            assert 0 < np.abs(found - np.asarray(image)).mean() < 12


def test_wrong_and_ambiguous_images_are_images_of_their_own(written: DigitsBenchmark, real: np.ndarray):
    from sklearn.datasets import load_digits

    labels = load_digits().target
    elsewhere = [pixels(path) for path in written.folder.rglob("[0-9]*.png")]
    for entry in written.planted:
        if entry.kind == "wrong class":
            found = pixels(written.pool / entry.file)
            (number,) = np.flatnonzero((real == found).all(axis=(1, 2)))
            assert labels[number] != int(entry.file.split("/")[0])
            assert not any((found == other).all() for other in elsewhere)
        elif entry.kind == "ambiguous":
            found = pixels(written.pool / entry.file)
            assert not (real == found).all(axis=(1, 2)).any()


def test_broken_files_cannot_be_read(written: DigitsBenchmark):
    broken = [(written.pool / entry.file).read_bytes() for entry in written.planted if entry.kind == "broken file"]
    assert [data[:2] for data in broken] == [b"\xff\xd8", b"<!", b""]
    for data in broken:
        with pytest.raises(OSError):
            Image.open(io.BytesIO(data)).load()


def test_equal_parameters_give_equal_bytes_and_another_seed_others(written: DigitsBenchmark, tmp_path: Path):
    again = write_digits(tmp_path / "again", SMALL)
    assert files(again.folder) == files(written.folder)
    assert again.planted == written.planted
    other = write_digits(tmp_path / "other", replace(SMALL, seed=1))
    assert set(files(other.folder)) != set(files(written.folder))


def test_finished_work_is_kept(tmp_path: Path):
    write_digits(tmp_path, SMALL)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    write_digits(tmp_path, SMALL)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_another_size_is_refused(tmp_path: Path):
    write_digits(tmp_path, SMALL)
    before = files(tmp_path)
    with pytest.raises(ConflictError, match="another size") as caught:
        write_digits(tmp_path, replace(SMALL, val=5))
    assert caught.value.remedy
    assert files(tmp_path) == before


@pytest.mark.parametrize("allowed", [0, 1, 2, 30, 75, 150, 180, 200, 205])
def test_stopped_at_any_file_and_started_again_it_ends_the_same(
    written: DigitsBenchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: int
):
    class Stopped(BaseException):
        pass

    real_write, count = digits.write_atomic, 0

    def write(path: Path, data: bytes) -> None:
        nonlocal count
        if count == allowed:
            raise Stopped
        count += 1
        real_write(path, data)

    monkeypatch.setattr(digits, "write_atomic", write)
    with pytest.raises(Stopped):
        write_digits(tmp_path, SMALL)
    monkeypatch.undo()
    assert write_digits(tmp_path, SMALL).planted == written.planted
    assert files(tmp_path) == files(written.folder)
