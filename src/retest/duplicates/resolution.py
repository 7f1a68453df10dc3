"""Which candidates of a component are near-duplicates and which one stays, each with its reason (method, section 6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from retest.duplicates.graph import Component, components
from retest.duplicates.parameters import ResolutionParameters
from retest.errors import InputError
from retest.records import Resolution


@dataclass(frozen=True, slots=True)
class DuplicateCandidate:
    """What resolution needs to know of a candidate.

    ``frequency`` is its selection frequency for its own class, None when it has no valid assignment. ``source`` and
    ``photo_id`` name the photo. A candidate that is only known by reference has neither class nor photo: leave them empty.
    """

    id: str
    wnid: str = ""
    source: str = ""
    photo_id: str = ""
    frequency: float | None = None
    excluded: bool = False

    @property
    def score(self) -> float:
        """Selection frequency with which the candidate competes: 0.0 when it is excluded or unlabelled."""
        return 0.0 if self.excluded or self.frequency is None else self.frequency


@dataclass(frozen=True, slots=True)
class DuplicateStats:
    """Figures of a resolved study. ``sizes`` maps the number of images in a component to the number of such components."""

    components: int
    components_with_original: int
    candidates: int
    marked: int
    sizes: Mapping[int, int]


def find_components(
    candidates: Iterable[DuplicateCandidate], pairs: Iterable[tuple[str, str]], *, is_original: Callable[[str], bool]
) -> list[Component]:
    """Components of near-duplicate pairs and equal photos. Excluded candidates take part like any other.

    Args:
        candidates: all candidates of the study; those with equal (source, photo id) are joined, in a pair or not.
        pairs: near-duplicate pairs over candidates and original images, in one direction or both.
        is_original: whether an id names an image of the original benchmark.

    Raises:
        InputError: a candidate is given twice, or has the id of an original image.
    """
    known = _by_id(candidates, is_original)
    return components(pairs, same_photo=_photo_groups(known.values()))


def resolve(
    candidates: Iterable[DuplicateCandidate],
    pairs: Iterable[tuple[str, str]],
    *,
    is_original: Callable[[str], bool],
    overrides: Collection[str] = frozenset(),
    parameters: ResolutionParameters | None = None,
    good_images: Mapping[str, int] | None = None,
) -> list[Resolution]:
    """Decide for every candidate in some component whether it is a near-duplicate, and say why (method, section 6).

    A pure function of its inputs and independent of their order. An id in a pair that is neither a candidate nor an
    original image is treated as a candidate without class, photo and answers. Candidates outside every component are not
    near-duplicates and do not appear.

    Args:
        candidates: all candidates of the study, as the good ones are counted over the whole class; with ``good_images`` those that
            are in a pair or share their photo with another one are enough.
        pairs: near-duplicate pairs over candidates and original images, in one direction or both.
        is_original: whether an id names an image of the original benchmark.
        overrides: candidates that stay even against the rule. No effect in a component with an original image.
        parameters: thresholds of the rule.
        good_images: wnid -> how many of its candidates are good: not excluded, with a frequency of at least ``good_threshold``.
            By default they are counted among ``candidates``.

    Returns:
        One :class:`~retest.records.Resolution` per candidate in a component, sorted by candidate id.

    Raises:
        InputError: two or more members of a component without original image are on the override list; a candidate is
            given twice, or has the id of an original image.
    """
    settings = parameters or ResolutionParameters()
    known = _by_id(candidates, is_original)
    edges = {(first, second) for first, second in pairs if first != second}
    good = _count_good(known.values(), settings) if good_images is None else Counter(good_images)
    linked = _links(edges)
    result: list[Resolution] = []
    for component in components(edges, same_photo=_photo_groups(known.values())):
        originals = [member for member in component.members if is_original(member)]
        members = [known.get(member) or DuplicateCandidate(member) for member in component.members if not is_original(member)]
        if originals:
            result += [_duplicate_of_original(member.id, component, originals, linked) for member in members]
        else:
            result += _keep_one(component, members, good, overrides, settings)
    return sorted(result, key=lambda resolution: resolution.candidate_id)


def duplicate_stats(found: Iterable[Component], resolutions: Iterable[Resolution], *, is_original: Callable[[str], bool]) -> DuplicateStats:
    """Count components, those with an original image, the candidates in them, the marked ones, and the sizes.

    Args:
        found: the study's components.
        resolutions: what became of their candidates.
        is_original: whether an id names an image of the original benchmark.
    """
    listed = list(found)
    outcomes = list(resolutions)
    return DuplicateStats(
        components=len(listed),
        components_with_original=sum(any(map(is_original, component.members)) for component in listed),
        candidates=len(outcomes),
        marked=sum(resolution.near_duplicate for resolution in outcomes),
        sizes=dict(sorted(Counter(len(component.members) for component in listed).items())),
    )


def _by_id(candidates: Iterable[DuplicateCandidate], is_original: Callable[[str], bool]) -> dict[str, DuplicateCandidate]:
    known: dict[str, DuplicateCandidate] = {}
    for candidate in candidates:
        if candidate.id in known:
            raise InputError("the candidate is given twice", item=candidate.id, remedy="Pass every candidate once, with its own class")
        if is_original(candidate.id):
            raise InputError(
                "the candidate has the id of an original image", item=candidate.id, remedy="Give candidates ids that no original image has"
            )
        known[candidate.id] = candidate
    return known


def _photo_groups(candidates: Iterable[DuplicateCandidate]) -> list[list[str]]:
    photos: dict[tuple[str, str], list[str]] = {}
    for candidate in candidates:
        if candidate.photo_id:
            photos.setdefault((candidate.source, candidate.photo_id), []).append(candidate.id)
    return [group for group in photos.values() if len(group) > 1]


def _count_good(candidates: Iterable[DuplicateCandidate], settings: ResolutionParameters) -> Counter[str]:
    return Counter(
        candidate.wnid
        for candidate in candidates
        if not candidate.excluded and candidate.frequency is not None and candidate.frequency >= settings.good_threshold
    )


def _links(edges: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    linked: dict[str, set[str]] = {}
    for first, second in edges:
        linked.setdefault(first, set()).add(second)
        linked.setdefault(second, set()).add(first)
    return linked


def _duplicate_of_original(candidate_id: str, component: Component, originals: list[str], linked: Mapping[str, set[str]]) -> Resolution:
    direct = linked.get(candidate_id, set()).intersection(originals)
    if direct:
        reason = f"near-duplicate of original {min(direct)}"
    else:
        reason = f"near-duplicate of original {originals[0]}, through others in the component"
    return Resolution(candidate_id, True, component.name, reason)


def _keep_one(
    component: Component,
    members: list[DuplicateCandidate],
    good: Mapping[str, int],
    overrides: Collection[str],
    settings: ResolutionParameters,
) -> list[Resolution]:
    listed = [member for member in members if member.id in overrides]
    if len(listed) > 1:
        names = ", ".join(member.id for member in listed)
        raise InputError(
            f"{len(listed)} images of one near-duplicate component are on the override list: {names}",
            item=component.name,
            remedy="Leave at most one of them on the list",
        )
    if listed:
        kept, why = listed[0], "on the override list"
    else:
        kept, why = _choose(members, good, settings)
    return [
        Resolution(member.id, False, component.name, f"kept: {why}")
        if member is kept
        else Resolution(member.id, True, component.name, f"near-duplicate of {kept.id}, which is kept: {why}")
        for member in members
    ]


def _choose(members: list[DuplicateCandidate], good: Mapping[str, int], settings: ResolutionParameters) -> tuple[DuplicateCandidate, str]:
    """Step 3 of the rule: first the class, then the image of that class."""
    scores: dict[str, float] = {}
    for member in members:
        scores[member.wnid] = max(scores.get(member.wnid, 0.0), member.score)
    eligible = [wnid for wnid, score in scores.items() if score >= settings.class_threshold]
    if not eligible:
        eligible = [wnid for wnid, score in scores.items() if score >= settings.fallback_class_threshold]
    if eligible:
        wnid = min(eligible, key=lambda wnid: (good.get(wnid, 0), wnid))
        choice = "only class" if len(scores) == 1 else "only eligible class" if len(eligible) == 1 else "smallest class"
    else:
        wnid = max(scores, key=lambda wnid: (scores[wnid], wnid))
        choice = "only class" if len(scores) == 1 else "class of the highest score"
    kept = max((member for member in members if member.wnid == wnid), key=lambda member: (member.score, member.id))
    return kept, f"{choice} {wnid or '(unknown)'}, {_frequency_text(kept)}"


def _frequency_text(candidate: DuplicateCandidate) -> str:
    if candidate.frequency is None:
        return "no selection frequency"
    text = f"frequency {round(candidate.frequency, 4):g}"
    return f"{text}, excluded" if candidate.excluded else text
