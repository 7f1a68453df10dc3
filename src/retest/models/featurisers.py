"""Featurisers by name: what ``--featuriser`` and ``[neighbors] featurisers`` say, and how it becomes features.

A featuriser is written ``[LABEL=]WHAT[@WEIGHTS]``:

* ``fc7``: VGG-16 of torchvision, the layer and the preprocessing of the published study;
* ``sscd@FILE``: an SSCD copy-detection descriptor, TorchScript;
* ``torchvision:NAME``, ``timm:NAME`` or the plain ``NAME`` of such a model: what enters its last layer;
* ``FILE.onnx``: the first output of an ONNX model;
* ``module:name``: a featuriser of yours, or a function without arguments that makes one.

``WEIGHTS`` is a local file (``.safetensors``, ``.pth``); without it the library's pretrained weights are taken, which it
downloads once. ``LABEL`` is the metric's name; without it fc7, sscd, the model's or the file's name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from retest.errors import UsageError
from retest.models.base import Featuriser
from retest.models.functions import named_object, own_code
from retest.models.libraries import needs_extra
from retest.models.names import RANDOM

DEVICES = ("cpu", "cuda")
_LABEL = re.compile(r"[\w.+-]+")
_IMPORT = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_LIBRARIES = ("torchvision", "timm")
_REMEDY = "Use fc7, sscd@FILE, torchvision:NAME, timm:NAME, FILE.onnx or module:name"


@dataclass(frozen=True, slots=True)
class FeaturiserSpec:
    """A featuriser as it was asked for.

    ``label`` is the metric's name; ``kind`` one of fc7, sscd, torchvision, timm, model (either library), onnx, python; ``name`` the
    model's name, the path of the ONNX file, or ``module:name``.
    """

    label: str
    kind: str
    name: str
    weights: Path | None = None

    @classmethod
    def parse(cls, text: str) -> FeaturiserSpec:
        """Read ``[LABEL=]WHAT[@WEIGHTS]``.

        Raises:
            UsageError: the text names no featuriser, or its label is no plain name.
        """
        label, what, weights = _split(text)
        path = Path(weights).expanduser() if weights else None
        kind, name, default = _kind(what, text)
        if kind in {"onnx", "python"} and path is not None:
            raise UsageError("takes no weights of its own", item=text, remedy="Leave out what follows '@'")
        if weights == RANDOM:
            remedy = f"Leave '@{RANDOM}' out for the library's weights, or give a file; one of this name is @./{RANDOM}"
            raise UsageError("distances between features of random weights mean nothing", item=text, remedy=remedy)
        if kind == "sscd" and path is None:
            raise UsageError("needs the weights file", item=text, remedy="Download sscd_disc_mixup.torchscript.pt and write sscd@FILE")
        label = label or default
        if not _LABEL.fullmatch(label) or label in {"l2", "dssim", "phash"}:
            raise UsageError(
                f"{label!r} cannot be a metric's name", item=text, remedy="Write LABEL=FEATURISER with letters, digits, '-' or '_'"
            )
        return cls(label, kind, name, path)


def _split(text: str) -> tuple[str, str, str]:
    found = re.fullmatch(r"(?:(?P<label>[^=@/\\]*)=)?(?P<what>[^@]+?)(?:@(?P<weights>.+))?", text.strip())
    if found is None:
        raise UsageError("names no featuriser", item=text or "featuriser", remedy=_REMEDY)
    return found["label"] or "", found["what"], found["weights"] or ""


def _kind(what: str, text: str) -> tuple[str, str, str]:
    """(kind, name, default label)."""
    if what in {"fc7", "sscd"}:
        return what, what, what
    if what.lower().endswith(".onnx"):
        return "onnx", what, re.sub(r"[^\w.+-]", "-", re.split(r"[/\\]", what)[-1][: -len(".onnx")])
    library, colon, name = what.partition(":")
    if colon and library in _LIBRARIES and name:
        return library, name, name
    if _IMPORT.fullmatch(what):
        return "python", what, what.replace(":", ".")
    if _LABEL.fullmatch(what):
        return "model", what, what
    raise UsageError("names no featuriser", item=text, remedy=_REMEDY)


def load_featuriser(spec: FeaturiserSpec | str, *, device: str = "cpu", threads: int | None = None) -> Featuriser:
    """Load weights and return the featuriser.

    Args:
        spec: what to load.
        device: ``cpu`` or ``cuda``.
        threads: processor threads that torch may use (for the whole process); None leaves its own choice.

    Raises:
        UsageError: there is no such model, or the device is unknown or absent.
        MissingExtraError: torch, timm or onnxruntime is not installed.
        SourceError: the weights are not here and cannot be downloaded.
        NotFoundError: there is no such weights file.
        InputError: the file is damaged, holds more than weights, or belongs to another model.
    """
    asked = FeaturiserSpec.parse(spec) if isinstance(spec, str) else spec
    if device not in DEVICES:
        raise UsageError(f"unknown device {device!r}", item="device", remedy=f"Use one of: {', '.join(DEVICES)}")
    if asked.kind == "python":
        return _load_python(asked.name)
    if asked.kind == "onnx":
        from retest.models.featurisers_onnx import OnnxFeaturiser

        return OnnxFeaturiser(Path(asked.name).expanduser(), threads=threads)
    with needs_extra():
        from retest.models import featurisers_torch
    return featurisers_torch.load(asked, device=device, threads=threads)


def _load_python(name: str) -> Featuriser:
    with own_code(name):
        found = named_object(name)
        made = found if isinstance(found, Featuriser) and not isinstance(found, type) else found()
    if not isinstance(made, Featuriser):
        raise UsageError(
            f"gives {type(made).__name__}, not a featuriser",
            item=name,
            remedy="It needs name, dimensions and features(images): see retest.models.Featuriser",
        )
    return made
