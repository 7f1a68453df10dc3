"""From the records of the study to what a report says of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from retest.errors import UsageError
from retest.records import Revision
from retest.report.records import Parameter, RevisionFacts


def parameters_of(settings: object, *, only: Sequence[str] | None = None) -> tuple[Parameter, ...]:
    """Fields of a parameter dataclass as records, with the help text of each field as its explanation.

    Args:
        settings: an instance of a dataclass whose fields carry ``metadata={"help": ...}``.
        only: names of the fields to show, in this order; all by default.

    Raises:
        UsageError: ``settings`` is not an instance of a dataclass, or ``only`` names a field that it lacks.
    """
    if not dataclasses.is_dataclass(settings) or isinstance(settings, type):
        raise UsageError(
            f"is a {type(settings).__name__}, not an instance of a dataclass", item="settings", remedy="Give the parameters used."
        )
    fields = {f.name: f for f in dataclasses.fields(settings)}
    unknown = [name for name in only or () if name not in fields]
    if unknown:
        raise UsageError(f"no field {unknown[0]!r}", item="only", remedy=f"Choose from: {', '.join(fields)}.")
    chosen = fields if only is None else {name: fields[name] for name in only}
    return tuple(Parameter(name, plain_value(getattr(settings, name)), str(f.metadata.get("help", ""))) for name, f in chosen.items())


def revision_facts(revision: Revision, *, note: str = "") -> RevisionFacts:
    """What a report says of a revision; the images themselves stay in the store."""
    return RevisionFacts(
        name=revision.name,
        sampling_function=revision.sampling_function,
        n_images=len(revision.images),
        n_classes=len({wnid for _, wnid in revision.images}),
        is_valid=revision.is_valid,
        seed=revision.seed,
        parameters=tuple(Parameter(key, plain_value(value)) for key, value in sorted(revision.parameters.items())),
        starting_from=revision.starting_from,
        user=revision.user,
        time=revision.time,
        note=note,
    )


def plain_value(value: Any) -> str:
    """A parameter's value as a reader would write it: lists with commas, mappings as ``key: value``, yes and no."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {plain_value(entry)}" for key, entry in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(plain_value(entry) for entry in value) or "none"
    if isinstance(value, float):
        return f"{value:.10g}"
    return str(value)
