"""Stage: register the benchmark that is being replicated, its classes and its original images (folders with one folder per class)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from retest.benchmarks import class_order
from retest.errors import ConfigError, InputError
from retest.files import files_below, refuse_left_out
from retest.images import IMAGE_SUFFIXES
from retest.records import ClassInfo, OriginalImage, Split
from retest.stages._common import Progress, silent
from retest.stages._similarity import similar_classes
from retest.study import Study


@dataclass(frozen=True, slots=True)
class BenchmarkCounts:
    """What the study knows of the benchmark."""

    classes: int
    train: int
    val: int
    test: int
    added: int


def register_benchmark(study: Study, *, progress: Progress = silent) -> BenchmarkCounts:
    """Read class list and folders named in ``[benchmark]`` and record them; running it again adds only what is new.

    Without a list of similar classes these are derived from the images, again when the set of classes has changed.

    Raises:
        ConfigError: a folder is missing, or none is set.
        InputError: a class folder is not in the class list, a class list is not in the published form, a folder cannot be
            listed, a name is not UTF-8, or two images share an id.
    """
    settings = study.config.benchmark
    folders = {split: study.path(getattr(settings, split)) for split in ("train", "val", "test") if getattr(settings, split)}
    if "val" not in folders:
        raise ConfigError("no folder of original images is set", item="[benchmark] val", remedy="Give a folder with one folder per class")
    for split, folder in folders.items():
        if not folder.is_dir():
            raise ConfigError(f"{folder} is no folder", item=f"[benchmark] {split}", remedy="Correct the path in study.toml")
    classes = _read_classes(study) or _classes_of_folders([folders[s] for s in ("train", "val") if s in folders])
    images = _list_images(folders, {info.wnid for info in classes}, by_name=settings.ids == "name")
    with study.database.read() as tables:
        known = {info.wnid: info.most_similar for info in tables.classes.all()}
    classes = _with_similar(study, classes, images, known, progress)
    with study.database.write() as tables:
        tables.classes.put(classes)
        added = tables.originals.add(images)
        counts = tables.originals.counts()
    train, val, test = (counts.get(str(split), 0) for split in (Split.TRAIN, Split.VAL, Split.TEST))
    return BenchmarkCounts(len(classes), train, val, test, added)


def _with_similar(
    study: Study, classes: list[ClassInfo], images: Sequence[OriginalImage], known: Mapping[str, tuple[str, ...]], progress: Progress
) -> list[ClassInfo]:
    """The classes with their similar ones: those of the file, else those derived before, else derived now."""
    given = _read_similar(study, {info.wnid for info in classes})
    if set(known) != {info.wnid for info in classes}:
        known = {}
    found = {**known, **given}
    if not all(len(found.get(info.wnid, ())) > 1 for info in classes):
        found = {**similar_classes(images, max_bytes=study.config.images.max_bytes, progress=progress), **given}
    return [replace(info, most_similar=found.get(info.wnid, (info.wnid,))) for info in classes]


def _read_similar(study: Study, wnids: set[str]) -> dict[str, tuple[str, ...]]:
    """The file of similar classes, as far as it names classes of the benchmark; each class comes first in its own list."""
    settings = study.config.benchmark
    if not settings.similar_classes:
        return {}
    path = study.path(settings.similar_classes)
    result = {}
    for wnid, others in _read_json(path, dict).items():
        if not isinstance(others, list) or not all(isinstance(other, str) for other in others):
            raise InputError("holds no list of wnids for a class", item=f"{path} {wnid}", remedy='Write {"WNID": ["WNID", "OTHER", ...]}')
        if wnid in wnids:
            result[wnid] = (wnid, *(other for other in dict.fromkeys(others) if other != wnid and other in wnids))
    return result


def _read_classes(study: Study) -> list[ClassInfo]:
    settings = study.config.benchmark
    if not settings.class_info:
        return []
    path = study.path(settings.class_info)
    classes = []
    for number, entry in enumerate(_read_json(path, list)):
        try:
            wnid, cid, synset = str(entry["wnid"]), int(entry["cid"]), tuple(str(term) for term in entry["synset"])
        except (TypeError, KeyError, ValueError) as error:
            raise InputError(
                f"entry {number} is no class ({type(error).__name__}: {error})",
                item=str(path),
                remedy='Each entry is {"cid": 0, "wnid": "...", "synset": ["..."], "gloss": "..."}',
            ) from error
        further = {name: _texts(entry, name, path, number) for name in ("parent_terms", "wikipedia_pages")}
        classes.append(ClassInfo(wnid, cid, synset, str(entry.get("gloss", "")), **further))
    if len({info.wnid for info in classes}) != len(classes) or len({info.cid for info in classes}) != len(classes):
        raise InputError("a wnid or cid occurs twice", item=str(path), remedy="Give every class one entry")
    return classes


def _texts(entry: dict[str, Any], name: str, path: Path, number: int) -> tuple[str, ...]:
    """An optional list of texts of a class: terms of its parents, nearest first, or addresses of its Wikipedia pages."""
    values = entry.get(name, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise InputError(f"{name} of entry {number} is no list of texts", item=str(path), remedy=f'Write "{name}": ["..."]')
    return tuple(values)


def _read_json(path: Path, kind: type[Any]) -> Any:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot be read as JSON ({error})", item=str(path), remedy="Check [benchmark] in study.toml") from error
    if not isinstance(value, kind):
        raise InputError(f"holds no {kind.__name__}", item=str(path), remedy="See docs for the published form")
    return value


def _classes_of_folders(folders: list[Path]) -> list[ClassInfo]:
    names = class_order([entry.name for folder in folders for entry in _class_folders(folder)])
    return [ClassInfo(wnid=name, cid=cid, synset=(name.replace("_", " "),)) for cid, name in enumerate(names)]


def _list_images(folders: dict[str, Path], wnids: set[str], *, by_name: bool) -> list[OriginalImage]:
    seen: dict[str, Path] = {}
    images = []
    for split, folder in folders.items():
        for wnid, path in _class_files(folder) if split != "test" else ((None, path) for path in _all_files(folder, within=folder)):
            if wnid is not None and wnid not in wnids:
                raise InputError("the class list has no such class", item=str(folder / wnid), remedy="Correct the folder or the class list")
            image_id = path.name if by_name else f"{split}/{path.relative_to(folder).as_posix()}"
            if image_id in seen:
                raise InputError(f"{path} and {seen[image_id]} share an id", item=image_id, remedy='Set ids = "path" in [benchmark]')
            seen[image_id] = path
            images.append(OriginalImage(image_id, Split(split), wnid, str(path)))
    return images


def _class_folders(folder: Path) -> list[Path]:
    return sorted(_readable(entry) for entry in folder.iterdir() if entry.is_dir() and not _is_hidden(entry.name))


def _class_files(folder: Path) -> Iterator[tuple[str | None, Path]]:
    for class_folder in _class_folders(folder):
        for path in _all_files(class_folder, within=folder):
            yield class_folder.name, path


def _all_files(folder: Path, *, within: Path) -> Iterator[Path]:
    for path in sorted(files_below(folder, skip=_is_hidden, left_out=refuse_left_out, within=within)):
        if not _is_hidden(path.name) and path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
            yield _readable(path)


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _readable(path: Path) -> Path:
    """The path, when its name can be stored: other bytes than UTF-8 come as lone surrogates."""
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        raise InputError("the name is not UTF-8", item=ascii(str(path)), remedy="Rename it") from error
    return path
