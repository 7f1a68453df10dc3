"""Test sets to evaluate on, by name or folder: released sets, ImageNet's validation images, CIFAR, any folder of images."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from retest.benchmarks import CIFAR10, CIFAR101, RELEASES, ArrayImages, FileImages, ImageFolder, ImageNetV2, class_order
from retest.benchmarks.folder import LABEL_FILES
from retest.errors import InputError, NotFoundError, UsageError
from retest.files import file_hash
from retest.images import IMAGE_SUFFIXES, load_rgb
from retest.models import EvaluationImage, EvaluationSet
from retest.records import ClassInfo, Split
from retest.stages._common import Progress, silent

_WNID = re.compile(r"n\d{8}")
_WNID_FILE = re.compile(r"(n\d{8})_.+")
RELEASED = tuple(f"imagenetv2-{variant}" for variant in RELEASES)
KNOWN = (*RELEASED, "imagenet", "cifar10", "cifar10.1-v4", "cifar10.1-v6")
"""Names of data sets that need no study; any folder can be named as well."""


@dataclass(frozen=True, slots=True)
class ClassList:
    """The classes of a test set in index order; every class has one or more names (wnid, synonyms). Empty where they are unknown."""

    names: tuple[tuple[str, ...], ...] = ()
    complete: bool = False
    """Whether these are all classes of the benchmark, so that a model must have as many."""

    def index(self) -> dict[str, int]:
        """Plain name -> class index, of the names that only one class has."""
        found: dict[str, int | None] = {}
        for cid, names in enumerate(self.names):
            for name in {plain(name) for name in names}:
                found[name] = None if name in found else cid
        return {name: cid for name, cid in found.items() if cid is not None}


@dataclass(frozen=True, slots=True)
class TestSet:
    """A test set that was found, with what its labels mean."""

    __test__ = False  # no test, whatever pytest thinks of its name

    images: EvaluationSet
    classes: ClassList
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Places:
    """Where data sets lie: ``root`` for those that are named alone; ``download`` fetches what is missing; ``classes`` a class list file."""

    root: Path | None = None
    download: bool = False
    classes: Path | None = None
    threads: int = 4


def plain(name: str) -> str:
    """A class name without case, underscores and hyphens, for comparison."""
    return " ".join(name.replace("_", " ").replace("-", " ").casefold().split())


def find_set(text: str, places: Places, *, progress: Progress = silent) -> TestSet:
    """A test set by name (``imagenetv2-matched-frequency``, ``imagenet``, ``cifar10.1-v6`` ...), ``NAME=FOLDER``, or a folder.

    Raises:
        UsageError: no such name, or it needs a folder.
        InputError: the folder does not hold it, a class is unknown, or files cannot be read.
        SourceError: a download failed.
    """
    name, equals, place = text.partition("=")
    name = name.strip()
    if equals and not (name and place.strip()):
        raise UsageError(f"{text!r} names no test set", item="--dataset", remedy="Write NAME=FOLDER")
    if name in KNOWN:
        root = Path(place.strip()) if equals else places.root
        if root is None:
            remedy = f"Give --root FOLDER, with --download to fetch it, or {name}=FOLDER"
            raise UsageError("nothing says where it lies", item=name, remedy=remedy)
        return _known(name, root, places, progress)
    folder = Path(place.strip() if equals else name)
    if not folder.is_dir():
        remedy = f"Use a folder, the name of a revision with --study, or one of: {', '.join(KNOWN)}"
        raise NotFoundError("is no test set that is known, and no folder", item=str(folder), remedy=remedy)
    return _folder(name if equals else folder.resolve().name, folder, places, progress)


def _known(name: str, root: Path, places: Places, progress: Progress) -> TestSet:
    images: FileImages | ArrayImages
    if name in RELEASED:
        wnids = imagenet_wnids()
        with progress(f"Find {name}", total=None) as advance:
            variant = cast(Any, name.removeprefix("imagenetv2-"))
            images = ImageNetV2(variant, root, download=places.download, wnids=wnids, progress=_Bytes(advance))
        return _test_set(name, images, _imagenet_classes(places), places, progress)
    if name == "imagenet":
        known = _imagenet_classes(places)
        infos = [ClassInfo(names[0], cid) for cid, names in enumerate(known.names)] or None
        images = ImageFolder(root, split="val", classes=infos, name=name)
        return _test_set(name, images, known if infos else _classes_of(images), places, progress)
    if name == "cifar10":
        images = CIFAR10(root, download=places.download)
    else:
        images = CIFAR101(name.removeprefix("cifar10.1-"), root, download=places.download)
    return _test_set(name, images, _classes_of(images), places, progress)


class _Bytes:
    """Turns a download's totals into steps of a progress bar."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance, self._seen = advance, 0

    def __call__(self, done: int, total: int | None) -> None:
        self._advance(done - self._seen)
        self._seen = done


def _classes_of(images: Any) -> ClassList:
    return ClassList(tuple((name,) for name in images.class_names), complete=True)


def _folder(name: str, folder: Path, places: Places, progress: Progress) -> TestSet:
    inner = [path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    if files and not inner:
        return _flat(name, folder, files, places, progress)
    split = next((path for path in ("val", "validation", "valid", "test") if (folder / path).is_dir()), "")
    names = [path.name for path in (folder / split).iterdir() if path.is_dir() and not path.name.startswith(".")] if split else inner
    classes, notes = _classes_of_folders(names, folder, places)
    index = classes.index()
    infos = [ClassInfo(entry, index[plain(entry)] if not entry.isdigit() else int(entry)) for entry in names]
    used = ImageFolder(folder, split="test" if split == "test" else "val", classes=infos, name=name)
    # ImageFolder counts positions among the folders that are there; the class index is what the list says.
    cids = np.array(sorted(info.cid for info in infos), dtype=np.int64)
    labels = cids[used.labels]
    ids = [path.relative_to(used.root).as_posix() for path in used.paths]
    listed = _file_images(ids, labels, used.paths, places, progress)
    return TestSet(EvaluationSet(name, listed), classes, notes)


def _classes_of_folders(names: Sequence[str], folder: Path, places: Places) -> tuple[ClassList, tuple[str, ...]]:
    """What the class folders mean: numbers are class indices, wnids ImageNet's, other names those of a class list or, without one,
    the classes themselves in alphabetical order.
    """
    if not names:
        raise InputError("holds neither images nor class folders", item=str(folder), remedy="Give a folder of images")
    if all(name.isascii() and name.isdigit() and str(int(name)) == name for name in names):
        listed = read_class_list(places.classes) if places.classes is not None else ClassList()
        return listed, (f"{folder.name}: the numbers of its folders are taken as class indices",)
    if places.classes is not None:
        found, where = read_class_list(places.classes), str(places.classes)
    elif all(_WNID.fullmatch(name) for name in names):
        found, where = _imagenet_classes(places, names), "ImageNet's 1,000 classes"
    else:
        imagenet = _imagenet_classes(places)
        index = imagenet.index()
        if len(names) < 2 or not all(plain(name) in index for name in names):
            ordered = class_order(names)
            note = f"{folder.name}: its {len(ordered)} class folders in alphabetical order are taken as the classes 0 to {len(ordered) - 1}"
            return ClassList(tuple((name,) for name in ordered), complete=True), (note,)
        found, where = imagenet, "ImageNet's 1,000 classes"
    index = found.index()
    unknown = sorted(name for name in names if plain(name) not in index)
    if unknown:
        problem = f"its class folder {unknown[0]!r} is not one of {where} ({len(unknown)} of {len(names)} folders are not)"
        raise InputError(
            problem, item=str(folder), remedy="Give the classes in the models' order with --classes FILE, or rename the folder"
        )
    return found, ()


def _flat(name: str, folder: Path, files: Sequence[Path], places: Places, progress: Progress) -> TestSet:
    """Loose images: labelled by a label file, or by names that begin with a wnid (as in ImageNet's training set), or not at all."""
    if any((folder / label_file).is_file() for label_file in LABEL_FILES[Split.VAL]):
        classes = _list_or_imagenet(places)
        infos = [ClassInfo(names[0], cid) for cid, names in enumerate(classes.names)] or None
        images = ImageFolder(folder, classes=infos, name=name)
        return _test_set(name, images, classes if infos else _classes_of(images), places, progress)
    wnids = [match[1] if (match := _WNID_FILE.fullmatch(path.stem)) else "" for path in files]
    ids = [path.name for path in files]
    classes = _list_or_imagenet(places) if all(wnids) else ClassList()
    if classes.names:
        index = classes.index()
        unknown = next((wnid for wnid in wnids if plain(wnid) not in index), None)
        if unknown is not None:
            raise InputError(f"{unknown} is not one of the classes", item=str(folder), remedy="Give the right list with --classes FILE")
        labels = np.array([index[plain(wnid)] for wnid in wnids], dtype=np.int64)
        notes: tuple[str, ...] = (f"{name}: labels are taken from the wnids that its file names begin with",)
    else:
        labels = np.full(len(files), -1, dtype=np.int64)
        notes = (f"{name}: nothing says which classes its images belong to; predictions are made, accuracies are not",)
    return TestSet(EvaluationSet(name, _file_images(ids, labels, files, places, progress)), classes, notes)


def _list_or_imagenet(places: Places) -> ClassList:
    return read_class_list(places.classes) if places.classes is not None else _imagenet_classes(places)


def _imagenet_classes(places: Places, names: Sequence[str] = ()) -> ClassList:
    """ImageNet's classes: from timm, which knows them, from the given class list, or the folders themselves where they are all 1,000."""
    if find_spec("timm") is not None:
        from timm.data import ImageNetInfo

        info = ImageNetInfo("imagenet-1k")
        terms = info.label_descriptions()
        rows = zip(info.label_names(), terms, strict=True)
        return ClassList(tuple((wnid, *(term.strip() for term in line.split(","))) for wnid, line in rows), complete=True)
    if places.classes is not None:
        return read_class_list(places.classes)
    if len(set(names)) == 1000:
        return ClassList(tuple((name,) for name in sorted(set(names))), complete=True)
    if names:
        problem = f"holds {len(names)} of ImageNet's 1,000 classes, and nothing says which indices they have"
        raise InputError(problem, item=names[0], remedy="Install retest[models], or give --classes class_info.json")
    return ClassList()


def imagenet_wnids() -> tuple[str, ...] | None:
    """ImageNet's 1,000 wnids in index order, where a library that knows them is installed."""
    names = _imagenet_classes(Places()).names
    return tuple(wnid for wnid, *_ in names) or None


def read_class_list(path: Path) -> ClassList:
    """A class list in index order: the published ``class_info.json``, a JSON list of names, or a text file with a name per line.

    Raises:
        InputError: it is neither.
    """
    remedy = "Use class_info.json, a JSON list of names, or a name per line"
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = json.loads(text) if path.suffix.lower() == ".json" else [line.strip() for line in text.splitlines() if line.strip()]
        names = _class_names(content)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"cannot be read as a list of classes ({error})", item=str(path), remedy=remedy) from error
    if not names:
        raise InputError("holds no classes", item=str(path), remedy=remedy)
    return ClassList(names, complete=True)


def _class_names(content: Any) -> tuple[tuple[str, ...], ...]:
    if not isinstance(content, list):
        raise TypeError("not a list")
    if content and isinstance(content[0], dict):
        rows = sorted(content, key=lambda row: int(row["cid"]))
        if [int(row["cid"]) for row in rows] != list(range(len(rows))):
            raise ValueError("class indices are not 0, 1, 2 ...")
        return tuple((str(row["wnid"]), *map(str, row.get("synset", ()))) for row in rows)
    return tuple((str(name),) for name in content)


def _test_set(name: str, images: FileImages | ArrayImages, classes: ClassList, places: Places, progress: Progress) -> TestSet:
    if isinstance(images, ArrayImages):
        listed = [
            EvaluationImage(image_id, int(label), LoadArray(pixels), hashlib.sha256(pixels.tobytes()).hexdigest())
            for image_id, label, pixels in zip(images.image_ids, images.labels, images.data, strict=True)
        ]
    else:
        listed = _file_images(images.image_ids, images.labels, images.paths, places, progress)
    return TestSet(EvaluationSet(name, listed), classes)


def _file_images(
    ids: Sequence[str], labels: NDArray[np.int64], paths: Sequence[Path], places: Places, progress: Progress
) -> list[EvaluationImage]:
    """Images in files, known by the SHA-256 of their bytes: a changed file is classified anew, an equal one only once."""
    found = []
    with progress("Check files", total=len(paths)) as advance, ThreadPoolExecutor(places.threads) as pool:
        for image_id, label, path, version in zip(ids, labels.tolist(), paths, pool.map(file_hash, paths), strict=True):
            found.append(EvaluationImage(image_id, label, LoadFile(path), version))
            advance(1)
    return found


@dataclass(frozen=True, slots=True)
class LoadFile:
    """Reads and decodes one image file, in any process that sees it."""

    path: Path

    def __call__(self) -> NDArray[np.uint8]:
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror})", item=str(self.path), remedy="See that every worker sees it") from error
        return load_rgb(data, item=self.path.name)


@dataclass(frozen=True, eq=False, slots=True)
class LoadArray:
    """An image that is an array already, uint8 (height, width, 3)."""

    pixels: NDArray[np.uint8]

    def __call__(self) -> NDArray[np.uint8]:
        return self.pixels
