"""How much annotators agree, and how far the frequencies depend on some of them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from retest.errors import UsageError
from retest.labeling.frequency import FrequencyCounter
from retest.records import Assignment, Hit, SelectionFrequency


@dataclass(frozen=True, slots=True)
class Agreement:
    """Krippendorff's alpha for nominal data. ``alpha`` is None where it is undefined: no unit with two values, or one value only."""

    alpha: float | None
    units: int
    """Units with at least two values; others cannot be paired and do not count."""
    values: int
    observed_disagreement: float
    expected_disagreement: float


def krippendorff_alpha(counts: ArrayLike) -> Agreement:
    """Krippendorff's alpha, nominal metric, any number of annotators, missing values allowed.

    With n_uc values c in unit u, m_u values in unit u (units with m_u < 2 dropped), n_c = sum_u n_uc and n = sum_c n_c:
    D_o = (1/n) sum_u (m_u^2 - sum_c n_uc^2) / (m_u - 1), D_e = (n^2 - sum_c n_c^2) / (n (n - 1)), alpha = 1 - D_o / D_e.

    Args:
        counts: integers >= 0, shape (units, categories): how often each value was given to each unit.

    Raises:
        UsageError: ``counts`` is not such a table.

    References:
        Krippendorff (2011), Computing Krippendorff's Alpha-Reliability, section C with the nominal difference function.
    """
    table = np.asarray(counts)
    if table.ndim != 2 or not np.issubdtype(table.dtype, np.integer) or (table.size and table.min() < 0):
        raise UsageError("must be a table of whole numbers, units by categories", item="counts", remedy="Count each value per unit.")
    table = table.astype(np.float64)
    table = table[table.sum(axis=1) >= 2]
    per_unit, per_category = table.sum(axis=1), table.sum(axis=0)
    total = float(per_unit.sum())
    if not total:
        return Agreement(None, 0, 0, 0.0, 0.0)
    observed = float(((per_unit**2 - (table**2).sum(axis=1)) / (per_unit - 1)).sum() / total)
    expected = float((total**2 - (per_category**2).sum()) / (total * (total - 1)))
    return Agreement(1 - observed / expected if expected else None, len(table), int(total), observed, expected)


def agreement_of_frequencies(frequencies: Iterable[SelectionFrequency]) -> Agreement:
    """Krippendorff's alpha of "selected or not" over all (image, class) pairs; values within a pair are interchangeable."""
    counts = np.array([(item.num_selected, item.num_assignments - item.num_selected) for item in frequencies], dtype=np.int64)
    return krippendorff_alpha(counts.reshape(-1, 2))


@dataclass(frozen=True, slots=True)
class FrequencyChange:
    """One (image, class) with all answers and without those left out."""

    image_id: str
    wnid: str
    all_answers: SelectionFrequency
    kept_answers: SelectionFrequency

    @property
    def change(self) -> float | None:
        """Kept minus all; None when no answer is kept."""
        return self.kept_answers.value - self.all_answers.value if self.kept_answers.num_assignments else None


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """How far the frequencies move when some annotators are left out. Changes are fractions."""

    left_out: tuple[str, ...]
    assignments_left_out: int
    mean_absolute_change: float
    max_absolute_change: float
    threshold: float
    now_above: int
    """(image, class) pairs that rise to the threshold or above."""
    now_below: int
    """(image, class) pairs that fall below it."""
    without_answers: int
    """(image, class) pairs that had answers and keep none; they enter no other figure."""
    changes: tuple[FrequencyChange, ...]
    """Pairs whose counts changed, largest absolute change first."""


def sensitivity(
    hits: Iterable[Hit],
    assignments: Iterable[Assignment],
    left_out: Collection[str],
    *,
    excluded_hits: Collection[str] = (),
    threshold: float = 0.7,
) -> Sensitivity:
    """Compare the selection frequencies with those without the answers of the annotators ``left_out``.

    Args:
        hits: as for :func:`retest.labeling.frequency.selection_frequencies`.
        assignments: likewise; consumed once.
        left_out: annotators whose answers are dropped.
        excluded_hits: HITs that count nowhere.
        threshold: the selection frequency whose crossings are counted.

    Raises:
        UsageError: the threshold is not between 0 and 1.
        InputError: a HIT appears twice.
    """
    return sensitivity_in_parts([(hits, assignments)], left_out, excluded_hits=excluded_hits, threshold=threshold)


def sensitivity_in_parts(
    parts: Iterable[tuple[Iterable[Hit], Iterable[Assignment]]],
    left_out: Collection[str],
    *,
    excluded_hits: Collection[str] = (),
    threshold: float = 0.7,
) -> Sensitivity:
    """:func:`sensitivity` of a study that comes in parts, such as class by class: only one part is held at a time.

    Args:
        parts: HITs and the answers to them; the HITs of a class are in one part.
        left_out: annotators whose answers are dropped; without any nothing is read.
        excluded_hits: HITs that count nowhere.
        threshold: the selection frequency whose crossings are counted.

    Raises:
        UsageError: the threshold is not between 0 and 1.
        InputError: a HIT appears twice in a part.
    """
    if not 0 <= threshold <= 1:
        raise UsageError(f"must be between 0 and 1, not {threshold!r}", item="threshold", remedy="The published study used 0.7.")
    names = frozenset([left_out] if isinstance(left_out, str) else left_out)
    left = 0

    def pairs() -> Iterator[tuple[SelectionFrequency, SelectionFrequency]]:
        nonlocal left
        for hits, assignments in parts if names else ():
            everyone, kept = FrequencyCounter(excluded_hits=excluded_hits), FrequencyCounter(excluded_hits=excluded_hits)
            for hit in hits:
                everyone.add_hit(hit)
                kept.add_hit(hit)
            for assignment in assignments:
                everyone.add_assignment(assignment)
                if assignment.worker not in names:
                    kept.add_assignment(assignment)
            left += everyone.report.counts["counted"] - kept.report.counts["counted"]
            yield from zip(everyone.frequencies(), kept.frequencies(), strict=True)

    compared = _compare(pairs(), tuple(sorted(names)), threshold)
    return replace(compared, assignments_left_out=left)


def _compare(pairs: Iterable[tuple[SelectionFrequency, SelectionFrequency]], names: tuple[str, ...], threshold: float) -> Sensitivity:
    changes: list[FrequencyChange] = []
    absolute: list[float] = []
    above = below = lost = 0
    for before, after in pairs:
        if not before.num_assignments:
            continue
        change = FrequencyChange(before.image_id, before.wnid, before, after)
        if after.num_assignments != before.num_assignments:
            changes.append(change)
        if change.change is None:
            lost += 1
            continue
        absolute.append(abs(change.change))
        above += before.value < threshold <= after.value
        below += after.value < threshold <= before.value
    changes.sort(key=lambda item: (-abs(item.change or 0.0), item.wnid, item.image_id))
    return Sensitivity(
        left_out=names,
        assignments_left_out=0,
        mean_absolute_change=math.fsum(absolute) / len(absolute) if absolute else 0.0,
        max_absolute_change=max(absolute, default=0.0),
        threshold=threshold,
        now_above=above,
        now_below=below,
        without_answers=lost,
        changes=tuple(changes),
    )
