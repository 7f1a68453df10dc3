"""Stage: the candidates of one class for reviewers, filtered and sorted, page by page; and everything known of one image.

What rarely changes (answers, dates) is kept per class in the order asked for; marks are read anew every time. A page
begins behind an image of the page before (keyset), so images that are marked meanwhile shift nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from retest.errors import NotFoundError, UsageError
from retest.records import Split
from retest.stages._common import display_variant
from retest.stages._review_checks import check_choice, check_limit
from retest.stages._review_counts import from_stored
from retest.stages._review_marks import EXCLUSION, PROBLEMATIC
from retest.stages._review_memo import Memo, generations_key
from retest.store import Tables
from retest.store.review_candidates import ClassMarks, ImageFacts
from retest.study import Study

__all__ = [
    "DUPLICATES",
    "SORTS",
    "YES_NO",
    "CandidateFilter",
    "CandidatePage",
    "CandidateView",
    "ImageDetails",
    "image_details",
    "list_candidates",
    "list_originals",
    "revision_names",
]

_VALUES: dict[str, Callable[[ImageFacts], Any]] = {
    "frequency": lambda image: image.frequency,
    "assignments": lambda image: image.num_assignments,
    "taken": lambda image: image.date_taken or None,
}
SORTS = (*_VALUES, "id")
YES_NO = ("any", "yes", "no")
DUPLICATES = ("any", "marked", "paired", "no")
MOST = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateFilter:
    """Which candidates of a class to show; None and "any" ask for all.

    Frequencies are 0 to 1, both ends included; an image without answers has none and fails every demand on it. ``bins`` are numbers
    of bins of matched sampling; ``only_targets`` keeps those in which the test set has places. Dates are ISO-8601 beginnings, such as
    2013 or 2013-07; ``taken_to`` is included. ``revision`` keeps the images of a revision.
    """

    min_frequency: float | None = None
    max_frequency: float | None = None
    bins: tuple[int, ...] = ()
    only_targets: bool = False
    min_assignments: int | None = None
    max_assignments: int | None = None
    taken_from: str | None = None
    taken_to: str | None = None
    near_duplicate: str = "any"
    excluded: str = "any"
    problematic: str = "any"
    revision: str | None = None


class Mark(NamedTuple):
    """The state of one kind of mark, and its version."""

    state: Any
    version: int


class CandidateView(NamedTuple):
    """An image as the class browser shows it. ``paired_with`` are its near-duplicates by decision, ``near_duplicate`` by resolution."""

    facts: ImageFacts
    exclusion: Mark = Mark(None, 0)
    problematic: Mark = Mark(None, 0)
    paired_with: tuple[str, ...] = ()
    near_duplicate: bool = False


@dataclass(frozen=True, slots=True)
class CandidatePage:
    """A page of candidates. ``total`` is counted for the first page only; ``next`` is the id to go on after (None: the end)."""

    items: tuple[CandidateView, ...]
    total: int | None
    next: str | None


@dataclass(frozen=True, slots=True)
class ImageDetails:
    """Everything known of an image: where it comes from, how often annotators selected it for which class, what was decided."""

    id: str
    kind: str
    wnid: str | None
    source: dict[str, str]
    frequencies: tuple[tuple[str, int, int], ...]
    """(wnid, times selected, assignments)"""
    exclusion: dict[str, str] | None
    problematic: str | None
    paired_with: tuple[str, ...]
    resolution: str | None
    revisions: tuple[str, ...]
    problem: str | None
    sha256: str | None


@dataclass(frozen=True, slots=True)
class _Ordered:
    images: tuple[ImageFacts, ...]
    position: dict[str, int]


def list_candidates(
    study: Study,
    memo: Memo,
    wnid: str,
    wanted: CandidateFilter,
    *,
    sort: str = "frequency",
    descending: bool = True,
    after: str | None = None,
    limit: int = 200,
) -> CandidatePage:
    """Candidates of a class in the order of ``sort``, equals by id; images without a value come last.

    Raises:
        UsageError: an unknown sort or choice, a bin that there is not, or a limit that is not 1 to 1000.
        NotFoundError: ``after`` is no candidate of the class, or there is no such revision.
    """
    _check(study, wanted, sort, limit)
    with study.database.read() as tables:
        ordered = _ordered(study, tables, memo, wnid, sort, descending)
        start = 0
        if after is not None:
            if after not in ordered.position:
                raise NotFoundError("the class has no such candidate", item=after, remedy="Start again at the first page")
            start = ordered.position[after] + 1
        by_marks = {wanted.excluded, wanted.problematic, wanted.near_duplicate} != {"any"}
        marks = tables.review_candidates.marks_of_class(wnid) if by_marks else None
        fits = _test(study, tables, wnid, wanted, marks)
        rest = ordered.images[start:]
        if fits is None:
            chosen, total = rest[: limit + 1], len(rest)
        else:
            fitting = filter(fits, rest)
            chosen = tuple(islice(fitting, limit + 1))
            total = len(chosen) + sum(1 for _ in fitting) if after is None else 0
        more, chosen = len(chosen) > limit, chosen[:limit]
        items = _views(study, tables, chosen)
    return CandidatePage(items, total if after is None else None, chosen[-1].id if more else None)


def list_originals(study: Study, memo: Memo, wnid: str, *, limit: int = 100) -> list[ImageFacts]:
    """The original validation images of a class (those of the test set where it has no validation images), by id.

    Raises:
        UsageError: the limit is not 1 to 1000.
    """
    check_limit(limit, MOST, remedy="Ask for fewer")
    variant = display_variant(study.config.images)
    with study.database.read() as tables:
        key = generations_key(tables.generations.of("originals", "selection_frequencies", "variants"))

        def load() -> list[ImageFacts]:
            found = tables.review_candidates.originals_of_class(wnid, variant, split=Split.VAL)
            return found or tables.review_candidates.originals_of_class(wnid, variant, split=Split.TEST)

        return memo.get(("originals", wnid), key, load)[:limit]


def revision_names(study: Study, memo: Memo) -> list[str]:
    """Names of all revisions."""
    with study.database.read() as tables:
        return memo.get("revision names", generations_key(tables.generations.of("revisions")), tables.revisions.names)


def image_details(study: Study, image_id: str) -> ImageDetails:
    """Everything known of one image.

    Raises:
        NotFoundError: the study has no such image.
    """
    with study.database.read() as tables:
        candidate = tables.candidates.get([image_id]).get(image_id)
        original = tables.originals.get([image_id]).get(image_id)
        if candidate is None and original is None:
            raise NotFoundError("the study has no such image", item=image_id, remedy="Check the id")
        exclusion = tables.exclusions.get([image_id]).get(image_id)
        resolution = tables.pairs.resolutions_of([image_id]).get(image_id)
        problem = tables.problems.get([image_id]).get(image_id)
        stored = tables.variants.get([image_id], display_variant(study.config.images)).get(image_id)
        pairs = tables.pairs.touching([image_id])
        return ImageDetails(
            id=image_id,
            kind="candidate" if candidate else "original",
            wnid=candidate.wnid if candidate else original.wnid if original else None,
            source=_source(candidate),
            frequencies=tuple(tables.review_candidates.frequencies_of(image_id)),
            exclusion=None if exclusion is None else {name: getattr(exclusion, name) for name in ("reason", "detail", "user", "time")},
            problematic=tables.flags.get([image_id]).get(image_id),
            paired_with=tuple(sorted({image for pair in pairs for image in pair} - {image_id})),
            resolution=resolution.reason if resolution else None,
            revisions=tuple(dict.fromkeys(name for name, _, _ in tables.revisions.containing(image_id))),
            problem=f"{problem[0]} {problem[1]}".strip() if problem else None,
            sha256=stored.sha256 if stored else None,
        )


_SOURCE_FIELDS = (
    "source",
    "photo_id",
    "title",
    "uploader",
    "owner",
    "license",
    "search_key",
    "date_taken",
    "date_uploaded",
    "url",
    "source_page",
)


def _source(candidate: Any) -> dict[str, str]:
    if candidate is None:
        return {}
    return {name: str(value) for name in _SOURCE_FIELDS if (value := getattr(candidate, name)) not in (None, "")}


def _check(study: Study, wanted: CandidateFilter, sort: str, limit: int) -> None:
    for name, value, known in (
        ("sort", sort, SORTS),
        ("near_duplicate", wanted.near_duplicate, DUPLICATES),
        ("excluded", wanted.excluded, YES_NO),
        ("problematic", wanted.problematic, YES_NO),
    ):
        check_choice(name, value, known)
    number = len(study.config.sampling.histogram_edges) + 1
    if any(not 0 <= index < number for index in wanted.bins):
        raise UsageError("there is no such bin", item="bins", remedy=f"Bins are numbered 0 to {number - 1}")
    check_limit(limit, MOST)


def _ordered(study: Study, tables: Tables, memo: Memo, wnid: str, sort: str, descending: bool) -> _Ordered:
    key = generations_key(tables.generations.of("candidates", "selection_frequencies"))

    def load() -> _Ordered:
        images = memo.get(("class", wnid), key, lambda: tables.review_candidates.facts_of_class(wnid))
        if sort in _VALUES:
            value = _VALUES[sort]
            images = sorted((i for i in images if value(i) is not None), key=value, reverse=descending) + [
                i for i in images if value(i) is None
            ]
        elif descending:
            images = images[::-1]
        return _Ordered(tuple(images), {image.id: number for number, image in enumerate(images)})

    return memo.get(("ordered", wnid, sort, descending), key, load)


def _test(
    study: Study, tables: Tables, wnid: str, wanted: CandidateFilter, marks: ClassMarks | None
) -> Callable[[ImageFacts], bool] | None:
    """One function of all conditions that are asked for; None when there are none."""
    tests: list[Callable[[ImageFacts], bool]] = []
    low, high = wanted.min_frequency, wanted.max_frequency
    if low is not None:
        tests.append(lambda image: image.frequency is not None and image.frequency >= low)
    if high is not None:
        tests.append(lambda image: image.frequency is not None and image.frequency <= high)
    bins = _wanted_bins(tables, wnid, wanted)
    if bins is not None:
        edges = study.config.sampling.histogram_edges
        tests.append(lambda image: image.frequency is not None and bisect_right(edges, image.frequency) in bins)
    least, most = wanted.min_assignments, wanted.max_assignments
    if least is not None:
        tests.append(lambda image: image.num_assignments >= least)
    if most is not None:
        tests.append(lambda image: image.num_assignments <= most)
    first, last = wanted.taken_from, wanted.taken_to
    if first:
        tests.append(lambda image: bool(image.date_taken) and (image.date_taken or "") >= first)
    if last:
        tests.append(lambda image: bool(image.date_taken) and (image.date_taken or "")[: len(last)] <= last)
    tests += [] if marks is None else _tests_of_marks(wanted, marks)
    if wanted.revision is not None:
        members = tables.review_candidates.of_revision(wanted.revision, wnid)
        if not members:  # for lack of the class, or of the revision?
            tables.revisions.require(wanted.revision)
        tests.append(lambda image: image.id in members)
    if len(tests) < 2:
        return tests[0] if tests else None
    return lambda image: all(test(image) for test in tests)


def _tests_of_marks(wanted: CandidateFilter, marks: ClassMarks) -> list[Callable[[ImageFacts], bool]]:
    tests: list[Callable[[ImageFacts], bool]] = []
    if wanted.excluded != "any":
        tests.append(lambda image: (image.id in marks.exclusions) == (wanted.excluded == "yes"))
    if wanted.problematic != "any":
        tests.append(lambda image: (image.id in marks.flags) == (wanted.problematic == "yes"))
    if wanted.near_duplicate == "no":
        tests.append(lambda image: image.id not in marks.near_duplicates and image.id not in marks.paired)
    elif wanted.near_duplicate != "any":
        among = marks.near_duplicates if wanted.near_duplicate == "marked" else marks.paired
        tests.append(lambda image: image.id in among)
    return tests


def _wanted_bins(tables: Tables, wnid: str, wanted: CandidateFilter) -> set[int] | None:
    bins = set(wanted.bins) or None
    if wanted.only_targets:
        stored = tables.class_counts.get(wnid)
        targets = from_stored(stored).target_bins if stored else ()
        with_places = {number for number, places in enumerate(targets) if places}
        return with_places if bins is None else bins & with_places
    return bins


def _views(study: Study, tables: Tables, images: Sequence[ImageFacts]) -> tuple[CandidateView, ...]:
    ids = [image.id for image in images]
    variant = display_variant(study.config.images)
    cards = tables.review_candidates.cards(ids, variant=variant, exclusion_kind=EXCLUSION, flag_kind=PROBLEMATIC)
    partners = tables.review_candidates.partners(ids)
    views = []
    for image in images:
        card = cards[image.id]
        views.append(
            CandidateView(
                ImageFacts(*image[:4], card.sha256, card.width, card.height),
                Mark(None if card.reason is None else {"reason": card.reason, "detail": card.detail}, card.exclusion_version),
                Mark(None if card.flag is None else {"detail": card.flag}, card.flag_version),
                tuple(sorted(partners.get(image.id, ()))),
                card.near_duplicate,
            )
        )
    return tuple(views)
