"""Stage: the review of a revision for the web: class after class, split among reviewers, carried over; facts, checks and differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from retest.errors import NotFoundError, UsageError
from retest.records import ClassReview, Revision
from retest.sampling import CandidateFacts, RevisionDiff, RevisionWarning, carry_over_reviews, check_revision, diff_revisions
from retest.stages._review_core import Change
from retest.stages._review_images import ImageView, view_images
from retest.stages._review_memo import Memo, generations_key
from retest.stages._review_revisions import CLASS_REVIEW, class_item
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
_INPUTS = (
    "revisions", "class_reviews", "selection_frequencies", "exclusions", "image_flags", "resolutions", "candidates", "originals",
)  # fmt: skip


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
    """A page of classes; ``total`` of them fit, ``reviewed`` of those are done; ``next`` goes on behind it (None: the end)."""

    rows: tuple[RevisionRow, ...]
    total: int
    reviewed: int
    next: str | None


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
    """A revision on one page. Frequencies are of its labelled images; ``warnings`` are counted per check."""

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


@dataclass(frozen=True, slots=True)
class _Known:
    revision: Revision
    by_class: dict[str, tuple[str, ...]]
    warnings: dict[str, tuple[RevisionWarning, ...]]
    facts: dict[str, CandidateFacts]


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
    if only not in ONLY or not 1 <= part <= parts <= 100 or not 1 <= limit <= 1000:
        raise UsageError("unknown choice, part or limit", remedy=f"Choose {', '.join(ONLY)}; part 1 to parts, at most 100; limit 1 to 1000")
    with study.database.read() as tables:
        rows = _rows(study, tables, memo, name, part, parts)
    fits = [row for row in rows if only == "all" or (not row.reviewed if only == "open" else row.problematic or row.warnings > 0)]
    page = [row for row in fits if row.wnid > after]
    following = page[limit - 1].wnid if len(page) > limit else None
    return ClassPage(tuple(page[:limit]), len(fits), sum(row.reviewed for row in fits), following)


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
    order = [row.wnid for row in list_classes(study, memo, name, only=only, part=part, parts=parts, limit=1000).rows]
    with study.database.read() as tables:
        known = _known(study, tables, memo, name)
        if wnid not in known.by_class:
            raise NotFoundError(f"revision {name} has no such class", item=wnid, remedy="See its classes")
        row = next(row for row in _rows(study, tables, memo, name, 1, 1) if row.wnid == wnid)
        ids = known.by_class[wnid]
        shown = [image.id for image in tables.originals.all(wnid=wnid) if image.split == "val" and image.id not in ids][:originals]
        views = view_images(study, tables, [*ids, *shown], wnid=wnid)
        item = class_item(name, wnid)
        latest = tables.decisions.latest(CLASS_REVIEW, [item]).get(item)
        glosses = memo.get(
            "glosses", generations_key(tables.generations.of("classes")), lambda: {c.wnid: c.gloss for c in tables.classes.all()}
        )
    return ClassView(
        revision=name,
        row=row,
        gloss=glosses.get(wnid, ""),
        images=tuple(views[image] for image in ids),
        originals=tuple(views[image] for image in shown),
        warnings=tuple(str(warning) for warning in known.warnings.get(wnid, ())),
        version=latest.no if latest else 0,
        before=max((other for other in order if other < wnid), default=None),
        after=min((other for other in order if other > wnid), default=None),
    )


def facts(study: Study, memo: Memo, name: str) -> RevisionFacts:
    """Sizes, frequencies, checks and review of a revision, by what the study knows now.

    Raises:
        NotFoundError: there is no such revision.
    """
    with study.database.read() as tables:
        known = _known(study, tables, memo, name)
        summary = next(one for one in tables.revisions.summaries() if one.name == name)
        reviews = tables.revisions.reviews(name).values()
    labelled = [known.facts[image] for image in dict(known.revision.images) if image in known.facts]
    frequencies = [f.frequency for f in labelled if f.num_assignments]
    sizes = [len(images) for images in known.by_class.values()] or [0]
    warnings = tuple(warning for found in known.warnings.values() for warning in found)
    counts: dict[str, int] = {}
    for warning in warnings:
        counts[str(warning.check)] = counts.get(str(warning.check), 0) + 1
    return RevisionFacts(
        summary=summary,
        classes=len(known.by_class),
        smallest_class=min(sizes),
        largest_class=max(sizes),
        min_frequency=min(frequencies, default=None),
        mean_frequency=sum(frequencies) / len(frequencies) if frequencies else None,
        fewest_assignments=min((f.num_assignments for f in labelled), default=0),
        reviewed=sum(review.reviewed for review in reviews),
        problematic=sum(review.problematic for review in reviews),
        warnings=warnings[:500],
        counts=counts,
    )


def difference(study: Study, old: str, new: str) -> RevisionDiff:
    """What changed between two revisions.

    Raises:
        NotFoundError: one of them does not exist.
    """
    with study.database.read() as tables:
        return diff_revisions(tables.revisions.get(old), tables.revisions.get(new))


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
    none, done = {"reviewed": False, "problematic": False}, {"reviewed": True, "problematic": False}
    items = [class_item(new, wnid) for wnid in wanted]
    return [Change(CLASS_REVIEW, item, done, latest[item].no if item in latest else 0, none) for item in items]


def _rows(study: Study, tables: Tables, memo: Memo, name: str, part: int, parts: int) -> list[RevisionRow]:
    known = _known(study, tables, memo, name)
    reviews = tables.revisions.reviews(name)
    names = memo.get(
        "class names", generations_key(tables.generations.of("classes")), lambda: {info.wnid: info.name for info in tables.classes.all()}
    )
    found = []
    for wnid in sorted(known.by_class)[part - 1 :: parts]:
        review = reviews.get(wnid)
        flags = (review.reviewed, review.problematic) if review else (False, False)
        found.append(RevisionRow(wnid, names.get(wnid, wnid), len(known.by_class[wnid]), *flags, len(known.warnings.get(wnid, ()))))
    return found


def _known(study: Study, tables: Tables, memo: Memo, name: str) -> _Known:
    """A revision with its classes, and what is wrong with it today; resolution is taken as it was last derived."""
    key = generations_key(tables.generations.of(*(table for table in _INPUTS if table != "class_reviews")))
    return memo.get(("revision", name), key, lambda: _load(study, tables, name))


def _load(study: Study, tables: Tables, name: str) -> _Known:
    revision = tables.revisions.get(name)
    by_class: dict[str, list[str]] = {}
    for image, wnid in revision.images:
        by_class.setdefault(wnid, []).append(image)
    ids = list(dict.fromkeys(image for image, _ in revision.images))
    found = {one.id: one for one in tables.facts.candidates((), ids=ids)}
    found |= _originals(tables, [image for image in ids if image not in found])
    components = {image: one.component for image, one in tables.pairs.resolutions_of(ids).items()}
    least = 0 if revision.sampling_function == "sample_val_dummy" else study.config.sampling.min_num_annotations
    stated = revision.parameters.get("per_class")
    warnings: dict[str, list[RevisionWarning]] = {}
    for warning in check_revision(
        revision,
        found.values(),
        component_of=components,
        min_num_annotations=least,
        per_class=stated if isinstance(stated, int) else None,
    ):
        warnings.setdefault(warning.wnid, []).append(warning)
    return _Known(revision, {w: tuple(i) for w, i in by_class.items()}, {w: tuple(one) for w, one in warnings.items()}, found)


def _originals(tables: Tables, ids: Sequence[str]) -> dict[str, CandidateFacts]:
    frequencies = tables.pair_queue.frequencies_of(ids)
    found = {}
    for image, original in tables.originals.get(ids).items():
        if original.wnid is not None:
            selected, number = frequencies.get((image, original.wnid), (0, 0))
            found[image] = CandidateFacts(image, original.wnid, selected / number if number else 0.0, number)
    return found
