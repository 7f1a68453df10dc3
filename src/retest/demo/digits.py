"""The demo's benchmark: the real handwritten digits that scikit-learn ships, and a candidate pool with planted trouble.

The 1,797 images of ``sklearn.datasets.load_digits`` (UCI "Optical Recognition of Handwritten Digits", test part) are split by a
fixed seed into an original benchmark (training and validation images) and a pool. Into the pool go things that real pools have:
exact copies and near-copies of original and of pool images, images of the wrong class, ambiguous images, broken files.
``planted.json`` says what was planted; no stage of the study reads it, only the final score does.
"""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageEnhance

from retest.errors import ConflictError
from retest.files import write_atomic

SIDE = 64
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True, slots=True)
class DigitsParameters:
    """How the digits are split (numbers per class; ``pool`` None takes all that remain) and how many things are planted in all."""

    seed: int = 2019
    train: int = 60
    val: int = 50
    pool: int | None = None
    exact_copies: int = 20
    near_copies: int = 60
    wrong_class: int = 25
    ambiguous: int = 25
    broken: int = 3


@dataclass(frozen=True, slots=True)
class Planted:
    """One planted file of the pool. ``source`` is the id of what it was made from: an original's id or a pool file."""

    file: str
    kind: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class DigitsBenchmark:
    """Where the demo's images lie, and what was planted."""

    folder: Path
    planted: tuple[Planted, ...] = field(repr=False)

    @property
    def settings(self) -> dict[str, str]:
        """The ``[benchmark]`` section for these folders."""
        paths = {"train": "original/train", "val": "original/val", "class_info": "original/class_info.json"}
        paths["similar_classes"] = "original/similar_classes.json"
        return {name: str(self.folder / path) for name, path in paths.items()}

    @property
    def pool(self) -> Path:
        return self.folder / "pool"


def write_digits(folder: Path, parameters: DigitsParameters) -> DigitsBenchmark:
    """Write the benchmark and the pool below ``folder``; the same parameters give the same bytes, and finished work is kept.

    Raises:
        ConflictError: the folder holds the digits of other parameters.
    """
    _claim(folder, parameters)
    done = folder / "planted.json"
    if done.exists():
        return DigitsBenchmark(folder, tuple(Planted(**entry) for entry in json.loads(done.read_text())["planted"]))
    images = _load()
    split = _split(images, parameters)
    _write_class_info(folder, split["train"])
    for part in ("train", "val"):
        for digit, number, image in split[part]:
            _write(folder / "original" / part / str(digit) / f"{number:04d}.png", _png(image))
    # The pool is made in memory first: a file that lay there for a moment only could be found by another run's search.
    pool = {f"{digit}/{number:04d}.png": _png(image) for digit, number, image in split["pool"]}
    planted = tuple(_plant(pool, split, parameters))
    for file, data in pool.items():
        _write(folder / "pool" / file, data)
    record = {"parameters": asdict(parameters), "planted": [asdict(entry) for entry in planted]}
    write_atomic(done, json.dumps(record, indent=1).encode())
    return DigitsBenchmark(folder, planted)


def _claim(folder: Path, parameters: DigitsParameters) -> None:
    """Say first whose folder this is, so that two sizes never mix, not even when the first was killed half-way."""
    path = folder / "parameters.json"
    if not path.exists():
        _write(path, json.dumps(asdict(parameters), indent=1).encode())
    elif json.loads(path.read_text()) != asdict(parameters):
        raise ConflictError("the folder holds a demo of another size", item=str(folder), remedy="Choose another --out, or remove it")


_Item = tuple[int, int, Image.Image]


def _load() -> list[_Item]:
    """(digit, number in the data set, 64x64 grey image) of every digit."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    items = []
    for number, (pixels, digit) in enumerate(zip(bunch.images, bunch.target, strict=True)):
        small = Image.fromarray(np.round(pixels * (255 / 16)).astype(np.uint8))
        items.append((int(digit), number, small.resize((SIDE, SIDE), Image.Resampling.BICUBIC)))
    return items


def _split(items: list[_Item], parameters: DigitsParameters) -> dict[str, list[_Item]]:
    rng = random.Random(parameters.seed)
    split: dict[str, list[_Item]] = {"train": [], "val": [], "pool": []}
    for digit in range(10):
        members = [item for item in items if item[0] == digit]
        rng.shuffle(members)
        train, val = parameters.train, parameters.train + parameters.val
        end = None if parameters.pool is None else val + parameters.pool
        split["train"] += sorted(members[:train], key=lambda item: item[1])
        split["val"] += sorted(members[train:val], key=lambda item: item[1])
        split["pool"] += sorted(members[val:end], key=lambda item: item[1])
    return split


def _write_class_info(folder: Path, train: list[_Item]) -> None:
    """Class list and similar classes (by the distance of mean training images) in the published form."""
    means = np.stack([np.mean([np.asarray(image, float) for d, _, image in train if d == digit], axis=0) for digit in range(10)])
    distances: NDArray[np.float64] = ((means[:, None] - means[None]) ** 2).sum(axis=(2, 3))
    classes = [{"cid": d, "wnid": str(d), "synset": [NAMES[d], f"digit {d}"], "gloss": f"the handwritten digit {d}"} for d in range(10)]
    similar = {str(digit): [str(other) for other in np.argsort(distances[digit], kind="stable")] for digit in range(10)}
    _write(folder / "original/class_info.json", json.dumps(classes, indent=1).encode())
    _write(folder / "original/similar_classes.json", json.dumps(similar, indent=1).encode())


def _plant(files: dict[str, bytes], split: dict[str, list[_Item]], parameters: DigitsParameters) -> Iterator[Planted]:
    """Change the pool's ``files`` (path -> bytes) and tell what was planted."""
    rng = random.Random(parameters.seed + 1)
    sources = [(f"val/{d}/{n:04d}.png", d, image) for d, n, image in split["val"]]
    sources += [(f"train/{d}/{n:04d}.png", d, image) for d, n, image in split["train"]]
    pool = [(f"{d}/{n:04d}.png", d, image) for d, n, image in split["pool"]]
    # No image is used twice as a source, so that every planted copy has exactly one partner.
    rng.shuffle(sources)
    rng.shuffle(pool)
    serial = iter(range(10_000))
    copies = [("exact", parameters.exact_copies), ("near", parameters.near_copies)]
    for kind, number in copies:
        for index in range(number):
            name, digit, image = (sources if index % 2 else pool).pop()
            alter, label = (_png, "exact copy") if kind == "exact" else _ALTERATIONS[index // 2 % len(_ALTERATIONS)]
            data = alter(image)
            suffix = "jpg" if data.startswith(b"\xff\xd8") else "png"
            file = f"{digit}/planted-{next(serial):04d}.{suffix}"
            files[file] = data
            yield Planted(file, label, name)
    for _ in range(parameters.wrong_class):
        # Moved, not copied: a wrongly labelled photo is a photo of its own.
        name, digit, image = pool.pop()
        del files[name]
        file = f"{(digit + rng.randrange(1, 10)) % 10}/planted-{next(serial):04d}.png"
        files[file] = _png(image)
        yield Planted(file, "wrong class")
    for _ in range(parameters.ambiguous):
        name, digit, image = pool.pop()
        other = rng.choice([entry for entry in split["pool"] if entry[0] != digit])
        del files[name]
        file = f"{digit}/planted-{next(serial):04d}.png"
        files[file] = _png(Image.blend(image, other[2], 0.5))
        yield Planted(file, "ambiguous")
    for index in range(parameters.broken):
        file = f"{index}/planted-{next(serial):04d}.jpg"
        files[file] = _BROKEN[index % len(_BROKEN)](pool.pop()[2])
        yield Planted(file, "broken file")


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _shift(image: Image.Image) -> bytes:
    # One of 64 pixels: an eighth of a pixel of the 8x8 scan.
    return _png(ImageChops.offset(image, 1, 0))


def _reencode(image: Image.Image) -> bytes:
    return _jpeg(image, 30)


def _brighten(image: Image.Image) -> bytes:
    return _png(ImageEnhance.Brightness(image).enhance(1.15))


_ALTERATIONS: tuple[tuple[Callable[[Image.Image], bytes], str], ...] = (
    (_shift, "shifted copy"),
    (_reencode, "re-encoded copy"),
    (_brighten, "brightened copy"),
)
_BROKEN: tuple[Callable[[Image.Image], bytes], ...] = (
    lambda image: _jpeg(image, 90)[:200],
    lambda _image: b"<!DOCTYPE html><html><title>429 Too Many Requests</title></html>",
    lambda _image: b"",
)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_bytes() != data:
        write_atomic(path, data)
