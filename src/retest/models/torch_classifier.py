"""Torch modules behind the seam :class:`~retest.models.base.Classifier`."""

from __future__ import annotations

import copy
import hashlib
import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from queue import Queue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retest.errors import InputError, UsageError
from retest.models._transformed import TransformedClassifier
from retest.models.base import Float32Array
from retest.models.engines import (
    EagerEngine,
    EngineError,
    Transform,
    chosen_devices,
    chosen_engine,
    compile_module,
    export_onnx,
    model_input,
)
from retest.models.libraries import installed_version, installed_versions, require
from retest.models.library_transforms import read_transform
from retest.models.microbatch import MicroBatches
from retest.models.transforms import Preprocessing
from retest.models.weights import state_hash

_CPU_PIECE, _GPU_PIECE, _GPU_LIMIT = 16, 64, 1024
_CHECKED = 4
_LIBRARIES = ("torch", "torchvision", "timm")


class TorchClassifier(TransformedClassifier):
    """A torch module with its preprocessing: a :class:`~retest.models.Classifier`.

    Args:
        name: the name under which results are reported.
        module: gives logits (n, classes) for float32 (n, 3, height, width); put into evaluation mode and moved to the device.
        preprocessing: a :class:`~retest.models.transforms.Preprocessing`, or any function Pillow image -> tensor, such as
            torchvision's and timm's transforms, which are understood and then shared between models.
        device: ``cpu``, ``cuda``, ``cuda:1`` ..., or ``auto``; ``cuda:0,cuda:1`` puts a copy on each and gives batches to whichever
            is free.
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
        preprocessing: Transform | Callable[..., Any],
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
        self.devices = chosen_devices(device)
        self._engine_name = chosen_engine(engine, device=self.devices[0], precision=precision)
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
        self._replicas: Queue[_Replica] | None = None
        self._concurrent = self.devices == ["cpu"]
        """Several threads may run the one copy at once; a GPU works on one batch at a time."""
        self._used = ""
        self._num_classes = self._count_classes() if num_classes is None else num_classes

    @property
    def fingerprint(self) -> str:
        """Text that changes with weights, architecture, engine or preprocessing."""
        engine = self._engine_name if self._precision == "fp32" else f"{self._engine_name} {self._precision}"
        return f"torch {self._weights} {self._structure}; {engine} on {self.devices[0].partition(':')[0]}; {self.preprocessing}"

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What is recorded with the predictions: engine, versions, hash of the weights."""
        return {
            **self._source,
            "engine": self._used or f"{self._engine_name} (rows of an earlier run)",
            "precision": self._precision,
            "device": ", ".join(map(_device_name, self.devices)),
            "weights_sha256": self._weights,
            "versions": installed_versions("numpy", "pillow", "torch", "torchvision", "timm", "onnxruntime"),
        }

    def predict(self, batch: NDArray[Any]) -> Float32Array:
        """Score preprocessed images: uint8 (n, height, width, 3), or what a transform of one's own gives: float32 (n, classes)."""
        replicas = self._started(batch)
        replica = replicas.get()
        if self._concurrent:
            replicas.put(replica)
            return replica(batch)
        try:
            return replica(batch)
        finally:
            replicas.put(replica)

    def inputs(self, batch: NDArray[Any]) -> NDArray[Any]:
        """What the module sees: the normalised float32 (n, 3, height, width) of what ``preprocess`` gave."""
        return model_input(self.transform, batch)

    def _started(self, batch: NDArray[Any]) -> Queue[_Replica]:
        with self._lock:
            if self._replicas is None:
                made = [self._replica(device, batch[:_CHECKED], first=number == 0) for number, device in enumerate(self.devices)]
                self._replicas = Queue()
                for replica in made:
                    self._replicas.put(replica)
            return self._replicas

    def _replica(self, device: str, sample: NDArray[Any], *, first: bool) -> _Replica:
        torch = require("torch")
        module = self.module if first else copy.deepcopy(self.module)
        gpu = torch.device(device).type == "cuda"
        pieces = MicroBatches(
            f"model {self._name}",
            size=_GPU_PIECE if gpu else _CPU_PIECE,
            limit=_GPU_LIMIT if gpu else 0,
            release=torch.cuda.empty_cache if gpu else None,
        )
        return _Replica(self._engine(module, device, sample), pieces)

    def _engine(self, module: Any, device: str, sample: NDArray[Any]) -> Callable[[NDArray[Any]], Float32Array]:
        self._used = "eager"
        try:
            if self._engine_name == "onnx":
                engine, exporter = export_onnx(module, self.transform, sample, threads=self._threads)
                self._used = f"onnx ({exporter} export)"
                return engine
            if self._engine_name == "compile":
                compiled = compile_module(module, self.transform, sample, device=device, precision=self._precision)
                self._used = "compile"
                return compiled
        except EngineError as error:
            self.notes.append(f"{self._name} runs eagerly, because the engine {self._engine_name} does not work for it ({error})")
        return EagerEngine(module, self.transform, device=device, precision=self._precision)

    def _count_classes(self) -> int:
        grey = self.preprocess(np.full((256, 256, 3), 128, dtype=np.uint8))[None]
        logits = EagerEngine(self.module, self.transform, device=self.devices[0], precision=self._precision)(grey)
        if logits.ndim != 2:
            raise InputError(f"gives scores of shape {logits.shape}, not (n, classes)", item=f"model {self._name}", remedy="Give logits")
        return int(logits.shape[1])


@dataclass(frozen=True, slots=True)
class _Replica:
    """A running copy of the module, with the batch size that fits its device."""

    engine: Callable[[NDArray[Any]], Float32Array]
    pieces: MicroBatches

    def __call__(self, batch: NDArray[Any]) -> Float32Array:
        return np.asarray(self.pieces(self.engine, batch), dtype=np.float32)


def _device_name(device: str) -> str:
    torch = require("torch")
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.startswith("cuda") else device


def _structure_hash(module: Any) -> str:
    """Pins the architecture: what the module prints as, the versions of the libraries that define it, and the source of other classes."""
    digest = hashlib.sha256(repr(module).encode())
    kinds = {type(part) for part in module.modules()}
    for kind in sorted(kinds, key=lambda kind: (kind.__module__, kind.__qualname__)):
        package = kind.__module__.partition(".")[0]
        digest.update(f"{kind.__module__}.{kind.__qualname__} ".encode())
        digest.update((installed_version(package) if package in _LIBRARIES else _source(kind)).encode())
    return digest.hexdigest()[:16]


def _source(kind: type[Any]) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return ""
