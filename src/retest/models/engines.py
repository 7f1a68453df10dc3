"""Ways to run a torch module: eager, compiled, or exported to ONNX Runtime; each checked against eager on the first images."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from retest.errors import UsageError
from retest.models.base import Float32Array
from retest.models.libraries import kind_and_line, require
from retest.models.transforms import CallableTransform, Preprocessing

EngineName = Literal["auto", "eager", "compile", "onnx"]
Precision = Literal["fp32", "fp16", "bf16"]
Transform = Preprocessing | CallableTransform

TOLERANCE = 1e-4
"""Largest difference of a logit from eager execution that an engine may show, in single precision."""


class EngineError(Exception):
    """An engine cannot run a model; eager execution can. Never reaches users as an error."""


def chosen_devices(device: str) -> list[str]:
    """The devices of a list with commas, each checked as by :func:`chosen_device`."""
    return [chosen_device(one.strip()) for one in device.split(",")]


def chosen_device(device: str) -> str:
    """``auto`` is the first GPU where there is one, else the CPU; any other name is checked.

    Raises:
        UsageError: the device is not there.
    """
    torch = require("torch")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device)
    except RuntimeError as error:
        raise UsageError("is no device", item=device, remedy="Use cpu, cuda or cuda:0,cuda:1") from error
    if kind.type == "cuda" and (not torch.cuda.is_available() or (kind.index or 0) >= torch.cuda.device_count()):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        raise UsageError(f"is not there: PyTorch sees {count} GPUs", item=device, remedy="Use --device cpu, or install PyTorch for CUDA")
    if kind.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("is not there", item=device, remedy="Use --device cpu")
    return device


def chosen_engine(engine: str, *, device: str, precision: str) -> str:
    """``auto`` is ONNX Runtime on a CPU in single precision, where it is installed, else eager.

    Raises:
        UsageError: there is no such engine or precision, or they do not go together.
    """
    from importlib.util import find_spec

    if engine not in get_args(EngineName):
        raise UsageError("there is no such engine", item=str(engine), remedy=f"Use one of: {', '.join(get_args(EngineName))}")
    if precision not in get_args(Precision):
        raise UsageError("there is no such precision", item=str(precision), remedy=f"Use one of: {', '.join(get_args(Precision))}")
    if engine == "onnx" and (device != "cpu" or precision != "fp32"):
        raise UsageError("runs on the CPU in fp32 only", item="engine onnx", remedy="Use eager or compile on a GPU")
    if precision == "fp16" and device == "cpu":
        raise UsageError("needs a GPU", item="precision fp16", remedy="Use fp32 on a CPU")
    if engine == "auto":
        return "onnx" if device == "cpu" and precision == "fp32" and find_spec("onnxruntime") and find_spec("onnxscript") else "eager"
    return engine


class EagerEngine:
    """A module called as it is, in the memory format that convolutions prefer (channels last), under autocast below fp32.

    8-bit pixels travel to the device and are normalised there.
    """

    def __init__(self, module: Any, transform: Transform, *, device: str, precision: str) -> None:
        torch = require("torch")
        self._torch, self._device, self._transform = torch, device, transform
        self._autocast = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision)
        self.module = module.to(device=device, memory_format=torch.channels_last)
        if isinstance(transform, Preprocessing):
            self._mean, self._std = (torch.tensor(part, device=device)[:, None, None] for part in (transform.mean, transform.std))

    def values(self, batch: NDArray[Any]) -> Any:
        """What the module sees of a preprocessed batch: a tensor on its device."""
        torch, transform = self._torch, self._transform
        values = torch.from_numpy(np.require(batch, requirements=["C", "W"])).to(self._device)
        if isinstance(transform, Preprocessing):
            values = values.permute(0, 3, 1, 2)  # channels last already, as 8-bit images are
            values = (values.flip(1) if transform.bgr else values).float()
            values = (values.div_(transform.scale) if transform.scale != 1.0 else values).sub_(self._mean).div_(self._std)
            return values.permute(0, 2, 3, 1) if transform.layout == "NHWC" else values
        return values.contiguous(memory_format=torch.channels_last) if values.ndim == 4 else values

    def __call__(self, batch: NDArray[Any]) -> Float32Array:
        torch = self._torch
        kind = torch.device(self._device).type
        with torch.inference_mode(), torch.autocast(kind, dtype=self._autocast, enabled=self._autocast is not None):
            logits = self._forward(self.values(batch))
        scores: Float32Array = _logits_of(logits).float().cpu().numpy()
        return scores

    def _forward(self, values: Any) -> Any:
        return self.module(values)


class CompiledEngine(EagerEngine):
    """A module through ``torch.compile``."""

    def __init__(self, module: Any, transform: Transform, *, device: str, precision: str) -> None:
        super().__init__(module, transform, device=device, precision=precision)
        self._compiled = self._torch.compile(self.module, dynamic=False)

    def __call__(self, batch: NDArray[Any]) -> Float32Array:
        # Every new batch size is compiled anew, so sizes are rounded up to powers of two.
        size = 1 << (len(batch) - 1).bit_length()
        padded = np.concatenate([batch, np.repeat(batch[-1:], size - len(batch), axis=0)]) if size > len(batch) else batch
        return super().__call__(padded)[: len(batch)]

    def _forward(self, values: Any) -> Any:
        return self._compiled(values)


def _logits_of(output: Any) -> Any:
    """The logits where a module gives more than them: a tuple's first part, or an output object's ``logits``."""
    if isinstance(output, tuple | list):
        return output[0]
    return getattr(output, "logits", output)


class OnnxEngine:
    """An ONNX graph in ONNX Runtime; one call uses ``threads`` threads.

    Args:
        graph: the file.
        threads: 1 lets several calls run side by side, which is faster than several threads in one.
    """

    def __init__(self, graph: Path | str, *, threads: int = 0, providers: list[str] | None = None) -> None:
        runtime = require("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads that wait by spinning would take the cores from those that decode.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = runtime.InferenceSession(str(graph), options, providers=providers or ["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0]
        self._output = self.session.get_outputs()[0].name

    def __call__(self, batch: NDArray[Any]) -> Float32Array:
        scores: Float32Array = self.session.run([self._output], {self.input.name: np.ascontiguousarray(batch)})[0]
        return scores


class ExportedEngine:
    """A module's ONNX graph with the normalisation before it."""

    def __init__(self, engine: OnnxEngine, transform: Transform) -> None:
        self._engine, self._transform = engine, transform

    def __call__(self, batch: NDArray[Any]) -> Float32Array:
        return self._engine(model_input(self._transform, batch))


def model_input(transform: Transform, batch: NDArray[Any]) -> NDArray[Any]:
    """What a model sees of a preprocessed batch, on the CPU."""
    return transform.normalise(batch) if isinstance(transform, Preprocessing) else batch


def export_onnx(module: Any, transform: Transform, sample: NDArray[Any], *, threads: int) -> tuple[ExportedEngine, str]:
    """Export a module with a free batch size and open it; the quick exporter first, then the thorough one.

    Args:
        module: in evaluation mode.
        transform: its preprocessing.
        sample: some preprocessed images; on them the logits must be eager's within 1e-4.
        threads: of one call.

    Returns:
        the engine and the exporter's name.

    Raises:
        EngineError: no exporter can; says why.
    """
    problems: list[str] = []
    expected = EagerEngine(module, transform, device="cpu", precision="fp32")(sample)
    values = model_input(transform, sample)
    for exporter, export in (("torchscript", _export_script), ("dynamo", _export_dynamo)):
        try:
            return ExportedEngine(_exported(module, values, expected, export, threads), transform), exporter
        except EngineError as error:
            problems.append(f"{exporter}: {error}")
    raise EngineError("; ".join(problems))


def _exported(
    module: Any, values: NDArray[Any], expected: Float32Array, export: Callable[[Any, NDArray[Any], Path], None], threads: int
) -> OnnxEngine:
    with TemporaryDirectory(prefix="retest-onnx-") as folder:
        path = Path(folder) / "model.onnx"
        try:
            with _quiet():
                export(module, values[:2], path)
            engine = OnnxEngine(path, threads=threads)
            found = engine(values)
        except Exception as error:  # exporters and runtimes fail in ways without number
            raise EngineError(kind_and_line(error)) from error
    check_equal(expected, found)
    return engine


def compile_module(module: Any, transform: Transform, sample: NDArray[Any], *, device: str, precision: str) -> CompiledEngine:
    """Compile a module and run it on some preprocessed images; in fp32 its logits must be eager's within 1e-4.

    Raises:
        EngineError: it cannot be compiled, or its logits differ.
    """
    eager = EagerEngine(module, transform, device=device, precision=precision)
    try:
        compiled = CompiledEngine(module, transform, device=device, precision=precision)
        found = compiled(sample)
    except Exception as error:  # compilers fail in ways without number
        raise EngineError(kind_and_line(error)) from error
    if precision == "fp32":
        check_equal(eager(sample), found)
    return compiled


def check_equal(expected: Float32Array, found: Float32Array) -> None:
    """Compare an engine's logits with eager's.

    Raises:
        EngineError: some differ by more than :data:`TOLERANCE`.
    """
    if expected.shape != found.shape:
        raise EngineError(f"its logits have the shape {found.shape}, not {expected.shape}")
    largest = float(np.max(np.abs(expected - found), initial=0.0))
    if not largest <= TOLERANCE:
        raise EngineError(f"its logits differ from eager execution by {largest:.2g}, more than {TOLERANCE:g}")


def _export_script(module: Any, sample: NDArray[Any], path: Path) -> None:
    torch = require("torch")
    axes = {"pixels": {0: "n"}, "logits": {0: "n"}}
    torch.onnx.export(
        _Logits.around(module), (torch.from_numpy(sample),), str(path), dynamo=False, dynamic_axes=axes,
        input_names=["pixels"], output_names=["logits"],
    )  # fmt: skip


def _export_dynamo(module: Any, sample: NDArray[Any], path: Path) -> None:
    torch = require("torch")
    values = torch.from_numpy(sample if len(sample) > 1 else np.repeat(sample, 2, axis=0))  # a batch of one would become fixed
    program = torch.onnx.export(
        _Logits.around(module), (values,), dynamo=True, dynamic_shapes=({0: torch.export.Dim("n")},),
        input_names=["pixels"], output_names=["logits"], verbose=False,
    )  # fmt: skip
    program.save(str(path))


class _Logits:
    """Makes a module that gives the logits alone."""

    @staticmethod
    def around(module: Any) -> Any:
        torch = require("torch")

        class Logits(torch.nn.Module):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.inner = module

            def forward(self, pixels: Any) -> Any:
                return _logits_of(self.inner(pixels))

        return Logits().eval()


_EXPORTING = threading.Lock()


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters talk; what matters comes back as an error or as our own note. They also change global state: one at a time."""
    with _EXPORTING:
        previous = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        finally:
            logging.disable(previous)
