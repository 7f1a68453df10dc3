"""Labelling by named people in two passes with reconciliation, as CIFAR-10.1 was labelled (method, section 8). Pure.

A first labeller judges candidates of a class, a second one confirms or contradicts, and what they disagree about is settled in a
third step, the reconciliation. Only images on which the outcome is yes may enter a test set.

In terms of selection frequencies (section 5) every judgement is one answer: yes and yes is 2 of 2, a disagreement 1 of 2, one
reconciled to yes 2 of 3, one reconciled to no 1 of 3. So :data:`ACCEPTED_FREQUENCY` with at least :data:`ACCEPTED_ANSWERS` answers
says the same as :class:`Outcome`'s ``accepted``, and every sampling strategy and the near-duplicate resolution can use it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from retest.errors import InputError
from retest.settings import check_choice

__all__ = [
    "ACCEPTED_ANSWERS",
    "ACCEPTED_FREQUENCY",
    "Judgement",
    "Outcome",
    "Pass",
    "PassAgreement",
    "TwoPassParameters",
    "Verdict",
    "by_image",
    "pass_agreement",
    "two_pass_outcomes",
]

ACCEPTED_FREQUENCY = 0.6
"""Least share of yes of an accepted image: between a disagreement (1 of 2) and one reconciled to yes (2 of 3)."""
ACCEPTED_ANSWERS = 2
"""Least number of judgements of an accepted image."""


class Pass(StrEnum):
    """The steps in their order."""

    FIRST = "first"
    SECOND = "second"
    RECONCILE = "reconcile"


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoPassParameters:
    """How the two passes relate.

    Raises:
        ConfigError: an unknown choice.
    """

    second_sees: str = field(
        default="selected",
        metadata={"help": "what the second labeller judges: selected (what the first said yes to, as for CIFAR-10.1) or all"},
    )

    def __post_init__(self) -> None:
        check_choice("second_sees", self.second_sees, ("selected", "all"), remedy="CIFAR-10.1: selected")


@dataclass(frozen=True, slots=True)
class Judgement:
    """One labeller's yes or no to "does this image show its class?", in one pass."""

    image_id: str
    step: Pass
    labeller: str
    selected: bool


class Verdict(StrEnum):
    """What became of an image."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict on an image with the reason in words, and who said what, pass by pass."""

    image_id: str
    verdict: Verdict
    reason: str
    judgements: tuple[Judgement, ...]

    @property
    def waits_for(self) -> Pass | None:
        """The next pass that the image needs, if it is open: the first that nobody has judged it in."""
        if self.verdict is not Verdict.OPEN:
            return None
        judged = {judgement.step for judgement in self.judgements}
        return next(step for step in Pass if step not in judged)


@dataclass(frozen=True, slots=True)
class PassAgreement:
    """How far the two passes agree, over the images that both judged.

    ``kappa`` is Cohen's kappa, (p_o - p_e) / (1 - p_e) with the shares of yes of each pass as marginals (Cohen 1960); None where
    it is undefined (no image, or both passes always say the same word).
    """

    both: int
    agreed: int
    first_yes: int
    second_yes: int
    kappa: float | None


def two_pass_outcomes(judgements: Iterable[Judgement], *, parameters: TwoPassParameters | None = None) -> dict[str, Outcome]:
    """The verdict on every image that anybody judged, by image id.

    Args:
        judgements: at most one per image and pass, in any order.
        parameters: whether the second pass judges everything.

    Raises:
        InputError: an image has two judgements in one pass, one labeller judged it in both passes, or it was reconciled without
            a disagreement. The message names image and labellers.
    """
    settings = parameters or TwoPassParameters()
    return {image: _outcome(image, steps, settings) for image, steps in sorted(by_image(judgements).items())}


def by_image(judgements: Iterable[Judgement]) -> dict[str, dict[Pass, Judgement]]:
    """image id -> pass -> its judgement.

    Raises:
        InputError: an image has two judgements in one pass, or one labeller judged it in both passes.
    """
    table: dict[str, dict[Pass, Judgement]] = {}
    for judgement in judgements:
        known = table.setdefault(judgement.image_id, {}).setdefault(judgement.step, judgement)
        if known is not judgement:
            raise InputError(
                f"has two judgements in the {judgement.step} pass, by {known.labeller} and {judgement.labeller}",
                item=judgement.image_id,
                remedy="Keep one of them; the other labeller can judge in the other pass",
            )
    for image, steps in table.items():
        first, second = steps.get(Pass.FIRST), steps.get(Pass.SECOND)
        if first is not None and second is not None and first.labeller == second.labeller:
            remedy = "The second pass is for another pair of eyes"
            raise InputError(f"was judged in both passes by {first.labeller}", item=image, remedy=remedy)
    return table


def pass_agreement(judgements: Iterable[Judgement]) -> PassAgreement:
    """Agreement of the first and the second pass.

    Raises:
        InputError: as for :func:`two_pass_outcomes`.
    """
    pairs = [
        (steps[Pass.FIRST].selected, steps[Pass.SECOND].selected)
        for steps in by_image(judgements).values()
        if Pass.FIRST in steps and Pass.SECOND in steps
    ]
    return _agreement(pairs)


def _agreement(pairs: Sequence[tuple[bool, bool]]) -> PassAgreement:
    n = len(pairs)
    agreed, first, second = sum(a == b for a, b in pairs), sum(a for a, _ in pairs), sum(b for _, b in pairs)
    expected = first * second + (n - first) * (n - second)  # times n squared, in whole numbers
    kappa = None if n == 0 or expected == n * n else (agreed * n - expected) / (n * n - expected)
    return PassAgreement(n, agreed, first, second, kappa)


def _outcome(image: str, steps: Mapping[Pass, Judgement], settings: TwoPassParameters) -> Outcome:
    judgements = tuple(steps[step] for step in Pass if step in steps)
    verdict, reason = _verdict(image, steps, settings)
    return Outcome(image, verdict, reason, judgements)


def _verdict(image: str, steps: Mapping[Pass, Judgement], settings: TwoPassParameters) -> tuple[Verdict, str]:
    first, second, last = (steps.get(step) for step in Pass)
    disagree = first is not None and second is not None and first.selected != second.selected
    if last is not None:
        if not disagree:
            raise InputError("was reconciled although nobody disagrees about it", item=image, remedy="Leave it out of the reconciliation")
        return _word(last), f"{_said(first)}, {_said(second)}; reconciled by {last.labeller}: {_yes(last)}"
    if first is None:
        return Verdict.OPEN, f"{_said(second)} in the second pass; the first is missing"
    if second is None:
        if not first.selected and settings.second_sees == "selected":
            return Verdict.REJECTED, f"{_said(first)} in the first pass"
        return Verdict.OPEN, f"{_said(first)}; waits for the second pass"
    if disagree:
        return Verdict.OPEN, f"{_said(first)}, {_said(second)}; waits for reconciliation"
    return _word(first), f"{_said(first)}, {_said(second)}"


def _word(judgement: Judgement) -> Verdict:
    return Verdict.ACCEPTED if judgement.selected else Verdict.REJECTED


def _yes(judgement: Judgement) -> str:
    return "yes" if judgement.selected else "no"


def _said(judgement: Judgement | None) -> str:
    return "nobody" if judgement is None else f"{judgement.labeller}: {_yes(judgement)}"
