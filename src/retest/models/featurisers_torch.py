"""Featurisers that run on torch: VGG-16's fc7 as published, SSCD, and any model of torchvision or timm."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from retest.errors import InputError, UsageError
from retest.files import file_hash
from retest.models._batched import BatchedFeaturiser
from retest.models.architectures import fetched, pretrained_timm
from retest.models.base import Float32Array, UInt8Array
from retest.models.engines import chosen_device
from retest.models.featurisers import FeaturiserSpec
from retest.models.libraries import first_line, require
from retest.models.names import torchvision_names
from retest.models.weights import load_into, read_state_dict, state_hash

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_SSCD_SIDE = 288


@dataclass(frozen=True, slots=True)
class SquareInput:
    """The whole image, resized to a square without keeping its shape; then ``(x / scale - mean) / std``.

    No part of the image is cropped away: a copy must be seen to its borders.
    """

    side: int
    scale: float = 255.0
    mean: tuple[float, float, float] = _IMAGENET_MEAN
    std: tuple[float, float, float] = _IMAGENET_STD
    antialias: bool = True

    def __call__(self, images: Any) -> Any:
        """Tensor uint8 (n, h, w, 3) -> float32 (n, 3, side, side), on the tensor's device."""
        pixels = images.permute(0, 3, 1, 2).to(torch.float32)
        if pixels.shape[2:] != (self.side, self.side):
            pixels = interpolate(pixels, size=(self.side, self.side), mode="bilinear", align_corners=False, antialias=self.antialias)
        mean, std = (torch.tensor(values, device=pixels.device).view(1, 3, 1, 1) for values in (self.mean, self.std))
        return (pixels / self.scale - mean) / std


FC7_INPUT = SquareInput(224, scale=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), antialias=False)
"""What the published study fed to VGG-16: 224 x 224 pixels by plain bilinear interpolation, values 0..255 without normalisation. The
published review target of fc7 (13,200) belongs to features of this scale."""


class TorchFeaturiser(BatchedFeaturiser):
    """Features from a torch module.

    Args:
        label: what the name begins with.
        module: images as ``prepare`` makes them -> (n, ...), flattened to (n, d).
        prepare: tensor uint8 (n, h, w, 3) -> input of the module; its ``repr`` is part of the name.
        digest: hash of the weights, part of the name.
        device: where it runs.
    """

    def __init__(self, label: str, module: Any, prepare: Callable[[Any], Any], *, digest: str, device: str = "cpu") -> None:
        self._device = chosen_device(device)
        self._module = module.eval().to(self._device)
        self._prepare = prepare
        super().__init__(label=label, pinned=f"{prepare!r} {digest}")

    def _run(self, images: UInt8Array) -> Float32Array:
        with torch.inference_mode():
            tensor = torch.from_numpy(np.array(images)).to(self._device)  # a copy: mapped files are read-only
            found: Float32Array = self._module(self._prepare(tensor)).flatten(1).float().cpu().numpy()
        return found


def load(spec: FeaturiserSpec, *, device: str, threads: int | None) -> TorchFeaturiser:
    """The featuriser of a spec of kind fc7, sscd, torchvision, timm or model. Raises as ``load_featuriser``."""
    chosen_device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    if spec.kind == "fc7":
        return fc7(_torchvision_model("vgg16", spec), label=spec.label, device=device)
    if spec.kind == "sscd":
        return _sscd(spec, device)
    if spec.kind == "torchvision" or (spec.kind == "model" and spec.name in torchvision_names()):
        model, prepare = _torchvision_model(spec.name, spec), _torchvision_input(spec.name)
        return TorchFeaturiser(spec.label, without_last_layer(model), prepare, digest=state_hash(model), device=device)
    return _timm(spec, device)


def fc7(vgg: Any, *, label: str = "fc7", device: str = "cpu") -> TorchFeaturiser:
    """fc7 of a VGG of torchvision: after the last ReLU of the classifier's second linear block (method, section 6)."""
    layers = torch.nn.Sequential(vgg.features, vgg.avgpool, torch.nn.Flatten(1), *list(vgg.classifier)[:5])
    return TorchFeaturiser(label, layers, FC7_INPUT, digest=state_hash(vgg), device=device)


def _sscd(spec: FeaturiserSpec, device: str) -> TorchFeaturiser:
    path = spec.weights or Path()
    digest = file_hash(path, what="the weights file")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*torch.jit.load.*", category=FutureWarning)  # it is how SSCD is published
            # TorchScript is a program of its own, without Python: nothing is unpickled.
            module = torch.jit.load(str(path), map_location="cpu")
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"is no TorchScript file ({first_line(error)})", item=str(path), remedy="Give a file such as sscd_disc_mixup.torchscript.pt"
        ) from error
    return TorchFeaturiser(spec.label, module, SquareInput(_SSCD_SIDE), digest=digest, device=device)


def _torchvision_model(name: str, spec: FeaturiserSpec) -> Any:
    models = require("torchvision.models")
    if name not in torchvision_names():
        raise UsageError("torchvision has no such classifier", item=name, remedy="See torchvision.models.list_models()")
    if spec.weights is not None:
        return load_state(models.get_model(name, weights=None), spec.weights)
    # The first weights of a model are those that the published studies used; DEFAULT changes with the library.
    weights = next(iter(models.get_model_weights(name)))
    return _downloaded(lambda: models.get_model(name, weights=weights), spec, weights=str(weights), url=weights.url)


def _torchvision_input(name: str) -> SquareInput:
    transform = next(iter(require("torchvision.models").get_model_weights(name))).transforms()
    return SquareInput(int(transform.crop_size[0]), mean=tuple(transform.mean), std=tuple(transform.std))


def _timm(spec: FeaturiserSpec, device: str) -> TorchFeaturiser:
    timm = require("timm")
    if not timm.is_model(spec.name.split(".")[0]):
        problem = "timm has no such model" if spec.kind == "timm" else "neither torchvision nor timm has such a model"
        raise UsageError(problem, item=spec.name, remedy="See timm.list_models() and torchvision.models.list_models()")
    if spec.weights is not None:
        model = load_state(timm.create_model(spec.name, pretrained=False), spec.weights)
        digest = state_hash(model)
        model.reset_classifier(0)
    else:
        url = f"https://huggingface.co/timm/{spec.name}"
        model = _downloaded(lambda: pretrained_timm(spec.name, num_classes=0), spec, weights=spec.name, url=url)
        digest = state_hash(model)
    config = timm.data.resolve_model_data_config(model)
    prepare = SquareInput(int(config["input_size"][1]), mean=tuple(config["mean"]), std=tuple(config["std"]))
    return TorchFeaturiser(spec.label, model, prepare, digest=digest, device=device)


def _downloaded(load_model: Callable[[], Any], spec: FeaturiserSpec, *, weights: str, url: str) -> Any:
    remedy = f"Download {url} elsewhere and write {spec.name}@FILE, or try again with a network"
    return fetched(load_model, weights=weights, item=spec.name, remedy=remedy)


def load_state(model: Any, path: Path) -> Any:
    """The model with the weights of a local file, see :func:`~retest.models.weights.read_state_dict`.

    Raises:
        NotFoundError: there is no such file.
        InputError: the file is damaged, holds more than weights, or belongs to another model.
    """
    load_into(model, read_state_dict(path), item=str(path), architecture="this model", remedy="Check file and model")
    return model


def without_last_layer(model: Any) -> Any:
    """The model with its last linear layer (or 1x1 convolution to classes) left out: what entered it comes out.

    A model without one gives its outputs.
    """
    found = [name for name, module in model.named_modules() if _classifies(module)]
    if found and found[-1].split(".")[0] in {"fc", "classifier", "head", "heads"}:
        parent, _, last = found[-1].rpartition(".")
        setattr(model.get_submodule(parent), last, torch.nn.Identity())
    return model


def _classifies(module: Any) -> bool:
    return isinstance(module, torch.nn.Linear) or (isinstance(module, torch.nn.Conv2d) and tuple(module.kernel_size) == (1, 1))
