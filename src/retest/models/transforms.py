"""A model's own preprocessing as data: what happens to an image before it becomes numbers, and how it becomes numbers.

The geometry (resize, crop) runs on 8-bit RGB with Pillow, in any process and without a deep-learning library; models that share
it share the work. The normalisation runs on whole batches where the model is. Both give what torchvision's and timm's own
evaluation transforms give, number for number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retest.errors import InputError, NotFoundError, UsageError
from retest.models.base import Float32Array, UInt8Array

if TYPE_CHECKING:
    from PIL import Image

_FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
_KINDS = ("resize", "center_crop", "central_fraction")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the geometry.

    ``resize``: to (height, width), or, given one number, the shorter side to it and the longer one to the whole number below
    the aspect ratio's (torchvision's rule). ``center_crop``: the middle (height, width), or a square; black where the image is
    smaller (torchvision's rule). ``central_fraction``: cuts the same whole number of pixels, ``int((side - fraction * side) / 2)``,
    off both ends of each side (TensorFlow's ``central_crop``).
    """

    kind: str
    size: tuple[int, ...] = ()
    fraction: float = 1.0
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise UsageError("there is no such step", item=str(self.kind), remedy=f"Use one of: {', '.join(_KINDS)}")
        if self.interpolation not in _FILTERS:
            raise UsageError("there is no such filter", item=str(self.interpolation), remedy=f"Use one of: {', '.join(_FILTERS)}")
        if self.kind == "central_fraction":
            if not 0 < self.fraction <= 1:
                raise UsageError(f"must be above 0 and at most 1, is {self.fraction}", item=self.kind, remedy="0.875 is usual")
        elif len(self.size) not in (1, 2) or any(side < 1 for side in self.size):
            raise UsageError(f"needs one or two sides of at least 1 pixel, not {list(self.size)}", item=self.kind, remedy="Such as 224")

    def apply(self, image: Image.Image) -> Image.Image:
        """The image after this step."""
        if self.kind == "resize":
            return self._resized(image)
        if self.kind == "center_crop":
            return _center_crop(image, self.size[0], self.size[-1])
        cut = [int((side - self.fraction * side) / 2) for side in image.size]
        return image.crop((cut[0], cut[1], image.width - cut[0], image.height - cut[1]))

    def _resized(self, image: Image.Image) -> Image.Image:
        if len(self.size) == 2:
            size = (self.size[1], self.size[0])
        else:
            short, long = min(image.size), max(image.size)
            longer = int(self.size[0] * long / short)
            size = (self.size[0], longer) if image.width <= image.height else (longer, self.size[0])
        if image.size == size:
            return image
        from PIL.Image import Resampling

        return image.resize(size, Resampling[self.interpolation.upper()])

    def as_json(self) -> dict[str, Any]:
        """The step as a sidecar file writes it."""
        if self.kind == "central_fraction":
            return {self.kind: self.fraction}
        value = self.size[0] if len(self.size) == 1 else list(self.size)
        return {self.kind: value} if self.kind == "center_crop" else {self.kind: value, "interpolation": self.interpolation}


def _center_crop(image: Image.Image, height: int, width: int) -> Image.Image:
    if width > image.width or height > image.height:
        left, top = max(0, (width - image.width) // 2), max(0, (height - image.height) // 2)
        right, bottom = max(0, (width - image.width + 1) // 2), max(0, (height - image.height + 1) // 2)
        from PIL import ImageOps

        image = ImageOps.expand(image, border=(left, top, right, bottom))
        if image.size == (width, height):
            return image
    x, y = round((image.width - width) / 2.0), round((image.height - height) / 2.0)
    return image.crop((x, y, x + width, y + height))


@dataclass(frozen=True, slots=True)
class Geometry:
    """The steps from an upright RGB image to the 8-bit pixels that a model sees. Small, and picklable: it travels to processes."""

    steps: tuple[Step, ...]

    @property
    def description(self) -> str:
        """Text that pins the steps."""
        return json.dumps([step.as_json() for step in self.steps])

    def __call__(self, rgb: UInt8Array) -> UInt8Array:
        """uint8 (height, width, 3) -> uint8 (height', width', 3)."""
        from PIL import Image

        image = Image.fromarray(rgb)
        for step in self.steps:
            image = step.apply(image)
        return np.asarray(image, dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Geometry and normalisation: ``(pixels / scale - mean) / std`` per channel, in single precision.

    With ``scale`` 255 (torchvision, timm) mean and standard deviation count from 0 to 1, with 1 from 0 to 255. ``layout`` is the
    order of the model's input axes, ``NCHW`` or ``NHWC``; ``bgr`` says that its channels are blue, green, red.

    Raises:
        UsageError: a value is out of range.
    """

    steps: tuple[Step, ...]
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    scale: float = 255.0
    layout: str = "NCHW"
    bgr: bool = False

    def __post_init__(self) -> None:
        if len(self.mean) != 3 or len(self.std) != 3 or not all(map(math.isfinite, self.mean)):
            raise UsageError("needs three numbers", item="mean and std", remedy="One per channel")
        if not all(math.isfinite(value) and value > 0 for value in (*self.std, self.scale)):
            raise UsageError("must be positive", item="std and scale", remedy="With values from 0 to 1: scale 255")
        if self.layout not in ("NCHW", "NHWC"):
            raise UsageError(f"must be NCHW or NHWC, not {self.layout!r}", item="layout", remedy="PyTorch models have NCHW")

    @property
    def geometry(self) -> Geometry:
        """The part that runs image by image."""
        return Geometry(self.steps)

    @property
    def description(self) -> str:
        """Text that pins all of it: the JSON form with sorted keys."""
        return json.dumps(self.as_json(), sort_keys=True)

    def as_json(self) -> dict[str, Any]:
        """The form of a sidecar file; :meth:`from_json` reads it."""
        return {
            "steps": [step.as_json() for step in self.steps],
            "mean": list(self.mean),
            "std": list(self.std),
            "scale": self.scale,
            "layout": self.layout,
            "bgr": self.bgr,
        }

    @staticmethod
    def from_json(content: Any, *, item: str = "preprocessing") -> Preprocessing:
        """Read the JSON form; keys that are left out have their defaults, except ``steps``, ``mean`` and ``std``.

        Raises:
            InputError: it is not of that form; names the key.
        """
        try:
            return _from_json(content)
        except (UsageError, KeyError, TypeError, ValueError) as error:
            problem = f"lacks the key {error}" if isinstance(error, KeyError) else str(error)
            raise InputError(f"is no description of a preprocessing ({problem})", item=item, remedy=_FORM) from error

    def normalise(self, batch: UInt8Array) -> Float32Array:
        """uint8 (n, height, width, 3) -> float32 in the model's layout."""
        pixels = batch[..., ::-1] if self.bgr else batch
        mean, std = np.array(self.mean, dtype=np.float32), np.array(self.std, dtype=np.float32)
        if self.layout == "NCHW":  # the 8-bit pixels are turned, which moves a quarter of the bytes
            pixels, mean, std = pixels.transpose(0, 3, 1, 2), mean[:, None, None], std[:, None, None]
        values = np.ascontiguousarray(pixels).astype(np.float32)
        if self.scale != 1.0:
            values /= np.float32(self.scale)
        values -= mean
        values /= std
        return values

    def __call__(self, rgb: UInt8Array) -> Float32Array:
        """One image, uint8 (height, width, 3), all the way: float32 (3, height', width'), or (height', width', 3) with NHWC."""
        one: Float32Array = self.normalise(self.geometry(rgb)[None])[0]
        return one


_FORM = (
    'Write {"steps": [{"resize": 256, "interpolation": "bilinear"}, {"center_crop": 224}], '
    '"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "scale": 255}'
)


def _from_json(content: Any) -> Preprocessing:
    if not isinstance(content, Mapping):
        raise ValueError("must be an object")
    known = {"steps", "mean", "std", "scale", "layout", "bgr"}
    if strange := sorted(set(content) - known):
        raise ValueError(f"unknown key {strange[0]!r}")
    return Preprocessing(
        steps=tuple(_step(step) for step in content["steps"]),
        mean=_triple(content["mean"]),
        std=_triple(content["std"]),
        scale=float(content.get("scale", 255)),
        layout=str(content.get("layout", "NCHW")),
        bgr=bool(content.get("bgr", False)),
    )


def _triple(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _step(content: Any) -> Step:
    kinds = [kind for kind in _KINDS if kind in content]
    if len(kinds) != 1 or (strange := sorted(set(content) - {*kinds, "interpolation"})):
        raise ValueError(f"a step has one of {', '.join(_KINDS)}, and interpolation: {content if len(kinds) != 1 else strange}")
    value = content[kinds[0]]
    if kinds[0] == "central_fraction":
        return Step(kinds[0], fraction=float(value))
    size = (value,) if isinstance(value, int) else tuple(value)
    if any(isinstance(side, bool) or not isinstance(side, int) for side in size):
        raise ValueError(f"{kinds[0]} needs whole numbers, not {value!r}")
    return Step(kinds[0], size, interpolation=str(content.get("interpolation", "bilinear")))


def read_description(path: Path | str) -> dict[str, Any]:
    """Read a sidecar file (JSON object).

    Raises:
        NotFoundError: there is none.
        InputError: it is no JSON object.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError("no such file", item=str(path), remedy=_FORM)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"is no JSON file ({error})", item=str(path), remedy=_FORM) from error
    if not isinstance(content, dict):
        raise InputError("holds no JSON object", item=str(path), remedy=_FORM)
    return content


@dataclass(frozen=True, eq=False, slots=True)
class CallableTransform:
    """A transform of somebody else: a Pillow image -> an array or tensor of fixed shape. Used where no :class:`Preprocessing` says it."""

    transform: Callable[[Image.Image], Any]
    description: str

    def __call__(self, rgb: UInt8Array) -> NDArray[Any]:
        """uint8 (height, width, 3) -> what the transform gives, as an array."""
        from PIL import Image

        return np.asarray(self.transform(Image.fromarray(rgb)))
