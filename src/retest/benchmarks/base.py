"""What every data set of labelled images offers, with torch and without."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retest.errors import InputError, MissingExtraError, UsageError
from retest.images import DecodedImage, decode_image

__all__ = ["ArrayImages", "FileImages", "LabelledImages", "as_torch_dataset", "subfolders"]


@runtime_checkable
class LabelledImages(Protocol):
    """Images with labels, in a fixed order.

    ``image_ids`` are unique within the set; ``labels`` is int64 (n,), the class index of each image (-1: unknown);
    ``class_names[label]`` names a class. ``data_set[i]`` is (upright RGB ``PIL.Image.Image``, label), so an instance works
    as a map-style data set for ``torch.utils.data.DataLoader`` as it is.
    """

    name: str
    image_ids: tuple[str, ...]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Image.Image, int]: ...

    def image(self, index: int) -> Image.Image:
        """The image at ``index`` as upright 8-bit RGB. Raises ImageError when its bytes are no image."""


class _Indexed:
    """Length, iteration and access by position over ``image_ids``, ``labels`` and ``image``."""

    name: str
    image_ids: tuple[str, ...]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]

    def image(self, index: int) -> Image.Image:
        """The image at ``index`` as upright 8-bit RGB."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        position = self._position(index)
        return self.image(position), int(self.labels[position])

    def __iter__(self) -> Iterator[tuple[Image.Image, int]]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {len(self)} images, {len(self.class_names)} classes)"

    def _position(self, index: int) -> int:
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"{self.name} has {len(self)} images, there is no number {index}")
        return position


class FileImages(_Indexed):
    """A data set whose images are files. ``paths[i]`` belongs to ``image_ids[i]``.

    Raises:
        InputError: ids repeat, or labels do not fit the images or the classes.
        UsageError: there are more or fewer paths than images.
    """

    def __init__(
        self,
        name: str,
        *,
        image_ids: Sequence[str],
        labels: Sequence[int] | NDArray[np.int64],
        paths: Sequence[Path | str],
        class_names: Sequence[str],
    ) -> None:
        self.name = name
        self.image_ids = tuple(image_ids)
        self.labels = _checked_labels(labels, len(self.image_ids), len(class_names), name)
        self.paths = tuple(map(Path, paths))
        self.class_names = tuple(class_names)
        if len(self.paths) != len(self.image_ids):
            raise UsageError(f"{len(self.paths)} paths for {len(self.image_ids)} images", item=name, remedy="Give every image one path")
        _check_unique(self.image_ids, name)

    def read(self, index: int) -> bytes:
        """The bytes of the file at ``index``. Raises InputError when it cannot be read."""
        path = self.paths[self._position(index)]
        try:
            return path.read_bytes()
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror})", item=str(path), remedy="Unpack the data set again") from error

    def decoded(self, index: int) -> DecodedImage:
        """The decoded image with its notes (orientation applied, colour conversion)."""
        return decode_image(self.read(index), item=str(self.paths[self._position(index)]))

    def image(self, index: int) -> Image.Image:
        """The image at ``index`` as upright 8-bit RGB. Raises as :meth:`read`, and ImageError when the bytes are no image."""
        return self.decoded(index).image


class ArrayImages(_Indexed):
    """A data set whose images are one array: ``data`` is uint8 (n, height, width, 3).

    Raises:
        InputError: ids repeat, labels do not fit the images or the classes, or the array is none of images.
    """

    def __init__(
        self,
        name: str,
        *,
        image_ids: Sequence[str],
        labels: Sequence[int] | NDArray[np.int64],
        data: NDArray[np.uint8],
        class_names: Sequence[str],
    ) -> None:
        self.name = name
        self.image_ids = tuple(image_ids)
        self.labels = _checked_labels(labels, len(self.image_ids), len(class_names), name)
        self.data = data
        self.class_names = tuple(class_names)
        if data.dtype != np.uint8 or data.ndim != 4 or data.shape[0] != len(self.image_ids) or data.shape[3] != 3:
            problem = f"the images are {data.dtype} of shape {data.shape}, not uint8 ({len(self.image_ids)}, height, width, 3)"
            raise InputError(problem, item=name, remedy="Use the published files")
        _check_unique(self.image_ids, name)

    def image(self, index: int) -> Image.Image:
        """The image at ``index`` as it lies in the array."""
        return Image.fromarray(self.data[self._position(index)])


def as_torch_dataset(images: LabelledImages, *, transform: Callable[[Image.Image], Any] | None = None) -> Any:
    """Wrap a data set as a ``torch.utils.data.Dataset`` of (transformed image, label); torch is imported here only.

    The result has the attributes ``images`` (what was given), ``classes`` and ``targets``, as torchvision's data sets
    have the last two. It can be pickled when the data set and the transform can, so DataLoader workers may be spawned.

    Raises:
        MissingExtraError: torch is not installed.
    """
    try:
        from retest.benchmarks.torch_images import TorchImages
    except ImportError as error:
        raise MissingExtraError("torch", "models") from error
    return TorchImages(images, transform)


def subfolders(folder: Path) -> list[str]:
    """Names of the folders directly in ``folder``, hidden ones left out, in no particular order."""
    return [path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]


def _checked_labels(labels: Sequence[int] | NDArray[np.int64], count: int, classes: int, name: str) -> NDArray[np.int64]:
    array = np.array(labels, dtype=np.int64)  # a copy: it is made read-only
    if array.shape != (count,):
        raise InputError(f"{array.size} labels for {count} images", item=name, remedy="Use the published files")
    if count and (array.min() < -1 or array.max() >= classes):
        raise InputError(f"labels from {array.min()} to {array.max()} for {classes} classes", item=name, remedy="Use the published files")
    array.setflags(write=False)
    return array


def _check_unique(image_ids: tuple[str, ...], name: str) -> None:
    if len(set(image_ids)) != len(image_ids):
        raise InputError("some images have the same id", item=name, remedy="Give every image its own name")
