"""Open models by name: the one door to torchvision, timm, ONNX files, checkpoints and functions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from retest.errors import UsageError
from retest.models.base import Classifier
from retest.models.functions import call_function
from retest.models.names import ModelSpec, parse_model
from retest.models.onnx_classifier import open_onnx


@dataclass(frozen=True, slots=True, kw_only=True)
class RunParameters:
    """Where and how models run."""

    device: str = field(default="auto", metadata={"help": "cpu, cuda, cuda:1, or several with commas; auto: a GPU if there is one"})
    engine: str = field(default="auto", metadata={"help": "eager, compile, onnx, or auto: onnx on a CPU, eager on a GPU"})
    precision: str = field(default="fp32", metadata={"help": "fp32, or autocast to bf16 or fp16"})
    threads: int = field(default=0, metadata={"help": "processor threads of one ONNX call; 0: all cores"})


def open_classifiers(models: Iterable[str | ModelSpec], *, run: RunParameters | None = None, study: Any = None) -> list[Classifier]:
    """Open models; a function may give several.

    Args:
        models: names (see :func:`retest.models.parse_model`) or what :func:`retest.models.parse_models` made of them.
        run: device, engine and precision of torch models.
        study: handed to a function that takes an argument.

    Raises:
        UsageError: two models have one name, or device, engine or precision are not there.
        RetestError: as :func:`open_classifier`.
    """
    found: dict[str, Classifier] = {}
    for model in models:
        for classifier in _open(model if isinstance(model, ModelSpec) else parse_model(model), run or RunParameters(), study):
            if classifier.name in found:
                raise UsageError("two models have this name", item=classifier.name, remedy="Give one of them a name: NAME=...")
            found[classifier.name] = classifier
    return list(found.values())


def open_classifier(model: str | ModelSpec, *, run: RunParameters | None = None, study: Any = None) -> Classifier:
    """Open one model. A torch model has the attributes ``module`` (the torch module, in evaluation mode on its device), ``transform``
    (its :class:`~retest.models.transforms.Preprocessing`) and ``inputs`` (what the module sees of a preprocessed batch).

    Raises:
        SourceError: its weights are not here and cannot be downloaded.
        NotFoundError: there is no such file or model.
        InputError: a file is not what it should be.
        UsageError: the name is of no known form, or a function gives several models.
        MissingExtraError: a library is not installed.
    """
    (classifier, *others) = open_classifiers([model], run=run, study=study)
    if others:
        raise UsageError(f"gives {len(others) + 1} models", item=str(model), remedy="Use open_classifiers")
    return classifier


def _open(spec: ModelSpec, run: RunParameters, study: Any) -> list[Classifier]:
    if spec.kind == "onnx":
        return [open_onnx(spec.name, spec.target, spec.sidecar, threads=run.threads)]
    if spec.kind == "function":
        return _from_function(spec, run, study)
    from retest.models.architectures import load_module
    from retest.models.engines import chosen_devices, chosen_engine

    chosen_engine(run.engine, device=chosen_devices(run.device)[0], precision=run.precision)  # before weights are fetched
    loaded = load_module(spec)
    return [
        _torch(
            spec.name, loaded.module, loaded.preprocessing, run, num_classes=loaded.num_classes, class_names=loaded.class_names,
            source={**loaded.source, **({"mapping": spec.note} if spec.note else {})}, notes=loaded.notes,
        )
    ]  # fmt: skip


def _torch(name: str, module: Any, preprocessing: Any, run: RunParameters, **options: Any) -> Classifier:
    from retest.models.torch_classifier import TorchClassifier

    return TorchClassifier(
        name, module, preprocessing, device=run.device, engine=run.engine, precision=run.precision, threads=run.threads, **options
    )


def _from_function(spec: ModelSpec, run: RunParameters, study: Any) -> list[Classifier]:
    returned = call_function(spec.target, study=study)
    named = spec.name != spec.target
    if named and len(returned) > 1:
        raise UsageError(f"gives {len(returned)} models, one name is given", item=spec.target, remedy="Leave the name out")
    found = []
    for name, one in returned.items():
        if isinstance(one, Classifier):
            found.append(one)
        else:
            module, preprocessing = one
            found.append(_torch(spec.name if named else name, module, preprocessing, run, source={"function": spec.target}))
    return found
