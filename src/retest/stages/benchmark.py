"""Stage: register the benchmark that is being replicated, its classes and its original images (folders with one folder per class)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from retest.errors import ConfigError, InputError
from retest.records import ClassInfo, OriginalImage, Split
from retest.study import Study

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"})


@dataclass(frozen=True, slots=True)
class BenchmarkCounts:
    """What the study knows of the benchmark."""

    classes: int
    train: int
    val: int
    test: int
    added: int


def register_benchmark(study: Study) -> BenchmarkCounts:
    """Read class list and folders named in ``[benchmark]`` and record them; running it again adds only what is new.

    Raises:
        ConfigError: a folder is missing, or none is set.
        InputError: a class folder is not in the class list, a class list is not in the published form, or two images share an id.
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
    with study.database.write() as tables:
        known = {info.wnid: info for info in tables.classes.all()}
        tables.classes.put(_keep_derived(info, known.get(info.wnid)) for info in classes)
        added = tables.originals.add(images)
        counts = tables.originals.counts()
    train, val, test = (counts.get(str(split), 0) for split in (Split.TRAIN, Split.VAL, Split.TEST))
    return BenchmarkCounts(len(classes), train, val, test, added)


def _keep_derived(info: ClassInfo, known: ClassInfo | None) -> ClassInfo:
    # Similar classes may have been derived from the images by another stage.
    return replace(info, most_similar=known.most_similar) if known and not info.most_similar else info


def _read_classes(study: Study) -> list[ClassInfo]:
    settings = study.config.benchmark
    if not settings.class_info:
        return []
    similar = _read_json(study.path(settings.similar_classes), dict) if settings.similar_classes else {}
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
        most_similar = tuple(str(other) for other in similar.get(wnid, ()))
        classes.append(ClassInfo(wnid, cid, synset, str(entry.get("gloss", "")), most_similar=most_similar))
    if len({info.wnid for info in classes}) != len(classes) or len({info.cid for info in classes}) != len(classes):
        raise InputError("a wnid or cid occurs twice", item=str(path), remedy="Give every class one entry")
    return classes


def _read_json(path: Path, kind: type[Any]) -> Any:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read as JSON ({error})", item=str(path), remedy="Check [benchmark] in study.toml") from error
    if not isinstance(value, kind):
        raise InputError(f"holds no {kind.__name__}", item=str(path), remedy="See docs for the published form")
    return value


def _classes_of_folders(folders: list[Path]) -> list[ClassInfo]:
    names = sorted({entry.name for folder in folders for entry in folder.iterdir() if entry.is_dir()})
    return [ClassInfo(wnid=name, cid=cid, synset=(name.replace("_", " "),)) for cid, name in enumerate(names)]


def _list_images(folders: dict[str, Path], wnids: set[str], *, by_name: bool) -> list[OriginalImage]:
    seen: dict[str, Path] = {}
    images = []
    for split, folder in folders.items():
        for wnid, path in _class_files(folder) if split != "test" else _all_files(folder):
            if wnid is not None and wnid not in wnids:
                raise InputError("the class list has no such class", item=str(folder / wnid), remedy="Correct the folder or the class list")
            image_id = path.name if by_name else f"{split}/{path.relative_to(folder).as_posix()}"
            if image_id in seen:
                raise InputError(f"{path} and {seen[image_id]} share an id", item=image_id, remedy='Set ids = "path" in [benchmark]')
            seen[image_id] = path
            images.append(OriginalImage(image_id, Split(split), wnid, str(path)))
    return images


def _class_files(folder: Path) -> Iterator[tuple[str | None, Path]]:
    for class_folder in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        for _, path in _all_files(class_folder):
            yield class_folder.name, path


def _all_files(folder: Path) -> Iterator[tuple[str | None, Path]]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in _SUFFIXES and path.is_file() and not path.name.startswith("."):
            yield None, path
