"""``study.toml``: every setting of a study, validated.

A section is the frozen parameter dataclass of the room it configures, so that the same object is the section of the file, the
options of the command and the record of what was used. Unknown keys are errors: a misspelt setting must not be ignored.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from retest.crowd import CrowdParameters
from retest.duplicates import ResolutionParameters, ReviewParameters
from retest.errors import ConfigError
from retest.images import ImageParameters
from retest.labeling import CostParameters, HitParameters
from retest.labeling.two_pass import TwoPassParameters
from retest.neighbors import NeighborParameters
from retest.sampling import SamplingParameters
from retest.settings import check_choice, check_count, plain_numbers
from retest.sources import SOURCE_KINDS, SearchParameters
from retest.sources.download import DownloadParameters
from retest.study.serve import ServeSettings

CONFIG_FILE = "study.toml"


@dataclass(frozen=True, slots=True)
@plain_numbers
class StudySettings:
    """The study itself: its name and where its data lie."""

    name: str = field(default="study", metadata={"help": "name of the study; part of opaque names and of reports"})
    database: str = field(default="sqlite:///study.db", metadata={"help": "database URL; sqlite files are relative to the study folder"})
    blobs: str = field(
        default="blobs", metadata={"help": "where images lie: a folder (relative to the study folder) or a URL such as s3://bucket/prefix"}
    )
    workers: int = field(default=2, metadata={"help": "local processes or threads for heavy stages"})

    def __post_init__(self) -> None:
        if not self.name or any(c in self.name for c in "/\\\0\n"):
            raise ConfigError(f"{self.name!r} is no usable name", item="name", remedy="Use letters, digits, '-' and '_'")
        check_count("workers", self.workers, low=1, remedy="Set it to the number of cores")
        if _holds_password(self.database):
            remedy = "Take it out, and put it into PGPASSWORD or ~/.pgpass: settings are copied into backups and reports"
            raise ConfigError("the address holds a password", item="database", remedy=remedy)
        if _holds_password(self.blobs):
            remedy = "Take it out, and put the keys into the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or ~/.aws"
            raise ConfigError("the address holds a password", item="blobs", remedy=remedy)


def _holds_password(address: str) -> bool:
    """Whether a URL holds ``user:password@``, or ``?password=...`` as libpq takes it. Messages must not show such an address."""
    head, _, query = address.partition("?")
    named = re.match("[^/:@]*:.*@", head.partition("://")[2])
    return named is not None or any(part.partition("=")[0].lower() in {"password", "sslpassword"} for part in query.split("&"))


@dataclass(frozen=True, slots=True)
class BenchmarkSettings:
    """The benchmark that is being replicated."""

    name: str = field(default="the original benchmark", metadata={"help": "name shown in reports"})
    train: str = field(default="", metadata={"help": "folder of the training images, one folder per class"})
    val: str = field(default="", metadata={"help": "folder of the validation (or original test) images, one folder per class"})
    test: str = field(default="", metadata={"help": "folder of further original images without labels"})
    ids: str = field(
        default="path", metadata={"help": "ids of original images: path (val/CLASS/FILE) or name (the file name, as in ImageNet)"}
    )
    class_info: str = field(
        default="", metadata={"help": "JSON file with classes in the published class_info.json form; empty: the class folders"}
    )
    similar_classes: str = field(
        default="",
        metadata={"help": "JSON file wnid -> similar wnids, the first being itself; empty: derived from the mean training images"},
    )

    def __post_init__(self) -> None:
        check_choice("ids", self.ids, ("path", "name"))


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """Where candidates come from."""

    kind: str = field(default="folder", metadata={"help": f"source of candidates: {', '.join(SOURCE_KINDS)}"})
    location: str = field(default="", metadata={"help": "folder with one folder per class, or a CSV/Parquet/JSON table of URLs"})

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, SOURCE_KINDS)


@dataclass(frozen=True, slots=True)
class StudyConfig:
    """All settings of a study; each field is a section of ``study.toml``.

    A parameter with ``derived_from`` in its metadata is no setting: its value is that of the setting named there, so that no two
    settings can contradict each other.
    """

    study: StudySettings = field(default_factory=StudySettings)
    benchmark: BenchmarkSettings = field(default_factory=BenchmarkSettings)
    source: SourceSettings = field(default_factory=SourceSettings)
    search: SearchParameters = field(default_factory=SearchParameters)
    download: DownloadParameters = field(default_factory=DownloadParameters)
    images: ImageParameters = field(default_factory=ImageParameters)
    labeling: HitParameters = field(default_factory=HitParameters)
    cost: CostParameters = field(default_factory=CostParameters)
    two_pass: TwoPassParameters = field(default_factory=TwoPassParameters)
    crowd: CrowdParameters = field(default_factory=CrowdParameters)
    serve: ServeSettings = field(default_factory=ServeSettings)
    neighbors: NeighborParameters = field(default_factory=NeighborParameters)
    review: ReviewParameters = field(default_factory=ReviewParameters)
    resolution: ResolutionParameters = field(default_factory=ResolutionParameters)
    sampling: SamplingParameters = field(default_factory=SamplingParameters)

    def __post_init__(self) -> None:
        for section in dataclasses.fields(self):
            values = getattr(self, section.name)
            derived = {f.name: f.metadata["derived_from"] for f in dataclasses.fields(values) if "derived_from" in f.metadata}
            if derived:
                found = {name: attrgetter(origin)(self) for name, origin in derived.items()}
                object.__setattr__(self, section.name, dataclasses.replace(values, **found))


def setting_fields(kind: Any) -> list[dataclasses.Field[Any]]:
    """The fields of a section that are settings."""
    return [f for f in dataclasses.fields(kind) if "derived_from" not in f.metadata]


def parse_config(tables: Mapping[str, Any], *, origin: str = CONFIG_FILE) -> StudyConfig:
    """Validate the tables of a TOML file.

    Raises:
        ConfigError: an unknown section or key, a value of the wrong type or out of range; ``item`` names file, section and key.
    """
    sections = {f.name: _section_type(f.name) for f in dataclasses.fields(StudyConfig)}
    _refuse_unknown(tables, sections, item=origin, kind="section")
    return StudyConfig(**{name: _parse_section(sections[name], tables[name], f"{origin} [{name}]") for name in tables})


def _section_type(name: str) -> type[Any]:
    kind: type[Any] = get_type_hints(StudyConfig)[name]
    return kind


def _parse_section(kind: type[Any], values: Any, item: str) -> Any:
    if not isinstance(values, Mapping):
        raise ConfigError(
            "must be a table of settings", item=item, remedy=f"Write {item.split()[-1]} on a line of its own, settings below it"
        )
    _refuse_unknown(values, {f.name for f in setting_fields(kind)}, item=item, kind="setting")
    try:
        # By way of JSON, pydantic can be strict and still take a list for a tuple: "5" or true is no number.
        return TypeAdapter(kind).validate_json(json.dumps(dict(values), default=lambda date: date.isoformat()), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "?"
        raise ConfigError(f"{first['msg']} (is {first['input']!r})", item=f"{item} {key}", remedy=_help_of(kind, first["loc"])) from error
    except ConfigError as error:
        raise ConfigError(error.problem, item=f"{item} {error.item}", remedy=error.remedy) from error


def _help_of(kind: type[Any], location: tuple[int | str, ...]) -> str | None:
    known = {f.name: f.metadata.get("help") for f in dataclasses.fields(kind)}
    text = known.get(str(location[0])) if location else None
    return None if text is None else f"It is: {text}"


def _refuse_unknown(found: Mapping[str, Any], known: Any, *, item: str, kind: str) -> None:
    for name in found:
        if name not in known:
            close = difflib.get_close_matches(name, list(known), n=1)
            remedy = f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(sorted(known))}"
            raise ConfigError(f"unknown {kind} {name!r}", item=item, remedy=remedy)


def read_config(path: Path | str) -> StudyConfig:
    """Read and validate a ``study.toml``.

    Raises:
        ConfigError: the file is missing or unreadable, is no TOML, or holds a section, setting or value that there is not.
    """
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise ConfigError("there is no such file", item=str(path), remedy="Create a study with: retest init STUDY") from error
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror})", item=str(path), remedy="Check the file and its permissions") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"not valid TOML ({error})", item=str(path), remedy="Mend the line that the message names") from error
    return parse_config(tables, origin=str(path))


def format_config(config: StudyConfig) -> str:
    """The text of a ``study.toml``: every setting with its explanation; those at their default are commented out."""
    lines = ["# Settings of this study. A line that begins with '#' shows a default.", ""]
    for section in dataclasses.fields(config):
        values = getattr(config, section.name)
        lines += [f"[{section.name}]"]
        for setting in setting_fields(values):
            lines += [f"# {setting.metadata.get('help', '')}"]
            lines += [_format_setting(setting, getattr(values, setting.name))]
        lines += [""]
    return "\n".join(lines)


def _format_setting(setting: dataclasses.Field[Any], value: Any) -> str:
    default = setting.default if setting.default_factory is dataclasses.MISSING else setting.default_factory()
    if value is None:
        return f"# {setting.name} ="
    line = f"{setting.name} = {_toml_value(value)}"
    return f"# {line}" if value == default else line


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_toml_value(str(k))} = {_toml_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml_value(v) for v in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def settings_reference() -> str:
    """The settings as a Markdown document (``docs/settings.md`` is this text; a test compares)."""
    lines = ["# Settings", "", "Every setting of `study.toml`, by section, with its default.", ""]
    config = StudyConfig()
    for section in dataclasses.fields(config):
        values = getattr(config, section.name)
        summary = (type(values).__doc__ or "").strip().splitlines()[0]
        lines += [f"## [{section.name}]", "", summary, "", "| setting | default | meaning |", "| --- | --- | --- |"]
        for setting in setting_fields(values):
            value = getattr(values, setting.name)
            shown = "unset" if value is None else f"`{_toml_value(value)}`"
            lines += [f"| `{setting.name}` | {shown.replace('|', chr(92) + '|')} | {setting.metadata.get('help', '')} |"]
        lines += [""]
    return "\n".join(lines)
