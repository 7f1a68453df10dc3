"""Torch modules behind the seam :class:`~retest.models.base.Classifier`."""

from __future__ import annotations

import hashlib
import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retest.errors import InputError, UsageError
from retest.models.base import Float32Array
from retest.models.engines import EagerEngine, EngineError, chosen_device, chosen_engine, compile_module, export_onnx
from retest.models.library_transforms import read_transform
from retest.models.microbatch import MicroBatches
from retest.models.names import require
from retest.models.transforms import CallableTransform, Preprocessing
from retest.models.weights import state_hash

_CPU_PIECE, _GPU_PIECE, _GPU_LIMIT = 16, 64, 1024
_CHECKED = 4
_LIBRARIES = ("torch", "torchvision", "timm")


class TorchClassifier:
    """A torch module with its preprocessing.

    Args:
        name: the name under which results are reported.
        module: gives logits (n, classes) for float32 (n, 3, height, width); put into evaluation mode and moved to the device.
        preprocessing: a :class:`~retest.models.transforms.Preprocessing`, or any function Pillow image -> tensor, such as
            torchvision's and timm's transforms, which are understood and then shared between models.
        device: ``cpu``, ``cuda``, ``cuda:1`` ..., or ``auto``.
        engine: ``eager``, ``compile``, ``onnx`` or ``auto``; what cannot be used, or does not give eager's logits within 1e-4 on the
            first images, falls back to eager with a note.
        precision: ``fp32``, or ``bf16``/``fp16`` autocast.
        num_classes: by default what the module gives for a grey image.
        class_names: names of the classes in the module's order, where known.
        source: where the weights come from, recorded with the results.
        threads: processor threads of one ONNX call (0: all cores).
        notes: what to tell people.

    Raises:
        UsageError: the module is none, or device, engine or precision do not exist.
    """

    thread_safe = True
    """``predict`` may be called from several threads at the same time."""

    def __init__(
        self,
        name: str,
        module: Any,
        preprocessing: Preprocessing | CallableTransform | Callable[..., Any],
        *,
        device: str = "auto",
        engine: str = "auto",
        precision: str = "fp32",
        num_classes: int | None = None,
        class_names: Sequence[str] | None = None,
        source: Mapping[str, Any] | None = None,
        threads: int = 0,
        notes: Sequence[str] = (),
    ) -> None:
        torch = require("torch")
        if not isinstance(module, torch.nn.Module):
            raise UsageError(f"is a {type(module).__name__}, not a torch.nn.Module", item=f"model {name}", remedy="Give the module itself")
        self._name = name
        self.device = chosen_device(device)
        self._engine_name = chosen_engine(engine, device=self.device, precision=precision)
        self._precision, self._threads = precision, threads
        self.module = module.eval()
        self.transform = read_transform(preprocessing)
        self.preprocess: Callable[..., NDArray[Any]] = (
            self.transform.geometry if isinstance(self.transform, Preprocessing) else self.transform
        )
        self._source = dict(source or {})
        self.class_names = None if class_names is None else tuple(class_names)
        self.notes = list(notes)
        self._weights, self._structure = state_hash(module), _structure_hash(module)
        self._lock = threading.Lock()
        self._run: Callable[[NDArray[Any]], Float32Array] | None = None
        self._used = ""
        gpu = torch.device(self.device).type == "cuda"
        self._pieces = MicroBatches(
            f"model {name}",
            size=_GPU_PIECE if gpu else _CPU_PIECE,
            limit=_GPU_LIMIT if gpu else 0,
            release=torch.cuda.empty_cache if gpu else None,
        )
        self._num_classes = self._count_classes() if num_classes is None else num_classes

    @property
    def name(self) -> str:
        return self._name

    @property
    def num_classes(self) -> int:
        return self._num_classes

    @property
    def preprocessing(self) -> str:
        return self.transform.description

    @property
    def shared_input(self) -> str:
        """Pins what ``preprocess`` gives; models with the same geometry share it whatever their normalisation."""
        return self.transform.geometry.description if isinstance(self.transform, Preprocessing) else self.transform.description

    @property
    def fingerprint(self) -> str:
        engine = self._engine_name if self._precision == "fp32" else f"{self._engine_name} {self._precision}"
        return f"torch {self._weights} {self._structure}; {engine} on {self.device.partition(':')[0]}; {self.preprocessing}"

    @property
    def provenance(self) -> Mapping[str, Any]:
        return {
            **self._source,
            "engine": self._used or f"{self._engine_name} (rows of an earlier run)",
            "precision": self._precision,
            "device": self._device_name(),
            "weights_sha256": self._weights,
            "versions": installed_versions("numpy", "pillow", "torch", "torchvision", "timm", "onnxruntime"),
        }

    def predict(self, batch: NDArray[Any]) -> Float32Array:
        """Score preprocessed images: uint8 (n, height, width, 3), or what a transform of one's own gives: float32 (n, classes)."""
        run = self._run or self._start(batch)
        return np.asarray(self._pieces(run, batch), dtype=np.float32)

    def inputs(self, batch: NDArray[Any]) -> NDArray[Any]:
        """What the module sees: the normalised float32 (n, 3, height, width) of what ``preprocess`` gave."""
        return self.transform.normalise(batch) if isinstance(self.transform, Preprocessing) else batch

    def _start(self, batch: NDArray[Any]) -> Callable[[NDArray[Any]], Float32Array]:
        with self._lock:
            if self._run is None:
                engine = self._engine(self.inputs(batch[:_CHECKED]))
                self._run = lambda pixels: engine(self.inputs(pixels))
            return self._run

    def _engine(self, sample: NDArray[Any]) -> Callable[[NDArray[Any]], Float32Array]:
        self._used = "eager"
        try:
            if self._engine_name == "onnx":
                engine, exporter = export_onnx(self.module, sample, threads=self._threads)
                self._used = f"onnx ({exporter} export)"
                return engine
            if self._engine_name == "compile":
                compiled = compile_module(self.module, sample, device=self.device, precision=self._precision)
                self._used = "compile"
                return compiled
        except EngineError as error:
            self.notes.append(f"{self._name} runs eagerly, because the engine {self._engine_name} does not work for it ({error})")
        return EagerEngine(self.module, device=self.device, precision=self._precision)

    def _count_classes(self) -> int:
        grey = np.full((256, 256, 3), 128, dtype=np.uint8)
        logits = EagerEngine(self.module, device=self.device, precision=self._precision)(self.inputs(self.preprocess(grey)[None]))
        if logits.ndim != 2:
            raise InputError(f"gives scores of shape {logits.shape}, not (n, classes)", item=f"model {self._name}", remedy="Give logits")
        return int(logits.shape[1])

    def _device_name(self) -> str:
        torch = require("torch")
        return f"{self.device} ({torch.cuda.get_device_name(self.device)})" if self.device.startswith("cuda") else self.device


def _structure_hash(module: Any) -> str:
    """Pins the architecture: what the module prints as, the versions of the libraries that define it, and the source of other classes."""
    digest = hashlib.sha256(repr(module).encode())
    kinds = {type(part) for part in module.modules()}
    for kind in sorted(kinds, key=lambda kind: (kind.__module__, kind.__qualname__)):
        package = kind.__module__.partition(".")[0]
        digest.update(f"{kind.__module__}.{kind.__qualname__} ".encode())
        digest.update((_version(package) if package in _LIBRARIES else _source(kind)).encode())
    return digest.hexdigest()[:16]


def _source(kind: type[Any]) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def installed_versions(*packages: str) -> dict[str, str]:
    """Versions of those packages that are installed."""
    return {package: found for package in packages if (found := _version(package))}
