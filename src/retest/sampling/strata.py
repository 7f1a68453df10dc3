"""Filling the bins or strata of one class: carry over, draw, and take upward (method, section 7 b)."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class StratumDraw:
    """Ids that fill one stratum, in the order in which they are emitted: carried, drawn, taken from higher strata."""

    carried: list[str] = field(default_factory=list)
    drawn: list[str] = field(default_factory=list)
    upward: list[str] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        return [*self.carried, *self.drawn, *self.upward]


def draw_up_to(rng: random.Random, pool: Sequence[str], need: int) -> list[str]:
    """``need`` of the sorted ``pool`` by ``rng.sample``, also when it is all or none; the whole pool undrawn when it is too small."""
    return list(pool) if need > len(pool) else rng.sample(pool, need)


def sort_into(images: Iterable[str], stratum_of: Mapping[str, int], strata: int) -> list[list[str]]:
    """The images of each of ``strata`` strata, in the order given; an image of none is left out."""
    result: list[list[str]] = [[] for _ in range(strata)]
    for image in images:
        if image in stratum_of:
            result[stratum_of[image]].append(image)
    return result


def fill_strata(
    rng: random.Random,
    *,
    targets: Sequence[int],
    usable: Sequence[Sequence[str]],
    previous: Sequence[Sequence[str]],
    previous_ids: Collection[str],
    upward: bool,
) -> list[StratumDraw]:
    """Choose the images of one class, stratum by stratum in ascending order, draw for draw as the published algorithm.

    Args:
        rng: the generator of the whole call.
        targets: places per stratum.
        usable: usable candidate ids per stratum, sorted.
        previous: the usable images of the previous revision per stratum, in its order.
        previous_ids: every image that the previous revision has in the class.
        upward: whether a short stratum may take images of higher ones.
    """
    draws = [
        StratumDraw(carried=rng.sample(ids, target) if len(ids) > target else list(ids))
        for ids, target in zip(previous, targets, strict=True)
    ]
    rest: list[list[str]] = []
    for draw, target, ids in zip(draws, targets, usable, strict=True):
        carried = set(draw.carried)
        pool = [image for image in ids if image not in carried]
        draw.drawn = draw_up_to(rng, pool, target - len(draw.carried))
        drawn = set(draw.drawn)
        rest.append([image for image in pool if image not in drawn])
    if upward:
        _fill_from_above(rng, draws, targets, rest, previous_ids)
    return draws


def _fill_from_above(
    rng: random.Random, draws: list[StratumDraw], targets: Sequence[int], rest: list[list[str]], previous_ids: Collection[str]
) -> None:
    """Each short stratum in turn takes images, one at a time, of the nearest higher stratum that has any left."""
    for index, (draw, target) in enumerate(zip(draws, targets, strict=True)):
        while len(draw.ids) < target:
            pool = next((ids for ids in rest[index + 1 :] if ids), None)
            if pool is None:
                break
            known = next((image for image in pool if image in previous_ids), None)
            chosen = known if known is not None else rng.sample(pool, 1)[0]
            pool.remove(chosen)
            draw.upward.append(chosen)
