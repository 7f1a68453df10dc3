"""The three released ImageNetV2 test sets as data sets.

The class folders of the released archives are named 0 to 999. Whoever sorts such names as text gets "0", "1", "10",
"100" ..., and with it scrambled labels that only show as about 0.1 % accuracy. Here a folder's name *is* the label.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import httpx

from retest.benchmarks.archives import ArchiveLimits, unpack
from retest.benchmarks.base import FileImages, subfolders
from retest.benchmarks.transfer import Progress, RemoteFile, download
from retest.errors import InputError, UsageError
from retest.images import JPEG_SUFFIXES

__all__ = ["RELEASES", "ImageNetV2", "Release", "Variant"]

Variant = Literal["matched-frequency", "threshold0.7", "top-images"]

NUM_CLASSES: Final = 1000
_BASE: Final = "https://huggingface.co/datasets/vaishaal/ImageNetV2/resolve/main/"
_WNID = re.compile(r"n\d{8}")
_NUMBER = re.compile(r"0|[1-9]\d{0,2}")
_REUPLOAD_STEMS: Final = frozenset(map(str, range(20)))
_LIMITS: Final = ArchiveLimits(max_members=60_000, max_total_bytes=4 << 30, max_member_bytes=256 << 20)


@dataclass(frozen=True, slots=True)
class Release:
    """One released test set: its archive and the revision that it holds."""

    file: RemoteFile
    folder: str
    revision: str


def _release(variant: str, revision: str, size: int, sha256: str) -> Release:
    name = f"imagenetv2-{variant}.tar.gz"
    return Release(RemoteFile(name, _BASE + name, size, sha256), f"imagenetv2-{variant}-format-val", revision)


RELEASES: Final[Mapping[str, Release]] = {
    "matched-frequency": _release(
        "matched-frequency", "imagenetv2-b-33", 1_264_079_360, "f0c37fdf925916b19ea1323cd9a2208cdb6959ba2c32eef2a7fc393835c9ca7c"
    ),
    "threshold0.7": _release(
        "threshold0.7", "imagenetv2-a-44", 1_249_906_176, "32142bfe998f9cfa4141be691f6a80eeb1e27b24bd532a668eb08c26d98897a2"
    ),
    "top-images": _release(
        "top-images", "imagenetv2-c-12", 1_245_927_936, "85e4ace30f3f0d660152062254b8759dda66267b27f7ec0fd8d5768f1073a04b"
    ),
}
"""The archives on Hugging Face; sizes and SHA-256 as recorded by TensorFlow Datasets."""


class ImageNetV2(FileImages):
    """A released ImageNetV2 test set: 10,000 images, 10 for each of the 1,000 ImageNet classes.

    ``labels`` are ImageNet class indices (classes in sorted order of wnid). In the released archives the image ids are the
    candidates' ids, so labels can be checked against the published revision (:meth:`check_labels`). A re-upload of 2020
    has wnid-named folders with files 0.jpeg to 19.jpeg; it is accepted too, with ids "<wnid>/<file stem>". Any other layout
    is refused. The data set's "mit" tag does not cover the photos, whose rights remain with their authors.

    Args:
        variant: "matched-frequency" (the one that papers quote), "threshold0.7" or "top-images".
        root: the class folders' parent, or a folder that holds it or the archive.
        download: fetch and unpack the archive into ``root`` if the images are not there.
        wnids: the 1,000 class names in index order; needed only to check the names of wnid folders.
        allow_partial: accept missing numbered class folders, and classes with different numbers of images. By default all
            classes must be there and equally large, so that an interrupted unpacking does not pass for a test set.
        progress: called with (bytes so far, bytes in all) while downloading.
        client: HTTP client for the download.
        file: another place of the same archive (a mirror); its checksum is then verified instead.

    Raises:
        UsageError: no such variant.
        InputError: the images are not there or are in no known layout, or the archive is not the published one.
        SourceError: the download failed.
    """

    layout: Literal["numbered", "wnid"]

    def __init__(
        self,
        variant: str,
        root: Path | str,
        *,
        download: bool = False,
        wnids: Iterable[str] | None = None,
        allow_partial: bool = False,
        progress: Progress | None = None,
        client: httpx.Client | None = None,
        file: RemoteFile | None = None,
    ) -> None:
        release = RELEASES.get(variant)
        if release is None:
            raise UsageError(f"there is no variant {variant!r}", item="variant", remedy=f"Use one of {', '.join(RELEASES)}")
        self.variant, self.revision = variant, release.revision
        folder = _find(Path(root), release)
        if folder is None:
            if not download:
                problem = f"there is no folder {release.folder} with class folders"
                remedy = "Unpack the archive there, or have it fetched: --download (in Python download=True)"
                raise InputError(problem, item=str(root), remedy=remedy)
            folder = _fetch(Path(root), release, file or release.file, progress, client)
        self.root = folder
        self.layout, by_class = _class_folders(folder, tuple(wnids) if wnids is not None else None, allow_partial)
        images = {name: _images(folder / name) for name in by_class}
        if not allow_partial:
            _check_equal(folder, images)
        entries = [(label, path) for label, name in enumerate(by_class) for path in images[name]]
        super().__init__(
            release.revision,
            image_ids=[path.stem if self.layout == "numbered" else f"{path.parent.name}/{path.stem}" for _, path in entries],
            labels=[label for label, _ in entries],
            paths=[path for _, path in entries],
            class_names=by_class,
        )

    def check_labels(self, images: Iterable[tuple[str, str]], *, class_index: Mapping[str, int]) -> list[str]:
        """Compare with the published revision and return one line per difference (none: all labels proved).

        Args:
            images: (image id, wnid) of the revision, for example ``Revision.images``.
            class_index: wnid -> class index.

        Raises:
            UsageError: the folder is the re-upload, whose files are numbered.
        """
        if self.layout != "numbered":
            problem = "files of the re-upload are numbered, so they cannot be matched with candidate ids"
            raise UsageError(problem, item=str(self.root), remedy="Use the first release, whose files are named by candidate ids")
        published = dict(images)
        found = dict(zip(self.image_ids, self.labels.tolist(), strict=True))
        lines = [f"{image}: in the revision but not in the folder" for image in sorted(published.keys() - found.keys())]
        for image, label in sorted(found.items()):
            if image not in published:
                lines.append(f"{image}: in the folder but not in {self.revision}")
            elif class_index[published[image]] != label:
                lines.append(f"{image}: class folder {label}, but {published[image]} is class {class_index[published[image]]}")
        return lines


def _find(root: Path, release: Release) -> Path | None:
    """The folder of the class folders: ``root`` itself or the release's folder in it."""
    others = {other.folder for other in RELEASES.values()} - {release.folder}
    if root.name in others:
        problem = f"is the folder of another variant than {release.folder}"
        raise InputError(problem, item=str(root), remedy="Give the folder that belongs to the variant")
    for folder in (root / release.folder, root):
        if folder.is_dir() and any(_NUMBER.fullmatch(name) or _WNID.fullmatch(name) for name in subfolders(folder)):
            return folder
    return None


def _fetch(root: Path, release: Release, file: RemoteFile, progress: Progress | None, client: httpx.Client | None) -> Path:
    target = root / release.folder
    if target.is_dir() and any(target.iterdir()):  # said before a gigabyte is fetched that could not take its place
        raise InputError("exists but holds no class folders", item=str(target), remedy="Move it away and try again")
    archive = download(file, root, progress=progress, client=client)
    unpacked = root / f"{release.folder}.unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)  # left by an interruption between unpacking and renaming
    unpack(archive, unpacked, limits=_LIMITS)
    inner = [path for path in unpacked.iterdir() if path.is_dir()]
    # The archive's own top folder differs between uploads; the class folders may also lie at its top.
    source = inner[0] if len(inner) == 1 else unpacked
    source.replace(target)
    if source != unpacked:
        unpacked.rmdir()
    return target


def _class_folders(folder: Path, wnids: tuple[str, ...] | None, allow_partial: bool) -> tuple[Literal["numbered", "wnid"], tuple[str, ...]]:
    """Names of the class folders in index order."""
    names = set(subfolders(folder))
    numbered = tuple(str(index) for index in range(NUM_CLASSES))
    if names == set(numbered) or (allow_partial and names <= set(numbered)):
        return "numbered", numbered
    if len(names) == NUM_CLASSES and all(_WNID.fullmatch(name) for name in names):
        expected = tuple(sorted(names)) if wnids is None else wnids
        if set(expected) != names:
            strange = ", ".join(sorted(names - set(expected))[:3])
            raise InputError(f"has class folders that are not ImageNet's 1,000 ({strange} ...)", item=str(folder), remedy=_REMEDY)
        _check_reupload(folder, expected)
        return "wnid", expected
    raise InputError(f"holds {_describe(names, numbered)}, not the folders 0 to 999", item=str(folder), remedy=_REMEDY)


_REMEDY: Final = "Unpack a released archive as it is; other layouts are refused because their labels could not be trusted"


def _describe(names: set[str], numbered: tuple[str, ...]) -> str:
    present = [name for name in numbered if name in names]
    if present and names <= set(numbered):
        missing = next(name for name in numbered if name not in names)
        return f"{len(present)} of the 1,000 class folders (the first that is missing is {missing!r})"
    strange = sorted(names - set(numbered))
    return f"{len(names)} folders such as {', '.join(map(repr, strange[:3]))}"


def _check_reupload(folder: Path, names: tuple[str, ...]) -> None:
    for name in names:
        strange = [path.name for path in _files(folder / name) if path.stem not in _REUPLOAD_STEMS]
        if strange:
            problem = f"holds {strange[0]!r}; wnid folders are only known with the files 0.jpeg to 19.jpeg"
            raise InputError(problem, item=str(folder / name), remedy=_REMEDY)


def _images(folder: Path) -> list[Path]:
    files = _files(folder) if folder.is_dir() else []
    return sorted(files, key=lambda path: (len(path.stem), path.name) if path.stem.isdigit() else (0, path.name))


def _check_equal(folder: Path, images: Mapping[str, list[Path]]) -> None:
    usual = max(len(files) for files in images.values())
    for name, files in images.items():
        if len(files) != usual:
            problem = f"holds {len(files)} images, other classes hold {usual}"
            raise InputError(problem, item=str(folder / name), remedy="Unpack the archive again, or pass allow_partial=True")


def _files(folder: Path) -> list[Path]:
    files = [path for path in folder.iterdir() if not path.name.startswith(".")]
    for path in files:
        if path.suffix.lower() not in JPEG_SUFFIXES or not path.is_file():
            raise InputError(f"holds {path.name!r}, which is not a JPEG file", item=str(folder), remedy=_REMEDY)
    return files
