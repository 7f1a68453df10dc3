"""What people write for a model, and what it means: names of libraries, files, functions, and the published study's names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from retest.errors import NotFoundError, UsageError
from retest.models.libraries import require
from retest.models.published_names import PUBLISHED_MODELS

_PREFIXES = ("torchvision", "timm", "published", "onnx")
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_FILES = {".onnx": "onnx", ".safetensors": "checkpoint", ".pt": "checkpoint", ".pth": "checkpoint", ".bin": "checkpoint"}
_FILES |= {".ckpt": "checkpoint", ".tar": "checkpoint"}
RANDOM = "random"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model that has been named, not yet opened; plain text, so that other processes can open the same.

    ``kind`` is ``torchvision``, ``timm``, ``onnx``, ``checkpoint`` or ``function``; ``target`` the architecture, the file (onnx) or
    ``module:function``; ``weights`` the name of the weights, ``random`` (seeded, for trials without a network) or the file of a
    checkpoint. ``sidecar`` is a file that describes the preprocessing instead of the model's own. ``note`` is what to tell people.
    """

    kind: str
    name: str
    target: str
    weights: str = ""
    sidecar: str = ""
    note: str = ""


def parse_models(texts: Iterable[str], *, sidecars: dict[str, str] | None = None) -> tuple[list[ModelSpec], list[str]]:
    """Read a list of models; ``all`` stands for every published name that has an equivalent today.

    Args:
        texts: see :func:`parse_model`.
        sidecars: model name -> file that describes its preprocessing.

    Returns:
        the models in order, each once, and notes: which mapping was used, which published names have no equivalent.

    Raises:
        UsageError: no model is left, two different models have one name, or a sidecar names no model.
    """
    specs: dict[str, ModelSpec] = {}
    notes: list[str] = []
    given = dict(sidecars or {})
    for text in _expanded(texts, notes):
        spec = parse_model(text)
        spec = _with_sidecar(spec, given.pop(spec.name, spec.sidecar))
        if specs.setdefault(spec.name, spec) != spec:
            raise UsageError("two different models have this name", item=spec.name, remedy="Give one of them a name: NAME=...")
        if spec.note:
            notes.append(spec.note)
    if not specs:
        raise UsageError("no model is left", item="models", remedy="Find names with: retest models list")
    if given:
        known = ", ".join(specs)
        raise UsageError(
            "a preprocessing is given for a model that is not among those named", item=next(iter(given)), remedy=f"Use: {known}"
        )
    return list(specs.values()), list(dict.fromkeys(notes))


def _with_sidecar(spec: ModelSpec, sidecar: str) -> ModelSpec:
    return ModelSpec(spec.kind, spec.name, spec.target, spec.weights, sidecar, spec.note)


def _expanded(texts: Iterable[str], notes: list[str]) -> list[str]:
    found = []
    for text in texts:
        if text != "all":
            found.append(text)
            continue
        found += [name for name, model in PUBLISHED_MODELS.items() if model.today is not None]
        missing = [name for name, model in PUBLISHED_MODELS.items() if model.today is None]
        notes.append(f"{len(missing)} of the {len(PUBLISHED_MODELS)} published names have no equivalent today: {', '.join(missing)}")
    return found


def parse_model(text: str) -> ModelSpec:
    """Read one model name.

    Forms: a published name; ``torchvision:ARCH[.WEIGHTS]``; ``timm:ARCH[.TAG]``; ``ARCH`` of either library; ``FILE.onnx``;
    ``ARCH=FILE`` for a checkpoint of a named architecture; ``NAME=...`` before any of these to name the results;
    ``module:function``; with ``@random`` after an architecture its weights are drawn from a fixed seed.

    Raises:
        UsageError: the text is of no known form.
        NotFoundError: there is no such model or weights; names the most similar one.
        MissingExtraError: the library is not installed.
    """
    text = text.strip()
    left, equals, right = text.partition("=")
    if not text or (equals and not (left.strip() and right.strip())):
        raise UsageError(f"{text!r} names no model", item="models", remedy=_FORMS)
    if not equals:
        return _single(text)
    left, right = left.strip(), right.strip()
    kind = _file_kind(right)
    if kind == "checkpoint":
        return _checkpoint(left, left, right)
    inner = parse_model(right)
    return ModelSpec(inner.kind, left, inner.target, inner.weights, inner.sidecar, inner.note)


_FORMS = "Write a name from: retest models list; torchvision:NAME, timm:NAME, FILE.onnx, ARCHITECTURE=FILE.safetensors or MODULE:FUNCTION"


def _file_kind(text: str) -> str | None:
    # ARCH=FILE after NAME= is a checkpoint with a name of its own; a plain file has no "=".
    return _FILES.get(Path(text).suffix.lower()) if "=" not in text else None


def _checkpoint(name: str, arch: str, file: str) -> ModelSpec:
    library, _, bare = arch.rpartition(":")
    if library not in ("", "torchvision", "timm"):
        raise UsageError(f"{library!r} is no library of architectures", item=arch, remedy="Use torchvision:ARCH=FILE or timm:ARCH=FILE")
    if not library:
        library = "torchvision" if bare in torchvision_names() else "timm"
    target = bare if library == "torchvision" else bare.partition(".")[0]
    _check_known(target, torchvision_names() if library == "torchvision" else _timm_names(), library)
    return ModelSpec("checkpoint", bare if name == arch else name, f"{library}:{bare}", file)


def _single(text: str) -> ModelSpec:
    prefix, colon, rest = text.partition(":")
    kind = _file_kind(text)
    if kind == "onnx" or prefix == "onnx":
        path = rest if prefix == "onnx" else text
        return ModelSpec("onnx", Path(path).stem, path)
    if kind == "checkpoint" and not colon:
        raise UsageError("says nothing of the architecture", item=text, remedy="Write ARCHITECTURE=FILE, such as resnet50=my.safetensors")
    if colon and prefix in _PREFIXES:
        return {"torchvision": _torchvision, "timm": _timm, "published": _published}[prefix](rest)
    if colon:
        if not _FUNCTION.fullmatch(text):
            raise UsageError("is of no known form", item=text, remedy=_FORMS)
        return ModelSpec("function", text, text)
    return _bare(text)


def _bare(text: str) -> ModelSpec:
    if text in PUBLISHED_MODELS:
        return _published(text)
    arch = text.partition("@")[0].partition(".")[0]
    if arch in torchvision_names() and (tag := text.partition("@")[0].partition(".")[2]) in ("", *_weight_names(arch)):
        spec = _torchvision(text)
        other = f"; timm has the same name: timm:{text}" if not tag and arch in _timm_names() else ""
        return ModelSpec(
            spec.kind, spec.name, spec.target, spec.weights, note=f"{text} is torchvision:{spec.name}{other}" if not tag else ""
        )
    if arch in _timm_names():
        return _timm(text)
    raise _unknown(text, [*PUBLISHED_MODELS, *torchvision_names(), *_timm_names()], "model")


def _published(name: str) -> ModelSpec:
    model = PUBLISHED_MODELS.get(name)
    if model is None:
        raise _unknown(name, list(PUBLISHED_MODELS), "published model")
    if model.today is None:
        raise NotFoundError(
            "of the published study has no equivalent today", item=name, remedy="Leave it out; its published predictions can be imported"
        )
    today = _single(model.today)
    return ModelSpec(today.kind, name, today.target, today.weights, note=model.message)


def _torchvision(text: str) -> ModelSpec:
    return _of_library("torchvision", text, torchvision_names(), _weight_names)


def _timm(text: str) -> ModelSpec:
    return _of_library("timm", text, _timm_names(), timm_tags)


def _of_library(library: str, text: str, architectures: Sequence[str], tags_of: Callable[[str], list[str]]) -> ModelSpec:
    """ARCH, ARCH.TAG or ARCH@random; the first of an architecture's tags is its default."""
    arch, tag = _split(text)
    _check_known(arch, architectures, library)
    if tag == RANDOM:
        return ModelSpec(library, f"{arch}@{RANDOM}", arch, RANDOM)
    tags = tags_of(arch)
    if tag and tag not in tags:
        raise _unknown(tag, tags, f"weights of {arch}")
    if not tags:
        raise NotFoundError(
            f"has no pretrained weights in {library}", item=arch, remedy=f"Give your own: {library}:{arch}=FILE.safetensors"
        )
    chosen = tag or tags[0]
    return ModelSpec(library, f"{arch}.{chosen}".rstrip("."), arch, chosen)


def _split(text: str) -> tuple[str, str]:
    arch, at, random = text.partition("@")
    if at:
        if random != RANDOM:
            raise UsageError(f"@{random} is unknown", item=text, remedy="@random draws weights from a fixed seed")
        return arch.partition(".")[0], RANDOM
    arch, _, tag = text.partition(".")
    return arch, tag


def _check_known(arch: str, names: Sequence[str], library: str) -> None:
    if arch not in names:
        raise _unknown(arch, names, f"architecture in {library}")


def _unknown(text: str, known: Sequence[str], what: str) -> NotFoundError:
    close = difflib.get_close_matches(text, list(dict.fromkeys(known)), n=3)
    remedy = f"Did you mean {' or '.join(close)}?" if close else f"Search with: retest models list {text.partition('.')[0]}"
    return NotFoundError(f"there is no such {what}", item=text, remedy=remedy)


def torchvision_names() -> list[str]:
    """Names of torchvision's classifiers."""
    models = require("torchvision.models")
    return [str(name) for name in models.list_models(module=models)]


def _weight_names(arch: str) -> list[str]:
    """Names of an architecture's weights in torchvision, its default first."""
    weights = require("torchvision.models").get_model_weights(arch)
    return sorted((str(entry.name) for entry in weights), key=lambda name: name != weights.DEFAULT.name)


def _timm_names() -> list[str]:
    return [str(name) for name in require("timm").list_models()]


def timm_tags(arch: str) -> list[str]:
    """Names of an architecture's pretrained weights in timm, its default first; the empty name where they have none."""
    models = require("timm.models")
    config = models.get_pretrained_cfg(arch, allow_unregistered=True)
    found = [name.partition(".")[2] for name in require("timm").list_models(f"{arch}*", pretrained=True) if name.partition(".")[0] == arch]
    default = getattr(config, "tag", None) or ""
    return sorted(found, key=lambda tag: (tag != default, tag))


def list_models(query: str = "") -> list[tuple[str, str, str]]:
    """Models that can be run by name: (name, library, detail), those whose name holds every word of the query.

    Raises:
        MissingExtraError: torchvision or timm is not installed.
    """
    rows = [(name, "published", model.today or "no equivalent today") for name, model in PUBLISHED_MODELS.items()]
    models = require("torchvision.models")
    for arch in torchvision_names():
        for entry in models.get_model_weights(arch):
            accuracy = entry.meta.get("_metrics", {}).get("ImageNet-1K", {}).get("acc@1")
            detail = f"{entry.meta['num_params']:,} parameters" + (f", {accuracy} % on ImageNet's validation set" if accuracy else "")
            rows.append((f"torchvision:{arch}.{entry.name}", "torchvision", detail))
    rows += [(f"timm:{name}", "timm", _timm_detail(str(name))) for name in require("timm").list_models(pretrained=True)]
    words = query.lower().split()
    return [row for row in rows if all(word in row[0].lower() for word in words)]


def _timm_detail(name: str) -> str:
    config = require("timm.models").get_pretrained_cfg(name)
    height = config.input_size[1]
    return f"{config.num_classes:,} classes, {height} pixels, {config.interpolation}"
