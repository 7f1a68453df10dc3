"""The evaluation transforms of torchvision and timm, read as :class:`~retest.models.transforms.Preprocessing` where that says it all.

Only transforms that consist of resize, centre crop and normalisation are read; everything else keeps the library's own object.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from retest.errors import UsageError
from retest.models.transforms import CallableTransform, Preprocessing, Step


def read_transform(transform: Callable[..., Any]) -> Preprocessing | CallableTransform:
    """A preset of torchvision, or a composition of torchvision's and timm's steps, or anything that maps a Pillow image to a tensor.

    Raises:
        UsageError: it cannot be called.
    """
    if isinstance(transform, Preprocessing | CallableTransform):
        return transform
    if not callable(transform):
        raise UsageError(f"is a {type(transform).__name__}", item="preprocessing", remedy="Give a function: Pillow image -> tensor")
    known = _preset(transform) or _composition(transform)
    return known or CallableTransform(transform, describe_callable(transform))


def _preset(transform: Any) -> Preprocessing | None:
    from torchvision.transforms._presets import ImageClassification

    if type(transform) is not ImageClassification:
        return None
    size, crop = tuple(transform.resize_size), tuple(transform.crop_size)
    steps = (Step("resize", size, interpolation=transform.interpolation.value), Step("center_crop", crop))
    return Preprocessing(steps, _triple(transform.mean), _triple(transform.std))


def _composition(transform: Any) -> Preprocessing | None:
    """``Compose([Resize and CenterCrop ..., ToTensor, Normalize])``, as timm's ``create_transform`` makes it."""
    from timm.data.transforms import MaybeToTensor
    from torchvision import transforms

    if type(transform) is not transforms.Compose:
        return None
    parts: list[Any] = list(transform.transforms)
    if len(parts) < 2:
        return None
    *geometry, to_tensor, normalize = parts
    if type(to_tensor) not in (transforms.ToTensor, MaybeToTensor) or type(normalize) is not transforms.Normalize:
        return None
    steps = [_read_step(step) for step in geometry]
    if any(step is None for step in steps):
        return None
    return Preprocessing(tuple(step for step in steps if step is not None), _triple(normalize.mean), _triple(normalize.std))


def _read_step(step: Any) -> Step | None:
    from torchvision import transforms

    if type(step) is transforms.Resize and step.max_size is None:
        size = (step.size,) if isinstance(step.size, int) else tuple(step.size)
        return Step("resize", size, interpolation=step.interpolation.value)
    if type(step) is transforms.CenterCrop:
        return Step("center_crop", tuple(step.size))
    return None


def _triple(values: Any) -> tuple[float, float, float]:
    # timm holds them in single precision; the shortest decimal that means the same number is what its configuration said.
    red, green, blue = (float(str(np.float32(value))) for value in values)
    return red, green, blue


def describe_callable(transform: Callable[..., Any]) -> str:
    """Text that changes with a transform: its name, what it prints as (without addresses) and, for Python code, its source."""
    kind = transform if inspect.isroutine(transform) or inspect.isclass(transform) else type(transform)
    name = f"{getattr(kind, '__module__', '')}.{getattr(kind, '__qualname__', repr(kind))}"
    shown = "" if inspect.isroutine(transform) else repr(transform)
    shown = "" if " at 0x" in shown else " ".join(shown.split())
    return f"{name} {shown} source {_source_hash(kind)}"


def _source_hash(kind: Any) -> str:
    try:
        source = inspect.getsource(kind)
    except (OSError, TypeError):
        return "unknown"
    return hashlib.sha256(source.encode()).hexdigest()[:16]
