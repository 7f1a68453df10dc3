"""Weights as data: read without running code, fitted to an architecture, and known by their hash."""

from __future__ import annotations

import hashlib
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from retest.errors import InputError, NotFoundError
from retest.models.libraries import require

_NESTS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "net")
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
_SAFE = (
    "Save its weights alone: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors'), "
    "in a place where you trust the file, and give that"
)


def read_state_dict(path: Path | str) -> dict[str, Any]:
    """The tensors of a checkpoint by name: ``.safetensors``, or PyTorch's own form read with ``weights_only``.

    Checkpoints that nest the weights (``state_dict``, ``model`` ...) and names with a common prefix (``module.`` ...) are understood.

    Raises:
        NotFoundError: there is no such file.
        InputError: it holds no weights, is damaged, or is a pickle that would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError("no such file", item=str(path), remedy="Give a .safetensors, .pt or .pth file")
    content = _read_safetensors(path) if path.suffix.lower() == ".safetensors" else _read_torch(path)
    return _without_prefix(_tensors(content, path))


def _read_safetensors(path: Path) -> Any:
    require("torch")
    safetensors = require("safetensors")
    try:
        return require("safetensors.torch").load_file(str(path))
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(f"is no safetensors file ({error})", item=str(path), remedy="Copy it again, or check the suffix") from error


def _read_torch(path: Path) -> Any:
    torch = require("torch")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        problem = "is a pickle that holds more than weights and would run code when it is read; it was not read"
        raise InputError(problem, item=str(path), remedy=_SAFE) from error
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError, MemoryError, struct.error) as error:
        raise InputError(f"cannot be read as a checkpoint ({error})", item=str(path), remedy=_SAFE) from error


def _tensors(content: Any, path: Path) -> dict[str, Any]:
    torch = require("torch")
    for _ in range(3):  # a training script nests once or twice
        if isinstance(content, Mapping) and content and all(isinstance(value, torch.Tensor) for value in content.values()):
            return {str(name): value for name, value in content.items()}
        nested = [content[name] for name in _NESTS if isinstance(content, Mapping) and isinstance(content.get(name), Mapping)]
        if not nested:
            break
        content = nested[0]
    raise InputError("holds no table of weights", item=str(path), remedy=_SAFE)


def _without_prefix(tensors: dict[str, Any]) -> dict[str, Any]:
    for prefix in _PREFIXES * 2:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


_FITTING = "Name the architecture that the weights were trained with: ARCHITECTURE=FILE (see retest models list)"


def load_into(module: Any, tensors: Mapping[str, Any], *, item: str, architecture: str, remedy: str = _FITTING) -> None:
    """Fill a module with weights, in single precision; every tensor must find its place and every place its tensor.

    Raises:
        InputError: names or shapes do not fit; names the first.
    """
    torch = require("torch")
    own = module.state_dict()
    counters = {name for name in own if name.endswith("num_batches_tracked")}
    missing = sorted(own.keys() - tensors.keys() - counters)
    strange = sorted(tensors.keys() - own.keys())
    shapes = [name for name in sorted(own.keys() & tensors.keys()) if own[name].shape != tensors[name].shape]
    if missing or strange:
        what = f"lack {missing[0]!r}" if missing else f"hold {strange[0]!r}, which it does not have"
        problem = f"its weights do not fit {architecture}: they {what} ({len(missing)} names missing, {len(strange)} too many)"
        raise InputError(problem, item=item, remedy=remedy)
    if shapes:
        name = shapes[0]
        problem = f"its weights do not fit {architecture}: {name!r} is {tuple(tensors[name].shape)}, not {tuple(own[name].shape)}"
        raise InputError(problem, item=item, remedy=remedy)
    floats = {name: value.to(own[name].dtype) if torch.is_floating_point(value) else value for name, value in tensors.items()}
    module.load_state_dict(floats, strict=not counters)


def state_hash(module: Any) -> str:
    """SHA-256 (hex) over names, types, shapes and bytes of all parameters and buffers of a torch module."""
    torch = require("torch")
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if not isinstance(value, torch.Tensor):
            digest.update(f"{name} {value!r}\n".encode())
            continue
        array = value.detach().cpu().contiguous()
        digest.update(f"{name} {array.dtype} {tuple(array.shape)}\n".encode())
        digest.update(np.ascontiguousarray(array.view(-1).view(torch.uint8).numpy() if array.numel() else np.empty(0, np.uint8)).data)
    return digest.hexdigest()
