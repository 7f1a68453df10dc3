"""Settings of the labelling server's ways in: section ``[serve]`` of study.toml."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from retest.errors import ConfigError
from retest.settings import check_count, plain_numbers


@dataclass(frozen=True, slots=True)
@plain_numbers
class ServeSettings:
    """How annotators reach the labelling server and when they are done."""

    public_url: str = field(
        default="", metadata={"help": "address of the labelling server as annotators open it; empty: this machine only"}
    )
    tasks_per_participant: int = field(default=0, metadata={"help": "tasks after which an annotator is done; 0: as many as there are"})
    prolific_completion_code: str = field(
        default="", metadata={"help": "completion code of the study on Prolific; empty: nobody comes in by Prolific"}
    )
    prolific_completion_url: str = field(
        default="https://app.prolific.com/submissions/complete", metadata={"help": "where Prolific takes the completion code (cc=CODE)"}
    )
    prolific_study_id: str = field(default="", metadata={"help": "accept participants of this STUDY_ID only; empty: of any"})

    def __post_init__(self) -> None:
        for name in ("public_url", "prolific_completion_url"):
            value = getattr(self, name)
            parts = urlsplit(value)
            if value and (parts.scheme not in ("http", "https") or not parts.hostname):
                raise ConfigError(f"{value!r} is not an http(s) address", item=name, remedy="For example https://label.example.org")
        check_count("tasks_per_participant", self.tasks_per_participant, remedy="0 sets no limit")
        if not re.fullmatch(r"[0-9A-Za-z_-]{0,64}", self.prolific_completion_code):
            raise ConfigError("is no completion code", item="prolific_completion_code", remedy="Copy it from the study's page on Prolific")
