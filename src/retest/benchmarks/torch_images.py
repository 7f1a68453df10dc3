"""The torch side of a data set. Imports torch, so nothing imports this module but :func:`retest.benchmarks.base.as_torch_dataset`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PIL import Image
from torch.utils.data import Dataset

from retest.benchmarks.base import LabelledImages

__all__ = ["TorchImages"]


class TorchImages(Dataset):  # type: ignore[misc]
    """Map-style data set of (transformed image, label)."""

    def __init__(self, images: LabelledImages, transform: Callable[[Image.Image], Any] | None) -> None:
        self.images = images
        self.transform = transform
        self.classes = list(images.class_names)
        self.targets = images.labels.tolist()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image, label = self.images[index]
        return (image if self.transform is None else self.transform(image)), label
