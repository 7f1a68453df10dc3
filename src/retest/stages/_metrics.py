"""Which metrics a search uses: names of the pixel metrics, and featurisers that are loaded when they are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from retest.errors import UsageError
from retest.models import Featuriser
from retest.models.featurisers import FeaturiserSpec, load_featuriser
from retest.neighbors import PIXEL_METRICS


@dataclass(frozen=True, slots=True)
class ChosenMetrics:
    """Metric names in order, and for each that is no pixel metric what loads its featuriser."""

    names: tuple[str, ...]
    featurisers: Mapping[str, Callable[[], Featuriser]]


def choose_metrics(
    metrics: Sequence[str],
    featurisers: Iterable[str] = (),
    *,
    known: Mapping[str, str] | None = None,
    device: str = "cpu",
    threads: int | None = None,
) -> ChosenMetrics:
    """Metrics by name, and after them the featurisers that are not named among them.

    Args:
        metrics: l2, dssim, phash, fc7, or labels of featurisers.
        featurisers: ``[LABEL=]WHAT[@WEIGHTS]`` as ``retest.models.featurisers`` reads it.
        known: label -> the same text, from the study's settings; a featuriser given above goes before it.
        device: where featurisers run.
        threads: processor threads for them.

    Raises:
        UsageError: a name is neither, or two featurisers have one label.
    """
    specs = {label: FeaturiserSpec.parse(f"{label}={text}") for label, text in (known or {}).items()}
    asked: list[str] = []
    for text in featurisers:
        spec = FeaturiserSpec.parse(text)
        if spec.label in asked:
            raise UsageError("two featurisers have this name", item=spec.label, remedy="Write LABEL=FEATURISER with different labels")
        specs[spec.label] = spec
        asked.append(spec.label)
    names = tuple(dict.fromkeys([*metrics, *asked]))
    chosen: dict[str, Callable[[], Featuriser]] = {}
    for name in names:
        if name in PIXEL_METRICS:
            continue
        if name not in specs:
            if name not in {"fc7", "sscd"}:
                remedy = "Use l2, dssim, phash, fc7, or name a featuriser: --featuriser LABEL=FEATURISER"
                raise UsageError("there is no metric of this name", item=name, remedy=remedy)
            specs[name] = FeaturiserSpec.parse(name)
        chosen[name] = _Load(specs[name], device, threads)
    return ChosenMetrics(names, chosen)


@dataclass(frozen=True, slots=True)
class _Load:
    spec: FeaturiserSpec
    device: str
    threads: int | None

    def __call__(self) -> Featuriser:
        return load_featuriser(self.spec, device=self.device, threads=self.threads)
