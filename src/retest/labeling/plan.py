"""Plan HITs: which candidates still need answers, and the pages that ask for them (method, sections 4 and "Settled details").

Everything here is a pure function of its arguments: equal inputs give equal HITs on every machine, whatever the order in
which the inputs arrive, and the plan of one class never depends on another class.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from retest.errors import ConfigError, InputError, UsageError
from retest.records import Candidate, Hit
from retest.settings import check_count, check_flag, plain_numbers

_NAMESPACE = uuid.UUID("5f9c1d0e-6a0f-5c0b-9a52-3f0a6f6e6a11")


@dataclass(frozen=True, slots=True)
@plain_numbers
class HitParameters:
    """How labelling pages are made. The defaults are the published study's: 42 candidates, 3 + 3 controls, 10 annotators."""

    images_to_label: int = field(default=42, metadata={"help": "images to label on one page, besides the controls"})
    positive_controls: int = field(default=3, metadata={"help": "original images of the class on each page"})
    negative_controls: int = field(default=3, metadata={"help": "original images of the most similar other class on each page"})
    assignments_per_hit: int = field(default=10, metadata={"help": "different annotators who answer each page"})
    min_assignments: int = field(default=10, metadata={"help": "valid answers that an image needs to count as labelled"})
    max_classes: int | None = field(default=None, metadata={"help": "plan only the first N classes in sorted order; empty means all"})
    skip_search_keys: tuple[str, ...] = field(default=(), metadata={"help": "search terms or classes whose images are not labelled"})
    count_outstanding: bool = field(
        default=True, metadata={"help": "count answers that open pages still wait for, so that nothing is bought twice"}
    )
    seed: int = field(default=0, metadata={"help": "seed of the order of candidates, the controls and the order on the page"})

    def __post_init__(self) -> None:
        least = {"images_to_label": 1, "positive_controls": 0, "negative_controls": 0, "assignments_per_hit": 1, "min_assignments": 1}
        if self.max_classes is not None:
            least["max_classes"] = 1
        for name, low in {**least, "seed": 0}.items():
            check_count(name, getattr(self, name), low=low, remedy=f"Set {name} to {low} or more.")
        check_flag("count_outstanding", self.count_outstanding)
        if isinstance(self.skip_search_keys, str) or not all(isinstance(key, str) for key in self.skip_search_keys):
            raise ConfigError("must be a list of strings", item="skip_search_keys", remedy='Write it as ["term", "other term"].')

    @property
    def images_per_hit(self) -> int:
        """Images on one page, controls included (48 by default)."""
        return self.images_to_label + self.positive_controls + self.negative_controls


@dataclass(frozen=True, slots=True)
class ClassImages:
    """What one class brings to a plan: images to label, and the originals that its controls are drawn from.

    ``positive_pool`` are validation images of the class, ``negative_pool`` those of the most similar other class. The order
    of the three does not matter.
    """

    wnid: str
    to_label: tuple[str, ...]
    positive_pool: tuple[str, ...]
    negative_pool: tuple[str, ...]


# --------------------------------------------------------------------------------------------- which candidates


@dataclass(frozen=True, slots=True)
class SkippedCandidate:
    """A candidate that needs no label now, with the first rule that said so (code) and the same in words."""

    candidate_id: str
    wnid: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class CandidateSelection:
    """Outcome of :func:`candidates_needing_labels`; both tuples are sorted by (wnid, id) and together hold every candidate once."""

    selected: tuple[Candidate, ...]
    skipped: tuple[SkippedCandidate, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Number of skipped candidates per code, plus ``selected``."""
        result = {"selected": len(self.selected)}
        for skipped in self.skipped:
            result[skipped.code] = result.get(skipped.code, 0) + 1
        return result

    def by_class(self) -> dict[str, tuple[str, ...]]:
        """The ids of the selected candidates per wnid, sorted: ready for :class:`ClassImages`."""
        ids: dict[str, list[str]] = {}
        for candidate in self.selected:
            ids.setdefault(candidate.wnid, []).append(candidate.id)
        return {wnid: tuple(members) for wnid, members in ids.items()}


def candidates_needing_labels(
    candidates: Iterable[Candidate],
    *,
    parameters: HitParameters,
    num_assignments: Mapping[tuple[str, str], int],
    outstanding: Mapping[tuple[str, str], int] | None = None,
    excluded: Collection[str] = (),
    near_duplicates_of_originals: Collection[str] = (),
    wnids: Iterable[str] | None = None,
) -> CandidateSelection:
    """Split candidates into those that still need answers and those that do not, each of these with a reason.

    The rules are checked in this order and the first that applies is recorded: ``class_limit``, ``skipped_search_key``,
    ``excluded``, ``near_duplicate_of_original``, ``labelled``, ``outstanding`` (method, section 4).

    Args:
        candidates: all candidates of the study, each once.
        parameters: ``min_assignments``, ``max_classes``, ``skip_search_keys`` and ``count_outstanding`` are used.
        num_assignments: valid assignments per (image id, wnid); absent means none.
        outstanding: answers that open HITs still wait for, per (image id, wnid), see :func:`outstanding_assignments`.
        excluded: ids on the exclusion list.
        near_duplicates_of_originals: ids whose component holds an original image.
        wnids: the benchmark's classes, of which ``max_classes`` takes the first in sorted order; by default those of the
            candidates.

    Raises:
        InputError: a candidate appears twice.
    """
    ordered = sorted(candidates, key=lambda candidate: (candidate.wnid, candidate.id))
    _refuse_repeats([candidate.id for candidate in ordered], "the candidates")
    classes = sorted({candidate.wnid for candidate in ordered} if wnids is None else set(wnids))
    allowed = frozenset(classes if parameters.max_classes is None else classes[: parameters.max_classes])
    excluded, near_duplicates = frozenset(excluded), frozenset(near_duplicates_of_originals)
    expected = (outstanding or {}) if parameters.count_outstanding else {}

    selected: list[Candidate] = []
    skipped: list[SkippedCandidate] = []
    for candidate in ordered:
        why = _reason_to_skip(candidate, parameters, allowed, excluded, near_duplicates, num_assignments, expected)
        if why is None:
            selected.append(candidate)
        else:
            skipped.append(SkippedCandidate(candidate.id, candidate.wnid, *why))
    return CandidateSelection(tuple(selected), tuple(skipped))


def _reason_to_skip(
    candidate: Candidate,
    parameters: HitParameters,
    allowed: frozenset[str],
    excluded: frozenset[str],
    near_duplicates: frozenset[str],
    num_assignments: Mapping[tuple[str, str], int],
    expected: Mapping[tuple[str, str], int],
) -> tuple[str, str] | None:
    key = (candidate.id, candidate.wnid)
    if candidate.wnid not in allowed:
        limit = f"the first {parameters.max_classes} classes" if parameters.max_classes is not None else "the benchmark's classes"
        return "class_limit", f"class {candidate.wnid} is not among {limit}"
    for name in (candidate.search_key, candidate.wnid):
        if name is not None and name in parameters.skip_search_keys:
            return "skipped_search_key", f"{name!r} is on the list skip_search_keys"
    if candidate.id in excluded:
        return "excluded", "on the exclusion list"
    if candidate.id in near_duplicates:
        return "near_duplicate_of_original", "near-duplicate of an original image"
    valid = num_assignments.get(key, 0)
    if valid >= parameters.min_assignments:
        return "labelled", f"has {valid} valid assignments, needs {parameters.min_assignments}"
    if valid + expected.get(key, 0) >= parameters.min_assignments:
        return (
            "outstanding",
            f"has {valid} valid assignments and open HITs still wait for {expected[key]}, needs {parameters.min_assignments}",
        )
    return None


def outstanding_assignments(hits: Iterable[Hit], missing: Mapping[str, int]) -> dict[tuple[str, str], int]:
    """Answers still to come, per (image id, wnid), controls included.

    Args:
        hits: HITs in any state.
        missing: uuid of an open HIT -> assignments that were asked for and not yet received; HITs not named are closed.

    Raises:
        UsageError: a number is negative.
    """
    result: dict[tuple[str, str], int] = {}
    for hit in hits:
        number = missing.get(hit.uuid, 0)
        if number < 0:
            raise UsageError(f"{number} missing assignments", item=f"HIT {hit.uuid}", remedy="Give 0 for a HIT that has all its answers.")
        for image in hit.images_all if number else ():
            result[image, hit.wnid] = result.get((image, hit.wnid), 0) + number
    return result


# ------------------------------------------------------------------------------------------------------ the HITs


def plan_hits(classes: Iterable[ClassImages], parameters: HitParameters, *, taken_uuids: Collection[str] = ()) -> list[Hit]:
    """Cut the images to label into HITs (method, section 4 and "Settled details").

    Per class, with one generator seeded from (seed, wnid): the sorted ids are shuffled once and cut into chunks of
    ``images_to_label``; a short last chunk is topped up without replacement from the class's earlier chunks; a class with
    fewer images than one chunk gets extra controls instead, half positive (rounded up) and half negative. Controls are
    drawn without replacement for each HIT. The order on the page is shuffled.

    Args:
        classes: each class once; a class without images to label gives no HIT.
        parameters: page size, controls and seed.
        taken_uuids: uuids of the study's HITs. A HIT that would repeat one of them word for word (possible when a whole page
            must be asked again) gets the next uuid in line, so that it is not mistaken for a retry of the old one.

    Returns:
        HITs sorted by wnid, then chunk; ``images_to_label`` and the controls in drawn order. ``uuid`` is a version 5 uuid
        over content and seed: planning equal inputs again gives the same HITs.

    Raises:
        InputError: too few controls, or an image in two roles, with the class named; a class given twice.
    """
    return _plan(classes, parameters, taken_uuids, _candidate_pool)


def plan_original_hits(classes: Iterable[ClassImages], parameters: HitParameters, *, taken_uuids: Collection[str] = ()) -> list[Hit]:
    """Cut *original* images into HITs of the same page, so that they get selection frequencies of their own.

    Matched-frequency sampling needs original images with enough assignments. ``to_label`` are original images of the class
    and may be part of ``positive_pool``: the positive controls of a HIT are drawn from those not in its own chunk. All
    else is as in :func:`plan_hits`.

    Raises:
        InputError: as :func:`plan_hits`.
    """
    return _plan(classes, parameters, taken_uuids, _original_pool)


def _candidate_pool(images: ClassImages, chunk: Sequence[str]) -> list[str]:
    return sorted(images.positive_pool)


def _original_pool(images: ClassImages, chunk: Sequence[str]) -> list[str]:
    return sorted(set(images.positive_pool).difference(chunk))


_Pool = Callable[[ClassImages, Sequence[str]], list[str]]


def _plan(classes: Iterable[ClassImages], parameters: HitParameters, taken_uuids: Collection[str], pool: _Pool) -> list[Hit]:
    ordered = sorted(classes, key=lambda images: images.wnid)
    _refuse_repeats([images.wnid for images in ordered], "the classes of the plan")
    taken = set(taken_uuids)
    hits: list[Hit] = []
    for images in ordered:
        _check_class(images, originals=pool is _original_pool)
        hits.extend(_plan_class(images, parameters, taken, pool))
    return hits


def _check_class(images: ClassImages, *, originals: bool) -> None:
    for name in ("to_label", "positive_pool", "negative_pool"):
        _refuse_repeats(getattr(images, name), f"{name} of class {images.wnid}")
    to_label, positive, negative = set(images.to_label), set(images.positive_pool), set(images.negative_pool)
    clashes = {"both control pools": positive & negative, "to_label and negative_pool": to_label & negative}
    if not originals:
        clashes["to_label and positive_pool"] = to_label & positive
    for where, shared in clashes.items():
        if shared:
            raise InputError(
                f"image {min(shared)} is in {where}", item=f"class {images.wnid}", remedy="An image can have only one role on a page."
            )


def _plan_class(images: ClassImages, parameters: HitParameters, taken: set[str], pool: _Pool) -> list[Hit]:
    rng = random.Random(json.dumps([parameters.seed, images.wnid]))
    negative_pool = sorted(images.negative_pool)
    hits = []
    for chunk in _chunks(images.to_label, parameters.images_to_label, rng):
        extra = parameters.images_to_label - len(chunk)
        extra_positive = (extra + 1) // 2
        positive = _draw(rng, pool(images, chunk), parameters.positive_controls + extra_positive, images.wnid, "positive")
        negative = _draw(rng, negative_pool, parameters.negative_controls + extra - extra_positive, images.wnid, "negative")
        page = [*chunk, *positive, *negative]
        rng.shuffle(page)
        hits.append(_make_hit(images.wnid, (tuple(chunk), tuple(positive), tuple(negative), tuple(page)), parameters.seed, taken))
    return hits


def _chunks(to_label: Sequence[str], size: int, rng: random.Random) -> list[list[str]]:
    order = sorted(to_label)
    rng.shuffle(order)
    chunks = [order[start : start + size] for start in range(0, len(order), size)]
    if len(chunks) > 1 and len(chunks[-1]) < size:
        earlier = order[: size * (len(chunks) - 1)]
        chunks[-1] = chunks[-1] + rng.sample(earlier, size - len(chunks[-1]))
    return chunks


def _draw(rng: random.Random, pool: list[str], number: int, wnid: str, kind: str) -> list[str]:
    if number > len(pool):
        raise InputError(
            f"a HIT needs {number} {kind} controls and there are only {len(pool)}",
            item=f"class {wnid}",
            remedy=f"Add original images to the {kind} pool of the class, or lower {kind}_controls or images_to_label; "
            "to leave the class out, name it in skip_search_keys.",
        )
    return rng.sample(pool, number)


_Roles = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]


def _make_hit(wnid: str, roles: _Roles, seed: int, taken: set[str]) -> Hit:
    attempt = 0
    while True:
        content = json.dumps([seed, wnid, *roles, *([attempt] if attempt else [])], separators=(",", ":"))
        name = str(uuid.uuid5(_NAMESPACE, content))
        if name not in taken:
            break
        attempt += 1
    taken.add(name)
    to_label, positive, negative, page = roles
    return Hit(uuid=name, wnid=wnid, images_to_label=to_label, images_pos_control=positive, images_neg_control=negative, images_all=page)


def _refuse_repeats(names: Sequence[str], where: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"appears twice in {where}", item=name, remedy="Give each one once.")
        seen.add(name)
