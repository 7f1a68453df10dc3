"""Torch modules by name, with weights that are read safely and the preprocessing that belongs to them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retest.errors import InputError, RetestError, SourceError
from retest.models.hub import check_reachable
from retest.models.libraries import kind_and_line, require
from retest.models.library_transforms import read_transform
from retest.models.names import RANDOM, ModelSpec
from retest.models.transforms import CallableTransform, Preprocessing, read_description
from retest.models.weights import load_into, read_state_dict

_SEED = 0


@dataclass(frozen=True, eq=False, slots=True)
class LoadedModule:
    """A torch module in evaluation mode with its preprocessing; ``class_names`` by index where the weights say them."""

    module: Any
    preprocessing: Preprocessing | CallableTransform
    num_classes: int | None
    class_names: tuple[str, ...] | None = None
    source: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def load_module(spec: ModelSpec) -> LoadedModule:
    """Open a model of the kinds ``torchvision``, ``timm`` and ``checkpoint``.

    Raises:
        SourceError: its weights are not here and cannot be downloaded.
        InputError: a checkpoint does not fit, or a sidecar is wrong.
        MissingExtraError: a library is not installed.
    """
    if spec.kind == "torchvision":
        return _torchvision(spec)
    if spec.kind == "timm":
        return _timm(spec)
    return _checkpoint(spec)


def _torchvision(spec: ModelSpec) -> LoadedModule:
    models = require("torchvision.models")
    kind = models.get_model_weights(spec.target)
    if spec.weights == RANDOM:
        weights = _first(kind)
        classes = len(weights.meta["categories"])
        module = _seeded(lambda: _new_torchvision(spec.target, classes))
        transform = _own_transform(spec, weights.transforms())
        return LoadedModule(module.eval(), transform, classes, source=_random("torchvision", spec), notes=_random_notes(spec))
    weights = kind[spec.weights]
    # Read once without running code. The library's own builder, which knows each architecture's ways, then reads the same file.
    read = functools.partial(weights.get_state_dict, progress=False, check_hash=True, weights_only=True)
    fetched(read, weights=spec.weights, item=spec.name, remedy=_remedy(spec))
    module = models.get_model(spec.target, weights=weights, progress=False)
    categories = tuple(weights.meta["categories"])
    source = {"library": "torchvision", "architecture": spec.target, "weights": str(weights), "weights_url": weights.url}
    return LoadedModule(module.eval(), _own_transform(spec, weights.transforms()), len(categories), categories, source)


def _first(weights_kind: Any) -> Any:
    return next(iter(weights_kind))


def _new_torchvision(arch: str, num_classes: int) -> Any:
    # torchvision's weights of these two go with transform_input; their own initialisation takes minutes.
    options = {"init_weights": False, "transform_input": True} if arch in ("googlenet", "inception_v3") else {}
    return require("torchvision.models").get_model(arch, weights=None, num_classes=num_classes, **options)


def _timm(spec: ModelSpec) -> LoadedModule:
    timm = require("timm")
    name = spec.target if spec.weights in ("", RANDOM) else f"{spec.target}.{spec.weights}"
    if spec.weights == RANDOM:
        module = _seeded(lambda: timm.create_model(name, pretrained=False))
        source = _random("timm", spec)
    else:
        module = fetched(lambda: pretrained_timm(name), weights=spec.weights, item=spec.name, remedy=_remedy(spec))
        config = module.pretrained_cfg
        source = {"library": "timm", "architecture": spec.target, "weights": spec.weights}
        source |= {"weights_url": str(config.get("hf_hub_id") or config.get("url") or "")}
    notes = _random_notes(spec) if spec.weights == RANDOM else ()
    return LoadedModule(module.eval(), _own_transform(spec, _timm_transform(module)), int(module.num_classes), source=source, notes=notes)


def pretrained_timm(name: str, **options: Any) -> Any:
    """A model of timm with its pretrained weights, which timm downloads once; ``options`` are those of ``timm.create_model``.

    Raises:
        ConnectionError: the weights are not here, and where they lie does not answer.
    """
    timm = require("timm")
    config = timm.get_pretrained_cfg(name)
    if config is not None:
        check_reachable(config.to_dict())
    return timm.create_model(name, pretrained=True, **options)


def _timm_transform(module: Any) -> Any:
    data = require("timm.data")
    # The test settings of a model (size, crop) are what timm's own validation uses with --use-train-size off.
    config = data.resolve_model_data_config(module, use_test_size=True)
    return data.create_transform(**config, is_training=False)


def _checkpoint(spec: ModelSpec) -> LoadedModule:
    library, _, arch = spec.target.partition(":")
    tensors = read_state_dict(spec.weights)
    source = {"library": library, "architecture": arch, "weights_file": Path(spec.weights).name}
    if library == "torchvision":
        weights = _first(require("torchvision.models").get_model_weights(arch))
        classes = _classes_of(_new_torchvision, arch, len(weights.meta["categories"]), tensors)
        module = _new_torchvision(arch, classes)
        transform, like = weights.transforms(), f"torchvision's {arch}.{weights.name}"
    else:
        classes = _classes_of(_new_timm, arch, _new_timm(arch, None).num_classes, tensors)
        module = _new_timm(arch, classes)
        transform, like = _timm_transform(module), f"timm's {arch}"
    load_into(module, tensors, item=spec.weights, architecture=spec.target)
    preprocessing = _own_transform(spec, transform)
    notes = () if spec.sidecar else (f"{spec.name}: its preprocessing is that of {like}; another one is given with --preprocessing",)
    return LoadedModule(module.eval(), preprocessing, classes, source=source, notes=notes)


def _new_timm(arch: str, num_classes: int | None) -> Any:
    options = {} if num_classes is None else {"num_classes": num_classes}
    return require("timm").create_model(arch, pretrained=False, **options)


def _classes_of(make: Any, arch: str, usual: int, tensors: dict[str, Any]) -> int:
    """Number of classes that a checkpoint was trained for: what its last layer says where the usual number does not fit."""
    torch = require("torch")
    with torch.device("meta"):
        own = make(arch, usual).state_dict()
    heads = {int(tensors[name].shape[0]) for name in own.keys() & tensors.keys() if _is_head(own[name], tensors[name], usual)}
    return heads.pop() if len(heads) == 1 else usual


def _is_head(own: Any, given: Any, usual: int) -> bool:
    return bool(own.ndim >= 1 and own.shape != given.shape and own.shape[0] == usual and own.shape[1:] == given.shape[1:])


def _seeded(make: Any) -> Any:
    torch = require("torch")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        return make()


def _random(library: str, spec: ModelSpec) -> dict[str, Any]:
    return {"library": library, "architecture": spec.target, "weights": f"random, seed {_SEED}"}


def _random_notes(spec: ModelSpec) -> tuple[str, ...]:
    return (f"{spec.name}: its weights are random (seed {_SEED}); its accuracies say nothing about the architecture",)


def _own_transform(spec: ModelSpec, transform: Any) -> Preprocessing | CallableTransform:
    if spec.sidecar:
        return Preprocessing.from_json(read_description(spec.sidecar), item=spec.sidecar)
    return read_transform(transform)


def fetched(load: Callable[[], Any], *, weights: str, item: str, remedy: str) -> Any:
    """Run a library's loader; whatever its way of saying that the weights are not to be had becomes one error.

    Raises:
        SourceError: they are not here and cannot be downloaded.
        InputError: what was downloaded has another hash than it should.
    """
    try:
        return load()
    except RetestError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        # urllib's, requests' and httpx' errors are OSErrors or reach us wrapped by the hub's client.
        problem = f"its weights {weights} are not on this machine and cannot be downloaded ({kind_and_line(error)})"
        kind = InputError if "hash" in str(error) else SourceError
        raise kind(problem, item=item, remedy=remedy) from error


def _remedy(spec: ModelSpec) -> str:
    return (
        f"Connect to the network once, so that they are kept here, or give a file: {spec.target}=FILE.safetensors. "
        f"{spec.target}@random runs the architecture with random weights"
    )
