"""A crowd without people: a shipped fake with a documented error model.

Model
-----
Annotator j has a skill ``s_j > 0``, a bias ``b_j`` (how liberal, in logits), a lapse rate ``l_j`` and a working pace.
The caller supplies the *affinity* ``a(i, w)`` in [0, 1]: how much image i looks like class w, for instance derived from
the margin of a classifier; 0.5 is as ambiguous as can be. Then

    P(j selects i for w) = l_j * guess_rate + (1 - l_j) * sigmoid(s_j * sharpness * logit(a) + b_j)

with a clipped to [0.001, 0.999]. Over the pool, ``ln s_j ~ N(0, skill_sd)``, ``b_j ~ N(bias_mean, bias_sd)`` and
``l_j = 2 * lapse_rate * U(0, 1)`` (mean ``lapse_rate``). A share of the pool can be spammers: their answers ignore the
images (nothing, everything, or every image with probability 1/2) and come within seconds.

The logit part is the Rasch / item-response model of test theory (Rasch 1960; Birnbaum 1968, two-parameter logistic);
lapses are those of psychometric functions (Wichmann & Hill 2001). Given the annotators, selections are independent.

Determinism
-----------
Who answers a HIT, what they select and when are functions of (seed, HIT uuid, annotator, affinities) only. Random
numbers are read from SHAKE-256 of these names, so they do not depend on the order of calls, on Python's hash
randomisation, on NumPy's generators or on the platform. Affinities are read once, when the HIT is published, and kept
with it: later calls need no caller's model. Time is simulated from ``start_time``; no clock is read.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from statistics import NormalDist
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from retest.crowd._simulated_state import SimulatedState, StoredHit
from retest.crowd.base import HitProgress, HitTask, PublishedHit, RawAnswer, unknown_hit
from retest.errors import ConflictError, CrowdError, UsageError
from retest.records import Assignment, AssignmentStatus, Hit
from retest.settings import check_count, check_number, plain_numbers

__all__ = ["Affinity", "SimulatedAnnotator", "SimulatedCrowd", "SimulatedCrowdParameters", "selection_probability"]

Affinity = Mapping[tuple[str, str], float] | Callable[[str, str], float]
"""``affinity[(image_id, wnid)]`` or ``affinity(image_id, wnid)``: how much the image looks like the class, in [0, 1]."""

_CLIP = 0.001
_SPAM_STYLES = ("nothing", "everything", "random")
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True, kw_only=True)
@plain_numbers
class SimulatedCrowdParameters:
    """The error model of :class:`SimulatedCrowd` (see the module's docstring for the formula).

    Raises:
        ConfigError: if a value is out of range; ``item`` names the field.
    """

    seed: int = field(default=0, metadata={"help": "seed of the simulated annotators and their answers"})
    annotators: int = field(default=60, metadata={"help": "size of the pool of simulated annotators"})
    sharpness: float = field(default=1.0, metadata={"help": "factor on the logit of the affinity; larger means clearer images"})
    skill_sd: float = field(default=0.25, metadata={"help": "standard deviation of the logarithm of an annotator's skill"})
    bias_mean: float = field(default=0.0, metadata={"help": "mean bias in logits; above 0: annotators select liberally"})
    bias_sd: float = field(default=0.5, metadata={"help": "standard deviation of the bias between annotators, in logits"})
    lapse_rate: float = field(default=0.02, metadata={"help": "mean probability of answering without looking, at most 0.5"})
    guess_rate: float = field(default=0.5, metadata={"help": "probability of selecting an image in a lapse"})
    spammer_share: float = field(default=0.0, metadata={"help": "share of the pool that answers without looking at all"})
    median_delay_s: float = field(default=1800.0, metadata={"help": "median seconds from publishing to acceptance"})
    median_duration_s: float = field(default=75.0, metadata={"help": "median seconds from acceptance to submission"})

    def __post_init__(self) -> None:
        check_count("seed", self.seed, high=2**63 - 1)
        check_count("annotators", self.annotators, low=1, high=10**6)
        ranges: dict[str, tuple[float, float]] = {
            "sharpness": (0.0, 1e3),
            "skill_sd": (0.0, 10.0),
            "bias_mean": (-50.0, 50.0),
            "bias_sd": (0.0, 50.0),
            "lapse_rate": (0.0, 0.5),
            "guess_rate": (0.0, 1.0),
            "spammer_share": (0.0, 1.0),
            "median_delay_s": (0.0, 1e9),
            "median_duration_s": (0.0, 1e9),
        }
        for name, (low, high) in ranges.items():
            check_number(name, getattr(self, name), low=low, high=high)


@dataclass(frozen=True, slots=True)
class SimulatedAnnotator:
    """One member of the pool. ``spam`` is None for those who look at the images."""

    name: str
    skill: float
    bias: float
    lapse_rate: float
    pace: float
    spam: str | None = None


def selection_probability(
    affinity: NDArray[np.float64], annotator: SimulatedAnnotator, *, parameters: SimulatedCrowdParameters
) -> NDArray[np.float64]:
    """P(select) of one annotator for images of the given affinities; float64, same shape."""
    if annotator.spam is not None:
        return np.full_like(affinity, {"nothing": 0.0, "everything": 1.0, "random": 0.5}[annotator.spam])
    clipped = np.clip(affinity, _CLIP, 1.0 - _CLIP)
    logits = annotator.skill * parameters.sharpness * np.log(clipped / (1.0 - clipped)) + annotator.bias
    looked = np.where(logits >= 0, 1.0, np.exp(-np.abs(logits))) / (1.0 + np.exp(-np.abs(logits)))
    return annotator.lapse_rate * parameters.guess_rate + (1.0 - annotator.lapse_rate) * looked


class SimulatedCrowd:
    """A :class:`~retest.crowd.Crowd` whose annotators are simulated; answers exist as soon as a HIT is published.

    Args:
        affinity: how much an image looks like a class, as a mapping or a function; see :data:`Affinity`.
        start_time: when every HIT counts as published; ISO-8601, or a datetime with a time zone.
        parameters: the error model.
        path: a SQLite file that keeps published HITs and decisions, shared by processes; None keeps them in memory.

    Raises:
        UsageError: if ``start_time`` cannot be read or has no time zone.
    """

    def __init__(
        self,
        affinity: Affinity,
        *,
        start_time: str | datetime,
        parameters: SimulatedCrowdParameters | None = None,
        path: str | Path | None = None,
    ) -> None:
        self.parameters = parameters if parameters is not None else SimulatedCrowdParameters()
        self._affinity: Callable[[str, str], float] = affinity if callable(affinity) else lambda image, wnid: affinity[image, wnid]
        self._start = _moment(start_time)
        self._state = SimulatedState(path)

    @property
    def name(self) -> str:
        """Says that the crowd is simulated, and by which seed."""
        return f"simulated crowd (seed {self.parameters.seed})"

    @property
    def simulated(self) -> bool:
        """True: nobody looks at the images."""
        return True

    @property
    def live(self) -> bool:
        """False: nothing is paid."""
        return False

    def close(self) -> None:
        """Close the state file. Further calls fail."""
        self._state.close()

    def __enter__(self) -> SimulatedCrowd:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @cached_property
    def annotators(self) -> tuple[SimulatedAnnotator, ...]:
        """The pool: what is usually hidden is known here."""
        return tuple(_annotator(index, self.parameters) for index in range(self.parameters.annotators))

    def cost_cents(self, *, assignments: int, reward_cents: int) -> int:
        """0: nothing is paid."""
        return 0

    def publish(self, task: HitTask) -> PublishedHit:
        """Read the affinities of the HIT's images and keep it; its answers exist from then on. See :meth:`Crowd.publish`.

        Raises:
            UsageError: the pool has fewer annotators than are wanted, or an affinity is missing or no number in [0, 1].
            ConflictError: a HIT with this uuid shows another class or other images.
        """
        hit = task.hit
        self._check_pool(hit.uuid, task.assignments)
        known = self._state.get(hit.uuid)
        if known is None:
            affinities = tuple(self._affinity_of(image, hit.wnid) for image in hit.images_all)
            mine = StoredHit(hit.uuid, hit.wnid, hit.images_all, affinities, task.assignments)
            known, created = self._state.add(mine)
        else:
            created = False
        if (known.wnid, known.images_all) != (hit.wnid, hit.images_all):
            raise ConflictError(
                "a HIT with this uuid but another class or other images is already published",
                item=hit.uuid,
                remedy="Give every planned HIT its own uuid",
            )
        return _published(known, created=created)

    def published(self) -> Iterator[PublishedHit]:
        """All HITs that are not deleted, by uuid."""
        for stored in self._state.all():
            if not stored.deleted:
                yield _published(stored)

    def progress(self, hits: Sequence[Hit]) -> Mapping[str, HitProgress]:
        """Progress by uuid: every published HIT is answered in full."""
        result: dict[str, HitProgress] = {}
        for stored in self._known(hits):
            decisions = self._state.decisions(stored.uuid)
            names = [_assignment_id(stored.uuid, index) for index in range(stored.assignments)]
            statuses = [decisions.get(name, AssignmentStatus.SUBMITTED) for name in names]
            result[stored.uuid] = HitProgress.of(stored.uuid, assignments=stored.assignments, statuses=statuses)
        return result

    def collect(self, hits: Sequence[Hit], *, on_unreadable: Callable[[CrowdError], None] | None = None) -> Iterator[RawAnswer]:
        """The answers, which are the same whenever they are asked for; none is unreadable. See :meth:`Crowd.collect`."""
        for stored in self._known(hits):
            decisions = self._state.decisions(stored.uuid)
            annotators = self._who(stored)
            answers = [self._answer(stored, index, annotators[index], decisions) for index in range(stored.assignments)]
            yield from sorted(answers, key=lambda answer: (answer.assignment.submit_time or "", answer.assignment.id))

    def approve(self, assignment_id: str, *, feedback: str = "", override_rejection: bool = False) -> None:
        """Approve an answer; see :meth:`Crowd.approve`."""

        def decide(present: AssignmentStatus) -> AssignmentStatus:
            if present is AssignmentStatus.REJECTED and not override_rejection:
                raise CrowdError("is rejected", item=assignment_id, remedy="Pass override_rejection to approve it all the same")
            return AssignmentStatus.APPROVED

        self._decide(assignment_id, decide, feedback)

    def reject(self, assignment_id: str, *, feedback: str) -> None:
        """Reject an answer; see :meth:`Crowd.reject`."""
        if not feedback.strip():
            raise UsageError("a rejection needs feedback", item=assignment_id, remedy="Tell the annotator why")

        def decide(present: AssignmentStatus) -> AssignmentStatus:
            if present is AssignmentStatus.APPROVED:
                raise CrowdError("is already approved", item=assignment_id, remedy="An approved assignment cannot be rejected")
            return AssignmentStatus.REJECTED

        self._decide(assignment_id, decide, feedback)

    def extend(self, hit: Hit, *, assignments: int) -> None:
        """Let more of the pool answer, up to a total; those who have answered stay. See :meth:`Crowd.extend`."""
        self._check_pool(hit.uuid, assignments)
        present = self._present(hit)
        if assignments < present.assignments:
            raise UsageError(
                f"has {present.assignments} assignments already, {assignments} is fewer",
                item=hit.uuid,
                remedy="Assignments can only be added",
            )
        self._state.extend(hit.uuid, assignments)

    def expire(self, hit: Hit) -> None:
        """Nothing to stop: simulated answers are complete as soon as the HIT is published."""
        self._known_or_fail(hit)

    def delete(self, hit: Hit) -> None:
        """Forget a HIT whose answers are all decided; see :meth:`Crowd.delete`."""
        stored = self._known_or_fail(hit)
        undecided = stored.assignments - len(self._state.decisions(hit.uuid))
        if undecided and not stored.deleted:
            raise CrowdError(f"{undecided} answers are undecided", item=hit.uuid, remedy="Approve or reject them first")
        self._state.delete(hit.uuid)

    def balance(self) -> int | None:
        """None: there is no money."""
        return None

    def _check_pool(self, uuid: str, assignments: int) -> None:
        if assignments > self.parameters.annotators:
            raise UsageError(
                f"{assignments} different annotators wanted, the simulated pool has {self.parameters.annotators}",
                item=uuid,
                remedy="Raise SimulatedCrowdParameters.annotators",
            )

    def _affinity_of(self, image_id: str, wnid: str) -> float:
        try:
            value = float(self._affinity(image_id, wnid))
        except KeyError:
            raise UsageError(
                f"no affinity for class {wnid}", item=image_id, remedy="The mapping needs every image of every HIT, controls too"
            ) from None
        if not 0.0 <= value <= 1.0:
            raise UsageError(f"affinity {value} for class {wnid} is outside [0, 1]", item=image_id, remedy="Scale it, e.g. by a logistic")
        return value

    def _known(self, hits: Sequence[Hit]) -> Iterator[StoredHit]:
        for hit in hits:
            stored = self._state.get(hit.uuid)
            if stored is not None and not stored.deleted:
                yield stored

    def _known_or_fail(self, hit: Hit) -> StoredHit:
        stored = self._state.get(hit.uuid)
        if stored is None:
            raise unknown_hit(hit, self.name)
        return stored

    def _present(self, hit: Hit) -> StoredHit:
        stored = self._known_or_fail(hit)
        if stored.deleted:
            raise unknown_hit(hit, self.name)
        return stored

    def _decide(self, assignment_id: str, rule: Callable[[AssignmentStatus], AssignmentStatus], feedback: str) -> None:
        uuid, _, index = assignment_id.rpartition(":")
        stored = self._state.get(uuid)
        if stored is None or not (index.isascii() and index.isdigit() and int(index) < stored.assignments):
            raise CrowdError(f"the {self.name} has no such assignment", item=assignment_id, remedy="Take ids from collect()")
        self._state.decide(uuid, assignment_id, rule, feedback)

    def _who(self, stored: StoredHit) -> list[SimulatedAnnotator]:
        # The first n of one fixed order of the pool, so that extending a HIT keeps the answers it has.
        keys = _uniforms(self.parameters.seed, "who", stored.uuid, count=self.parameters.annotators)
        return [self.annotators[int(index)] for index in np.argsort(keys, kind="stable")[: stored.assignments]]

    def _answer(self, stored: StoredHit, index: int, annotator: SimulatedAnnotator, decisions: Mapping[str, AssignmentStatus]) -> RawAnswer:
        draws = _uniforms(self.parameters.seed, "answer", stored.uuid, annotator.name, count=len(stored.images_all) + 2)
        chances = selection_probability(np.asarray(stored.affinities), annotator, parameters=self.parameters)
        chosen = draws[2:] < chances
        delay_s = self.parameters.median_delay_s * math.exp(0.8 * _normal(draws[0]))
        duration_s = self.parameters.median_duration_s * annotator.pace * math.exp(0.3 * _normal(draws[1]))
        accepted = self._start + timedelta(seconds=round(delay_s))
        name = _assignment_id(stored.uuid, index)
        assignment = Assignment(
            id=name,
            hit_uuid=stored.uuid,
            worker=annotator.name,
            status=decisions.get(name, AssignmentStatus.SUBMITTED),
            selected=tuple(image for image, yes in zip(stored.images_all, chosen, strict=True) if yes),
            accept_time=accepted.isoformat(),
            submit_time=(accepted + timedelta(seconds=max(1, round(duration_s)))).isoformat(),
        )
        content = json.dumps({"simulated": True, "selected": list(assignment.selected)}, separators=(",", ":"))
        return RawAnswer(assignment=assignment, content=content)


def _moment(value: str | datetime) -> datetime:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        raise UsageError("is not an ISO-8601 time", item=f"start_time {value!r}", remedy="For example 2026-01-31T09:00:00+00:00") from None
    if moment.tzinfo is None:
        raise UsageError("has no time zone", item=f"start_time {value!s}", remedy="Append +00:00 for UTC")
    return moment.astimezone(UTC)


def _published(stored: StoredHit, *, created: bool = False) -> PublishedHit:
    return PublishedHit(stored.uuid, f"simulated-{stored.uuid}", "simulated", stored.assignments, created)


def _assignment_id(uuid: str, index: int) -> str:
    return f"{uuid}:{index}"


def _uniforms(*names: int | str, count: int) -> NDArray[np.float64]:
    """Uniform doubles in [0, 1), float64 (count,), read from SHAKE-256 of the names; equal on every platform."""
    stream = hashlib.shake_256(json.dumps(names).encode()).digest(8 * count)
    return (np.frombuffer(stream, dtype="<u8") >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _normal(uniform: float) -> float:
    # Half a step away from 0, where the inverse is infinite.
    return _NORMAL.inv_cdf(float(uniform) + 2.0**-54)


def _annotator(index: int, parameters: SimulatedCrowdParameters) -> SimulatedAnnotator:
    draws = _uniforms(parameters.seed, "annotator", index, count=6)
    spam = draws[0] < parameters.spammer_share
    return SimulatedAnnotator(
        name=f"simulated-{index:04d}",
        skill=math.exp(parameters.skill_sd * _normal(draws[1])),
        bias=parameters.bias_mean + parameters.bias_sd * _normal(draws[2]),
        lapse_rate=2.0 * parameters.lapse_rate * float(draws[3]),
        pace=0.05 if spam else math.exp(0.25 * _normal(draws[4])),
        spam=_SPAM_STYLES[int(draws[5] * len(_SPAM_STYLES))] if spam else None,
    )
