"""Featuriser from an ONNX file, which runs on onnxruntime."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retest.errors import InputError, UsageError
from retest.files import file_hash
from retest.models._batched import BatchedFeaturiser
from retest.models.base import Float32Array, UInt8Array
from retest.models.libraries import first_line, needs_extra


@dataclass(frozen=True, slots=True)
class OnnxInput:
    """How an image becomes the model's input: ``(x - mean) / std`` of the resized image, x from 0 to 255.

    ``side`` 0 takes the model's own; ``crop`` keeps this central share of each side first; ``output`` is the output's name, the
    first one by default. A file ``MODEL.json`` beside ``MODEL.onnx`` may set any of these.
    """

    side: int = 0
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    crop: float = 1.0
    output: str = ""

    @classmethod
    def beside(cls, path: Path) -> OnnxInput:
        """What the file beside the model says; ImageNet's mean and deviation where there is none.

        Raises:
            InputError: the file holds something else.
        """
        described = path.with_suffix(".json")
        if not described.is_file():
            return cls()
        known = {field.name for field in fields(cls)}
        try:
            values = json.loads(described.read_text(encoding="utf-8"))
            unknown = sorted(set(values) - known)
            found: dict[str, Any] = {name: _three(value) if name in {"mean", "std"} else value for name, value in values.items()}
            made = cls(**{name: value for name, value in found.items() if name in known})
            ok = not unknown and 0.0 < float(made.crop) <= 1.0 and int(made.side) >= 0 and all(float(v) > 0 for v in made.std)
        except (ValueError, TypeError, OSError, RecursionError) as error:
            raise InputError(
                f"does not describe a model's input ({error})", item=str(described), remedy=f"Keys: {', '.join(sorted(known))}"
            ) from error
        if not ok:
            raise InputError("does not describe a model's input", item=str(described), remedy=f"Keys: {', '.join(sorted(known))}")
        return made


def _three(value: Any) -> tuple[float, float, float]:
    red, green, blue = [value] * 3 if isinstance(value, int | float) else value
    return float(red), float(green), float(blue)


class OnnxFeaturiser(BatchedFeaturiser):
    """Features from an ONNX model with one image input, float32 (n, 3, h, w) or (n, h, w, 3).

    Args:
        path: the model.
        settings: preprocessing; by default what the file beside the model says.
        threads: threads of onnxruntime; None leaves its own choice.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        InputError: the file cannot be read, is no ONNX model, or has another kind of input.
        UsageError: the output that the settings name does not exist.
    """

    def __init__(self, path: Path, *, settings: OnnxInput | None = None, threads: int | None = None) -> None:
        digest = file_hash(path, what="the model")
        self._settings = settings or OnnxInput.beside(path)
        self._session = _session(path, threads)
        self._input = self._session.get_inputs()[0]
        shape = list(self._input.shape)
        if self._input.type != "tensor(float)" or len(shape) != 4 or 3 not in (shape[1], shape[3]):
            raise InputError(
                f"takes {self._input.type} {shape}, not float32 images", item=str(path), remedy="Export it with (n, 3, height, width)"
            )
        self._channels_first = shape[1] == 3
        sides = shape[2:4] if self._channels_first else shape[1:3]
        self._sides = [self._settings.side or (side if isinstance(side, int) else 224) for side in sides]
        outputs = [output.name for output in self._session.get_outputs()]
        self._output = self._settings.output or outputs[0]
        if self._output not in outputs:
            raise UsageError(f"the model has no output {self._output!r}", item=str(path), remedy=f"Outputs: {', '.join(outputs)}")
        # A model may have been exported for one image at a time.
        super().__init__(label=path.stem, pinned=f"{self._settings!r} {self._sides} {digest}", batch=1 if shape[0] == 1 else 32)

    def _run(self, images: UInt8Array) -> Float32Array:
        batch = np.stack([self._prepare(image) for image in images])
        found = self._session.run([self._output], {self._input.name: batch})[0]
        return np.asarray(found, np.float32).reshape(len(batch), -1)

    def _prepare(self, pixels: UInt8Array) -> NDArray[np.float32]:
        height, width = pixels.shape[:2]
        top, left = (int((side - self._settings.crop * side) / 2) for side in (height, width))
        part = Image.fromarray(pixels[top : height - top, left : width - left])
        rows, columns = self._sides
        small: NDArray[np.float32] = np.asarray(part.resize((columns, rows), Image.Resampling.BILINEAR), np.float32)
        values: NDArray[np.float32] = (small - np.array(self._settings.mean, np.float32)).astype(np.float32)
        values /= np.array(self._settings.std, np.float32)
        return values.transpose(2, 0, 1) if self._channels_first else values


def _session(path: Path, threads: int | None) -> Any:
    with needs_extra():
        import onnxruntime
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base of their own
        problem = f"is no ONNX model that onnxruntime can run ({first_line(error)})"
        raise InputError(problem, item=str(path), remedy="Check the file") from error
