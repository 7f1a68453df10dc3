"""ONNX files behind the seam :class:`~retest.models.base.Classifier`; needs ONNX Runtime, not PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retest.errors import InputError, NotFoundError
from retest.files import file_hash
from retest.models._transformed import TransformedClassifier
from retest.models.base import Float32Array
from retest.models.engines import OnnxEngine
from retest.models.libraries import first_line, installed_versions, require
from retest.models.microbatch import MicroBatches
from retest.models.transforms import Preprocessing, Step, read_description

_PIECE = 16


class OnnxClassifier(TransformedClassifier):
    """An ONNX file whose first input are images and whose first output are scores (n, classes).

    Args:
        name: the name under which results are reported.
        path: the file.
        preprocessing: what the model needs.
        class_names: names of the classes in the model's order, where known.
        threads: processor threads of one call (0: all cores).

    Raises:
        NotFoundError: there is no such file.
        InputError: it is no ONNX model of images.
    """

    thread_safe = True
    transform: Preprocessing

    def __init__(
        self, name: str, path: Path | str, preprocessing: Preprocessing, *, class_names: Sequence[str] | None = None, threads: int = 0
    ) -> None:
        self._name, self._path, self.transform = name, Path(path), preprocessing
        if not self._path.is_file():
            raise NotFoundError("no such file", item=str(path), remedy="Give an .onnx file")
        self.preprocess = preprocessing.geometry
        self.class_names = None if class_names is None else tuple(class_names)
        self.notes: list[str] = []
        self._engine = _opened(self._path, threads)
        self._weights = file_hash(self._path)
        self._pieces = MicroBatches(f"model {name}", size=_fixed_batch(self._engine) or _PIECE)
        self._num_classes = self._count_classes()

    @property
    def fingerprint(self) -> str:
        """Text that changes with the file or the preprocessing."""
        return f"onnx {self._weights}; {self.preprocessing}"

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What is recorded with the predictions: engine, versions, hash of the weights."""
        return {
            "engine": "onnx",
            "weights_file": self._path.name,
            "weights_sha256": self._weights,
            "precision": "fp32",
            "device": "cpu",
            "versions": installed_versions("numpy", "pillow", "onnxruntime"),
        }

    def predict(self, batch: NDArray[Any]) -> Float32Array:
        """Score preprocessed images, uint8 (n, height, width, 3): float32 (n, classes)."""
        return np.asarray(self._pieces(self._score, batch), dtype=np.float32)

    def _score(self, pixels: NDArray[Any]) -> Float32Array:
        values = self.transform.normalise(pixels)
        fixed = _fixed_batch(self._engine)
        if fixed and len(values) < fixed:  # the model takes whole batches only
            values = np.concatenate([values, np.repeat(values[-1:], fixed - len(values), axis=0)])
        scores = self._engine(values.astype(np.float16) if "float16" in self._engine.input.type else values)
        return scores[: len(pixels)]

    def _count_classes(self) -> int:
        grey = np.full((256, 256, 3), 128, dtype=np.uint8)
        try:
            scores = self._score(self.preprocess(grey)[None])
        except Exception as error:  # ONNX Runtime's errors share no base class
            problem = f"does not run on an image so prepared ({first_line(error, most=300)})"
            raise InputError(problem, item=str(self._path), remedy="Check steps and layout of its preprocessing") from error
        if scores.ndim != 2:
            raise InputError(f"gives scores of shape {scores.shape}, not (n, classes)", item=str(self._path), remedy="Export the logits")
        return int(scores.shape[1])


def _opened(path: Path, threads: int) -> OnnxEngine:
    require("onnxruntime")
    try:
        return OnnxEngine(path, threads=threads)
    except Exception as error:  # ONNX Runtime's errors share no base class
        problem = f"cannot be read as an ONNX model ({first_line(error)})"
        raise InputError(problem, item=str(path), remedy="Export it again") from error


def _fixed_batch(engine: OnnxEngine) -> int:
    first = engine.input.shape[0] if engine.input.shape else None
    return first if isinstance(first, int) and first > 0 else 0


def open_onnx(name: str, path: str, sidecar: str, *, threads: int = 0) -> OnnxClassifier:
    """Open an ONNX file with the description of its preprocessing: ``sidecar``, or ``<file>.json`` beside it.

    The description may also hold ``classes``, the class names in the model's order.

    Raises:
        NotFoundError: there is no description.
        InputError: it is not of the known form.
    """
    if not Path(path).is_file():
        raise NotFoundError("no such file", item=path, remedy="Give an .onnx file")
    beside = [Path(f"{path}.json"), Path(path).with_suffix(".json")]
    found = Path(sidecar) if sidecar else next((place for place in beside if place.is_file()), None)
    if found is None:
        remedy = f"Write {beside[0]}, or give --preprocessing {name}=FILE.json: {_EXAMPLE}"
        raise NotFoundError("nothing says how images are prepared for it", item=path, remedy=remedy)
    content = read_description(found)
    classes = content.pop("classes", None)
    if classes is not None and not (isinstance(classes, list) and all(isinstance(one, str) for one in classes)):
        raise InputError("classes must be a list of names", item=str(found), remedy="In the order of the model's scores")
    return OnnxClassifier(name, path, Preprocessing.from_json(content, item=str(found)), class_names=classes, threads=threads)


_EXAMPLE = Preprocessing((Step("resize", (256,)), Step("center_crop", (224,)))).description
