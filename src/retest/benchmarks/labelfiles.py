"""Label files of flat folders: which class each image belongs to.

Known forms, told by their content:

* the published revision form ``{"image_filenames": [[image, wnid], ...]}`` or ``{image: class}`` (.json);
* Kaggle's ``LOC_val_solution.csv`` (``ImageId,PredictionString``) or two columns image, class (.csv);
* lines ``image class`` (.txt);
* the devkit's ``ILSVRC2012_validation_ground_truth.txt``: bare numbers in the order of the image names. They are devkit
  ids, *not* class indices in sorted order of wnid, so ``meta.mat`` must lie beside it to translate them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from retest.errors import InputError

__all__ = ["read_label_file"]


def read_label_file(path: Path | str, *, images: Sequence[str]) -> dict[str, str]:
    """Class name of each image (by file name without its suffix, since forms differ in giving it).

    Args:
        path: the label file.
        images: file names of the flat folder; only a file of bare numbers needs them (in sorted order).

    Raises:
        InputError: the file is in no known form, or names an image twice with different classes.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        pairs = _pairs(path, text, images)
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"cannot be read as a label file ({error})", item=str(path), remedy=_FORMS) from error
    labels: dict[str, str] = {}
    for image, name in pairs:
        stem = PurePosixPath(image).stem
        if labels.setdefault(stem, name) != name:
            raise InputError(f"gives {image!r} two classes, {labels[stem]!r} and {name!r}", item=str(path), remedy="Correct the file")
    return labels


_FORMS = "Use LOC_val_solution.csv, a published revision, lines 'image class', or the devkit's ground truth with meta.mat beside it"


def _pairs(path: Path, text: str, images: Sequence[str]) -> list[tuple[str, str]]:
    if path.suffix == ".json":
        return _json_pairs(json.loads(text), path)
    if path.suffix == ".csv":
        return _csv_pairs(text, path)
    rows = [line.split() for line in text.splitlines() if line.strip()]
    if rows and all(len(row) == 1 and row[0].isdigit() for row in rows):
        return _devkit_pairs([int(row[0]) for row in rows], path, images)
    if not rows or any(len(row) != 2 for row in rows):
        raise InputError("is not made of lines 'image class'", item=str(path), remedy=_FORMS)
    return [(row[0], row[1]) for row in rows]


def _json_pairs(value: Any, path: Path) -> list[tuple[str, str]]:
    rows = value.get("image_filenames", list(value.items())) if isinstance(value, dict) else value
    pairs = isinstance(rows, list) and all(isinstance(row, (list, tuple)) and [type(part) for part in row] == [str, str] for row in rows)
    if not pairs:
        raise InputError("holds no pairs of image and class", item=str(path), remedy=_FORMS)
    return [(image, name) for image, name in rows]


def _csv_pairs(text: str, path: Path) -> list[tuple[str, str]]:
    rows = [row for row in csv.reader(text.splitlines()) if row]
    if not rows or any(len(row) != 2 or not row[1].split() for row in rows):
        raise InputError("is not made of two columns, image and class", item=str(path), remedy=_FORMS)
    # Kaggle's second column goes on with the box of each object: "n02981792 31 51 408 330 ...".
    body = rows[1:] if rows[0][0].lower() in ("imageid", "image", "filename", "file") else rows
    return [(row[0], row[1].split()[0]) for row in body]


def _devkit_pairs(numbers: list[int], path: Path, images: Sequence[str]) -> list[tuple[str, str]]:
    if len(numbers) != len(images):
        raise InputError(
            f"holds {len(numbers)} numbers for {len(images)} images", item=str(path), remedy="Use the file of the same release"
        )
    wnids = _devkit_wnids(path.with_name("meta.mat"))
    unknown = sorted(set(numbers) - wnids.keys())
    if unknown:
        raise InputError(
            f"holds the class {unknown[0]}, which meta.mat does not have", item=str(path), remedy="Use the meta.mat of the same devkit"
        )
    return [(image, wnids[number]) for image, number in zip(sorted(images), numbers, strict=True)]


def _devkit_wnids(path: Path) -> dict[int, str]:
    """ILSVRC2012_ID -> wnid from the devkit's MATLAB file."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    remedy = "Put the devkit's meta.mat beside the ground truth: its numbers are devkit ids, not class indices"
    try:
        synsets = loadmat(path, squeeze_me=True, struct_as_record=False)["synsets"]
        return {int(row.ILSVRC2012_ID): str(row.WNID) for row in synsets}
    except (OSError, ValueError, KeyError, AttributeError, TypeError, NotImplementedError, MatReadError) as error:
        raise InputError(f"cannot be read ({error})", item=str(path), remedy=remedy) from error
