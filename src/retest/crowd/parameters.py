"""Settings of publishing: section ``[crowd]`` of study.toml. Defaults are the published ones (method, section 4)."""

from __future__ import annotations

from dataclasses import dataclass, field

from retest.errors import ConfigError
from retest.settings import check_choice, check_count, check_flag, plain_numbers

__all__ = ["BACKENDS", "CrowdParameters"]

BACKENDS = ("simulated", "server", "mturk")

_INSTRUCTIONS = (
    "Select every image that contains at least one object of the class, regardless of occlusion, other objects, "
    "clutter or text in the scene. Only select photographs, no drawings or paintings."
)
_CONSENT = (
    "By making a selection below you consent to take part in this study of image labels. Taking part is voluntary; "
    "you can stop at any time and return the task. No personal data beyond your annotator id is stored."
)
_WARNING = "The images come from the open web and could, in rare cases, be disturbing. If so, please return the task."

# Limits of the MTurk requester API (CreateHIT): characters and seconds.
_MAX_LENGTHS = {"title": 128, "description": 2000, "keywords": 1000}
_YEAR_S = 31_536_000
_MAX_AUTO_APPROVAL_S = 2_592_000


@dataclass(frozen=True, slots=True, kw_only=True)
@plain_numbers
class CrowdParameters:
    """How HITs are published: back end, money, durations and the texts of the page.

    Raises:
        ConfigError: if a setting is out of range; ``item`` names it.
    """

    backend: str = field(
        default="simulated",
        metadata={"help": "who answers: simulated, server (the study's own labelling server) or mturk"},
    )
    endpoint: str = field(default="", metadata={"help": "URL of the MTurk-protocol server; empty: Amazon's own for backend mturk"})
    live: bool = field(default=False, metadata={"help": "publish for real money; false means Amazon's sandbox for backend mturk"})
    assignments: int = field(default=10, metadata={"help": "different annotators per HIT", "derived_from": "labeling.assignments_per_hit"})
    reward_cents: int = field(default=10, metadata={"help": "reward per assignment in whole US cents"})
    budget_cents: int | None = field(default=None, metadata={"help": "refuse to publish beyond this total cost in cents; unset: no limit"})
    assignment_duration_s: int = field(default=600, metadata={"help": "seconds an annotator has to answer a HIT once accepted"})
    auto_approval_s: int = field(default=259_200, metadata={"help": "seconds after which an undecided answer is approved"})
    lifetime_s: int = field(default=604_800, metadata={"help": "seconds a HIT can be accepted after publishing"})
    title: str = field(default="Label new images for machine learning dataset", metadata={"help": "title of the task"})
    description: str = field(
        default="Select the images that contain at least one object of the given class.",
        metadata={"help": "one-sentence description in the list of tasks"},
    )
    keywords: str = field(default="images, labelling, machine learning", metadata={"help": "comma-separated search words"})
    instructions: str = field(default=_INSTRUCTIONS, metadata={"help": "what the annotator is asked to do"})
    consent: str = field(default=_CONSENT, metadata={"help": "consent sentence shown on the page"})
    warning: str = field(default=_WARNING, metadata={"help": "warning about disturbing content; empty: none"})
    contact: str = field(default="", metadata={"help": "whom annotators can write to; empty: not shown"})

    def __post_init__(self) -> None:
        check_choice("backend", self.backend, BACKENDS)
        check_flag("live", self.live)
        if self.backend == "server" and not self.endpoint:
            raise ConfigError("is empty", item="endpoint", remedy="Give the URL of the labelling server")
        if self.live and self.backend == "simulated":
            raise ConfigError("a simulated crowd is never live", item="live", remedy="Set live = false or choose another backend")
        self._check_numbers()
        self._check_texts()

    def _check_numbers(self) -> None:
        ranges: dict[str, tuple[int, int]] = {
            "assignments": (1, 1_000_000_000),
            "reward_cents": (0, 100_000),
            "assignment_duration_s": (30, _YEAR_S),
            "auto_approval_s": (0, _MAX_AUTO_APPROVAL_S),
            "lifetime_s": (30, _YEAR_S),
        }
        if self.budget_cents is not None:
            ranges["budget_cents"] = (0, 10**12)
        for name, (low, high) in ranges.items():
            check_count(name, getattr(self, name), low=low, high=high, remedy="Money is counted in cents, time in seconds")

    def _check_texts(self) -> None:
        for name, limit in _MAX_LENGTHS.items():
            length = len(getattr(self, name))
            if length > limit:
                raise ConfigError(f"has {length} characters", item=name, remedy=f"Use at most {limit}")
        for name in ("title", "description", "instructions", "consent"):
            if not getattr(self, name).strip():
                raise ConfigError("is empty", item=name, remedy="Annotators must see it")
