"""Stage: the review of a revision for the web: class after class, split among reviewers, carried over; facts, checks and differences."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from retest.errors import NotFoundError, UsageError
from retest.records import ClassInfo, ClassReview, Revision, SelectionFrequency, Split
from retest.sampling import CandidateFacts, RevisionDiff, RevisionWarning, carry_over_reviews, check_revision, diff_revisions
from retest.stages._ledger import CLASS_REVIEW, class_item, class_state
from retest.stages._review_checks import check_choice, check_limit
from retest.stages._review_core import Change
from retest.stages._review_images import ImageView, view_images
from retest.stages._review_memo import Memo, Recent, generations_key
from retest.stages._review_names import class_name, known_classes
from retest.store import RevisionSummary, Tables
from retest.study import Study

__all__ = [
    "CLASS_REVIEW",
    "ONLY",
    "ClassPage",
    "ClassView",
    "RevisionFacts",
    "RevisionRow",
    "carried_over",
    "class_item",
    "class_view",
    "difference",
    "facts",
    "list_classes",
    "list_revisions",
]

ONLY = ("all", "open", "bad")
_INPUTS = ("revisions", "selection_frequencies", "exclusions", "image_flags", "resolutions", "candidates", "originals")
_CHECKED = "checks of a revision"
_MANY_IMAGES = 2000  # of more the checks are made aside


@dataclass(frozen=True, slots=True)
class RevisionRow:
    """A class of a revision: how many images, what was found, and how many warnings concern it."""

    wnid: str
    name: str
    images: int
    reviewed: bool
    problematic: bool
    warnings: int


@dataclass(frozen=True, slots=True)
class ClassPage:
    """A page of classes; ``total`` of them fit, ``reviewed`` of those are done; ``next`` goes on behind it (None: the end).

    Warnings of a large revision are brought up to date beside the requests: ``current`` says whether they are.
    """

    rows: tuple[RevisionRow, ...]
    total: int
    reviewed: int
    next: str | None
    current: bool = True


@dataclass(frozen=True, slots=True)
class ClassView:
    """A class of a revision beside original images, with its review and the classes before and after it in this part of the work."""

    revision: str
    row: RevisionRow
    gloss: str
    images: tuple[ImageView, ...]
    originals: tuple[ImageView, ...]
    warnings: tuple[str, ...]
    version: int
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class RevisionFacts:
    """A revision on one page. Frequencies are of its labelled images; ``warnings`` are counted per check.

    Checks of a large revision are brought up to date beside the requests: ``current`` says whether they are.
    """

    summary: RevisionSummary
    classes: int
    smallest_class: int
    largest_class: int
    min_frequency: float | None
    mean_frequency: float | None
    fewest_assignments: int
    reviewed: int
    problematic: int
    warnings: tuple[RevisionWarning, ...]
    counts: dict[str, int]
    current: bool = True


@dataclass(frozen=True, slots=True)
class _Contents:
    """A revision, its images by class, and the classes of each image; a revision never changes."""

    revision: Revision
    by_class: dict[str, tuple[str, ...]]
    classes: dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Checked:
    """What the checks say of a revision, by class, and the figures of its labelled images."""

    warnings: dict[str, tuple[RevisionWarning, ...]]
    min_frequency: float | None
    mean_frequency: float | None
    fewest_assignments: int


def list_revisions(study: Study) -> list[RevisionSummary]:
    """Every revision without its images, by name."""
    with study.database.read() as tables:
        return tables.revisions.summaries()


def list_classes(
    study: Study, memo: Memo, name: str, *, only: str = "all", part: int = 1, parts: int = 1, after: str = "", limit: int = 100
) -> ClassPage:
    """Classes of a revision by wnid.

    Args:
        study: an open study.
        memo: where a revision and its checks are kept.
        name: the revision.
        only: ``all``, ``open`` (not reviewed) or ``bad`` (problematic, or with a warning).
        part: which share of the work, from 1; class i of all sorted classes belongs to part i mod ``parts``, whatever is done already.
        parts: among how many reviewers the work is split.
        after: wnid of the last class of the page before.
        limit: classes of a page, 1 to 1000.

    Raises:
        NotFoundError: there is no such revision.
        UsageError: an unknown choice, part or limit.
    """
    _check_part(only, part, parts)
    check_limit(limit, 1000)
    with study.database.read() as tables:
        known, key = _contents(tables, memo, name), _key(tables)
        reviews = tables.revisions.reviews(name)
        infos = known_classes(tables, memo)
    checked = _checked(study, memo, name, key)
    fits = _fitting(known, checked.value, reviews, only, part, parts)
    page = fits[bisect_right(fits, after) :]
    rows = tuple(_row(known, infos, reviews.get(wnid), wnid, len(checked.value.warnings.get(wnid, ()))) for wnid in page[:limit])
    done = sum(wnid in reviews and reviews[wnid].reviewed for wnid in fits)
    return ClassPage(rows, len(fits), done, page[limit - 1] if len(page) > limit else None, checked.current)


def class_view(
    study: Study, memo: Memo, name: str, wnid: str, *, only: str = "all", part: int = 1, parts: int = 1, originals: int = 10
) -> ClassView:
    """One class of a revision beside some of the original images.

    Raises:
        NotFoundError: there is no such revision, or it has no such class.
        UsageError: an unknown choice or part, or ``originals`` is not 0 to 200.
    """
    if not 0 <= originals <= 200:
        raise UsageError(f"must be 0 to 200, is {originals}", item="originals", remedy="Ask for fewer")
    _check_part(only, part, parts)
    with study.database.read() as tables:
        known, key = _contents(tables, memo, name), _key(tables)
        if wnid not in known.by_class:
            raise NotFoundError(f"revision {name} has no such class", item=wnid, remedy="See its classes")
        reviews = tables.revisions.reviews(name)
        warnings = _warnings_of_class(study, tables, known, wnid)
        infos = known_classes(tables, memo)
        row = _row(known, infos, reviews.get(wnid), wnid, len(warnings))
        ids = known.by_class[wnid]
        some = tables.originals.ids(split=Split.VAL, wnid=wnid, limit=originals + len(ids))
        shown = [image for image in some if image not in ids][:originals]
        views = view_images(study, tables, [*ids, *shown], wnid=wnid)
        item = class_item(name, wnid)
        latest = tables.decisions.latest(CLASS_REVIEW, [item]).get(item)
    order = _fitting(known, _checked(study, memo, name, key).value, reviews, only, part, parts)
    place = bisect_left(order, wnid)
    following = order[bisect_right(order, wnid) :][:1]
    return ClassView(
        revision=name,
        row=row,
        gloss=infos[wnid].gloss if wnid in infos else "",
        images=tuple(views[image] for image in ids),
        originals=tuple(views[image] for image in shown),
        warnings=tuple(str(warning) for warning in warnings),
        version=latest.no if latest else 0,
        before=order[place - 1] if place else None,
        after=following[0] if following else None,
    )


def facts(study: Study, memo: Memo, name: str) -> RevisionFacts:
    """Sizes, frequencies, checks and review of a revision, by what the study knows now.

    Raises:
        NotFoundError: there is no such revision.
    """
    with study.database.read() as tables:
        known, key = _contents(tables, memo, name), _key(tables)
        summaries = memo.get("revisions", generations_key(tables.generations.of("revisions")), tables.revisions.summaries)
        reviewed, problematic = tables.revisions.review_counts().get(name, (0, 0))
    checked = _checked(study, memo, name, key)
    sizes = [len(images) for images in known.by_class.values()] or [0]
    warnings = tuple(warning for found in checked.value.warnings.values() for warning in found)
    counts: dict[str, int] = {}
    for warning in warnings:
        counts[str(warning.check)] = counts.get(str(warning.check), 0) + 1
    return RevisionFacts(
        summary=next(one for one in summaries if one.name == name),
        classes=len(known.by_class),
        smallest_class=min(sizes),
        largest_class=max(sizes),
        min_frequency=checked.value.min_frequency,
        mean_frequency=checked.value.mean_frequency,
        fewest_assignments=checked.value.fewest_assignments,
        reviewed=reviewed,
        problematic=problematic,
        warnings=warnings[:500],
        counts=counts,
        current=checked.current,
    )


def difference(study: Study, memo: Memo, old: str, new: str) -> RevisionDiff:
    """What changed between two revisions.

    Raises:
        NotFoundError: one of them does not exist.
    """
    with study.database.read() as tables:
        key = generations_key(tables.generations.of("revisions"))
        before, after = _contents(tables, memo, old).revision, _contents(tables, memo, new).revision
    return memo.get(("difference", old, new), key, lambda: diff_revisions(before, after))


def carried_over(study: Study, old: str, new: str) -> list[Change]:
    """The decisions that carry reviews over: a class stays reviewed if its images did not change and it was not problematic.

    What has been decided about ``new`` itself is left alone.

    Raises:
        NotFoundError: one of the revisions does not exist.
    """
    with study.database.read() as tables:
        before, after = tables.revisions.get(old), tables.revisions.get(new)
        known = tables.revisions.reviews(new)
        carried = carry_over_reviews(tables.revisions.reviews(old).values(), before, after)
        fresh = ClassReview(new, "", reviewed=False, problematic=False)
        wanted = [r.wnid for r in carried if r.reviewed and not (known.get(r.wnid, fresh).reviewed or known.get(r.wnid, fresh).problematic)]
        latest = tables.decisions.latest(CLASS_REVIEW, [class_item(new, wnid) for wnid in wanted])
    none, done = class_state(None), class_state(ClassReview(new, "", reviewed=True, problematic=False))
    items = [class_item(new, wnid) for wnid in wanted]
    return [Change(CLASS_REVIEW, item, done, latest[item].no if item in latest else 0, none) for item in items]


def _check_part(only: str, part: int, parts: int) -> None:
    check_choice("only", only, ONLY)
    if not 1 <= part <= parts <= 100:
        raise UsageError(f"is {part} of {parts}", item="part", remedy="Split the work into 1 to 100 parts and take one of them, from 1 on")


def _fitting(known: _Contents, checked: _Checked, reviews: Mapping[str, ClassReview], only: str, part: int, parts: int) -> list[str]:
    """The classes of a part that were asked for, sorted."""
    order = list(known.by_class)[part - 1 :: parts]
    if only == "open":
        return [wnid for wnid in order if wnid not in reviews or not reviews[wnid].reviewed]
    if only == "bad":
        return [wnid for wnid in order if wnid in checked.warnings or (wnid in reviews and reviews[wnid].problematic)]
    return order


def _row(known: _Contents, infos: Mapping[str, ClassInfo], review: ClassReview | None, wnid: str, warnings: int) -> RevisionRow:
    flags = (review.reviewed, review.problematic) if review else (False, False)
    return RevisionRow(wnid, class_name(infos, wnid), len(known.by_class[wnid]), *flags, warnings)


def _key(tables: Tables) -> Hashable:
    return generations_key(tables.generations.of(*_INPUTS))


def _contents(tables: Tables, memo: Memo, name: str) -> _Contents:
    def load() -> _Contents:
        revision = tables.revisions.get(name)
        by_class: dict[str, list[str]] = {}
        classes: dict[str, tuple[str, ...]] = {}
        for image, wnid in revision.images:
            by_class.setdefault(wnid, []).append(image)
            classes[image] = (*classes.get(image, ()), wnid)
        return _Contents(revision, {wnid: tuple(by_class[wnid]) for wnid in sorted(by_class)}, classes)

    return memo.get(("revision", name), generations_key(tables.generations.of("revisions")), load)


def _checked(study: Study, memo: Memo, name: str, key: Hashable) -> Recent[_Checked]:
    """What is wrong with a revision; resolution is taken as it was last derived."""

    def load() -> tuple[Hashable, _Checked]:
        with study.database.read() as tables:
            large = len(_contents(tables, memo, name).classes) > _MANY_IMAGES
        return memo.aside(study, _look_at, name) if large else _look_at(study, name)

    return memo.recent((_CHECKED, name), key, load)


def _look_at(study: Study, name: str) -> tuple[Hashable, _Checked]:
    with study.database.read() as tables:
        known = _contents(tables, Memo(), name)
        facts = _facts(tables, known.classes)
        components = {image: one.component for image, one in tables.pairs.resolutions_of(known.classes).items()}
        warnings: dict[str, list[RevisionWarning]] = {}
        for warning in _check(study, tables, known.revision, facts, components):
            warnings.setdefault(warning.wnid, []).append(warning)
        labelled = [one.frequency for one in facts.values() if one.num_assignments]
        return _key(tables), _Checked(
            {wnid: tuple(found) for wnid, found in warnings.items()},
            min(labelled, default=None),
            sum(labelled) / len(labelled) if labelled else None,
            min((one.num_assignments for one in facts.values()), default=0),
        )


def _warnings_of_class(study: Study, tables: Tables, known: _Contents, wnid: str) -> list[RevisionWarning]:
    """What is wrong with one class at this moment: it is looked at together with what is joined to its images in the revision."""
    own = set(known.by_class[wnid])
    names = {one.component for one in tables.pairs.resolutions_of(own).values()}
    components = {image: name for image, name in tables.pair_queue.among_components(names).items() if image in known.classes}
    concerned = own | components.keys()
    # Other classes are incomplete here, so only what is said of this one counts.
    part = replace(known.revision, images=tuple((image, other) for image in sorted(concerned) for other in known.classes[image]))
    found = _check(study, tables, part, _facts(tables, concerned), components)
    return [warning for warning in found if warning.wnid == wnid]


def _check(
    study: Study, tables: Tables, revision: Revision, facts: Mapping[str, CandidateFacts], components: Mapping[str, str]
) -> list[RevisionWarning]:
    # A published study comes without its answers: that every image lacks them says nothing about an image.
    answered = tables.generations.of("assignments")["assignments"] > 0
    unlabelled = revision.sampling_function == "sample_val_dummy" or not answered
    least = 0 if unlabelled else study.config.sampling.min_num_annotations
    stated = revision.parameters.get("per_class")
    return check_revision(
        revision,
        facts.values(),
        component_of=components,
        min_num_annotations=least,
        per_class=stated if isinstance(stated, int) else None,
    )


def _facts(tables: Tables, ids: Collection[str]) -> dict[str, CandidateFacts]:
    found = {one.id: one for one in tables.facts.candidates((), ids=ids)}
    return found | _originals(tables, [image for image in ids if image not in found])


def _originals(tables: Tables, ids: Sequence[str]) -> dict[str, CandidateFacts]:
    frequencies = tables.bulk.frequencies_of(ids)
    found = {}
    for image, original in tables.originals.get(ids).items():
        if original.wnid is not None:
            known = frequencies.get((image, original.wnid), SelectionFrequency(image, original.wnid, 0, 0))
            found[image] = CandidateFacts(image, original.wnid, known.value, known.num_assignments)
    return found
