"""A benchmark in a folder of one's own, or ImageNet in its usual layouts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from retest.benchmarks.base import FileImages, subfolders
from retest.benchmarks.imagenetv2.records import original_of
from retest.benchmarks.labelfiles import read_label_file
from retest.errors import InputError, UsageError
from retest.files import files_below, refuse_left_out
from retest.images import IMAGE_SUFFIXES
from retest.records import ClassInfo, OriginalImage, Split

__all__ = ["ImageFolder", "class_order"]

_SPLIT_NAMES: Final = {
    Split.TRAIN: ("train", "training"),
    Split.VAL: ("val", "validation", "valid"),
    Split.TEST: ("test", "testing"),
}
_INNER: Final = ("", "Data/CLS-LOC", "ILSVRC/Data/CLS-LOC", "images")
_DEVKIT: Final = "ILSVRC2012_validation_ground_truth.txt"
LABEL_FILES: Final = {
    Split.TRAIN: ("train_labels.csv", "train.txt"),
    Split.VAL: (
        "LOC_val_solution.csv",
        "val_labels.csv",
        "val.txt",
        "imagenet-validation-original.json",
        _DEVKIT,
        f"data/{_DEVKIT}",
        f"ILSVRC2012_devkit_t12/data/{_DEVKIT}",
    ),
    Split.TEST: ("test_labels.csv", "test.txt"),
}
"""Names of label files, by the split whose images they describe: the challenge's folder has that of val beside its test images."""


def class_order(names: Sequence[str]) -> tuple[str, ...]:
    """Class folders in index order: numbers by value ("2" before "10"), any other names as text.

    Sorting numbered folders as text would silently scramble the labels.
    """
    unique = set(names)
    if unique and all(name.isascii() and name.isdigit() and str(int(name)) == name for name in unique):
        return tuple(sorted(unique, key=int))
    return tuple(sorted(unique))


class ImageFolder(FileImages):
    """One split of a benchmark that lies in folders.

    Layouts: ``root/<split>/<class>/...``, ``root/<class>/...`` (then all images are of the given split), a flat
    ``root/<split>`` with a label file (see :mod:`retest.benchmarks.labelfiles`), each also below ``Data/CLS-LOC`` or
    ``ILSVRC/Data/CLS-LOC``. A flat test split needs no labels; they are -1 then, also beside the label file of other images.

    An image's id is its file name when that is an ImageNet name (they are unique), else "<split>/<path below the split>".

    Args:
        root: the folder.
        split: "train", "val" (default) or "test".
        classes: the benchmark's classes, in whose order by class index the labels count; by default the class folders (of the training
            split where there is one).
        labels_file: label file of a flat split; by default one in ``root`` whose name says that it is this split's.
        name: name of the data set; by default "<folder name>-<split>".

    Raises:
        UsageError: no such split.
        InputError: no images, no labels, a class that is not among ``classes``, or a folder that cannot be read.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        split: Split | str = Split.VAL,
        classes: Sequence[ClassInfo] | None = None,
        labels_file: Path | str | None = None,
        name: str | None = None,
    ) -> None:
        base = Path(root)
        self.split = _split(split)
        folder = _split_folder(base, self.split)
        self.root = folder
        files, self.skipped = _image_files(folder)
        if not files:
            raise InputError(
                "holds no images", item=str(folder), remedy="Give a folder with class folders, or with train, val and test in it"
            )
        if any(len(path.parts) > 1 for path in files):
            by_class = _by_class_folder(folder, files)
        else:
            by_class = _by_label_file(base, folder, files, self.split, Path(labels_file) if labels_file is not None else None)
        names = self._class_names(base, folder, by_class, classes)
        index = {class_name: label for label, class_name in enumerate(names)}
        ordered = sorted(by_class.items(), key=lambda entry: (index.get(entry[1], -1), entry[0].as_posix()))
        unknown = sorted({class_name for class_name in by_class.values() if class_name and class_name not in index})
        if unknown:
            problem = f"holds images of the class {unknown[0]!r}, which is not one of the {len(names)} classes"
            raise InputError(problem, item=str(folder), remedy="Give the benchmark's classes, or move the folder away")
        super().__init__(
            name or f"{base.resolve().name}-{self.split.value}",
            image_ids=[_image_id(path, self.split) for path, _ in ordered],
            labels=[index.get(class_name, -1) for _, class_name in ordered],
            paths=[folder / path for path, _ in ordered],
            class_names=names,
        )

    def originals(self) -> Iterator[OriginalImage]:
        """The images as records of the benchmark being replicated; ``location`` is the path."""
        for image_id, label, path in zip(self.image_ids, self.labels.tolist(), self.paths, strict=True):
            yield OriginalImage(image_id, self.split, self.class_names[label] if label >= 0 else None, str(path))

    def class_infos(self) -> list[ClassInfo]:
        """The classes as records: wnid and only synonym are the folder's name."""
        return [ClassInfo(name, cid, (name.replace("_", " "),)) for cid, name in enumerate(self.class_names)]

    def _class_names(self, base: Path, folder: Path, by_class: dict[Path, str], classes: Sequence[ClassInfo] | None) -> tuple[str, ...]:
        if classes is not None:
            return tuple(info.wnid for info in sorted(classes, key=lambda info: info.cid))
        training = existing_split(base, Split.TRAIN)
        names = subfolders(training) if training is not None else []
        return class_order(names or [*subfolders(folder), *filter(None, by_class.values())])


def _split(split: Split | str) -> Split:
    try:
        return Split(split)
    except ValueError as error:
        raise UsageError(f"there is no split {split!r}", item="split", remedy="Use train, val or test") from error


def _split_folder(base: Path, split: Split) -> Path:
    if not base.is_dir():
        raise InputError("there is no such folder", item=str(base), remedy="Check the path")
    found = existing_split(base, split)
    if found is not None:
        return found
    others = [other.value for other in Split if existing_split(base, other) is not None]
    if others:
        problem = f"has the splits {', '.join(others)} but not {split.value}"
        raise InputError(problem, item=str(base), remedy=f"Name the folder {' or '.join(_SPLIT_NAMES[split])}")
    return base


def existing_split(base: Path, split: Split) -> Path | None:
    """The folder of a split below ``base``, whichever of its usual names and places it has; None where there is none."""
    for inner in _INNER:
        for name in _SPLIT_NAMES[split]:
            if (base / inner / name).is_dir():
                return base / inner / name
    return None


def _image_files(folder: Path) -> tuple[list[Path], tuple[Path, ...]]:
    """Images below a folder as relative paths, sorted; and the other files, which are no images by their suffix."""
    images: list[Path] = []
    others: list[Path] = []
    # A class that cannot be listed must not be missing: the indices of all later classes would change.
    for file in files_below(folder, skip=_is_hidden, left_out=refuse_left_out):
        if not _is_hidden(file.name):
            (images if file.suffix.lower() in IMAGE_SUFFIXES else others).append(file.relative_to(folder))
    return images, tuple(others)


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _by_class_folder(folder: Path, files: list[Path]) -> dict[Path, str]:
    loose = next((path for path in files if len(path.parts) == 1), None)
    if loose is not None:
        raise InputError(
            f"holds class folders and also loose images such as {loose.name}", item=str(folder), remedy="Move the loose images away"
        )
    return {path: path.parts[0] for path in files}


def _by_label_file(base: Path, folder: Path, files: list[Path], split: Split, given: Path | None) -> dict[Path, str]:
    candidates = [given] if given is not None else [place / name for place in (base, folder, folder.parent) for name in LABEL_FILES[split]]
    file = next((path for path in candidates if path.is_file()), given)
    if file is None and split is Split.TEST:
        return dict.fromkeys(files, "")
    if file is None:
        problem = "holds loose images and no file says which class they belong to"
        remedy = f"Put {' or '.join(LABEL_FILES[split][:2])} beside it, or sort the images into class folders"
        raise InputError(problem, item=str(folder), remedy=remedy)
    labels = read_label_file(file, images=[path.name for path in files])
    missing = next((path for path in files if path.stem not in labels), None)
    if missing is not None:
        raise InputError(f"does not name {missing.name}", item=str(file), remedy="Use the label file of the same images")
    return {path: labels[path.stem] for path in files}


def _image_id(path: Path, split: Split) -> str:
    return path.name if original_of(path.name) is not None else f"{split.value}/{path.as_posix()}"
