"""Stage: the life of a stored revision: its class-by-class review, carried over to the next one, its checks, and import (method, 7)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from retest.errors import NotFoundError, UsageError
from retest.records import ClassReview, Revision, Split
from retest.sampling import (
    CandidateFacts,
    RevisionWarning,
    carry_over_reviews,
    check_revision,
    reviews_from_published,
    revision_from_published,
)
from retest.stages._common import Stamp
from retest.stages._facts import refresh
from retest.stages._ledger import CLASS_REVIEW, class_item, class_state
from retest.store import Tables
from retest.study import Study


@dataclass(frozen=True, slots=True)
class ReviewChange:
    """What a review of classes changed, and where the revision stands now."""

    changed: tuple[str, ...]
    reviewed: int
    problematic: int
    classes: int


@dataclass(frozen=True, slots=True)
class Imported:
    """An imported revision: whether it is new, how many of its images the study does not know, how many class reviews came along."""

    name: str
    stored: bool
    images: int
    unknown_images: int
    reviews: int


def review_classes(
    study: Study, name: str, wnids: Iterable[str], *, stamp: Stamp, reviewed: bool | None = None, problematic: bool | None = None
) -> ReviewChange:
    """Set what a reviewer found of classes of a revision; None leaves a flag as it is. Every change goes into the ledger.

    Raises:
        UsageError: neither flag is given.
        NotFoundError: there is no such revision, or it has no such class.
    """
    if reviewed is None and problematic is None:
        raise UsageError("nothing to record", item=name, remedy="Say whether the classes are reviewed, problematic, or both")
    with study.database.write() as tables:
        known = _reviews(tables, tables.revisions.get(name))
        new = []
        for wnid in dict.fromkeys(wnids):
            if wnid not in known:
                raise NotFoundError(f"revision {name} has no such class", item=wnid, remedy="Its classes: retest revision show NAME --json")
            old = known[wnid]
            after = replace(
                old,
                reviewed=old.reviewed if reviewed is None else reviewed,
                problematic=old.problematic if problematic is None else problematic,
            )
            if after != old:
                new.append(after)
        _record(tables, known, new, stamp)
        return _change(known, new)


def carry_over(study: Study, old: str, new: str, *, stamp: Stamp) -> ReviewChange:
    """Carry the reviews of ``old`` over to ``new``: a class stays reviewed if its images did not change and it was not problematic.

    What has been decided about ``new`` itself is left alone. The ledger has a decision per class, and one that says where they came from.

    Raises:
        NotFoundError: one of the revisions does not exist.
    """
    with study.database.write() as tables:
        before, after = tables.revisions.get(old), tables.revisions.get(new)
        known = _reviews(tables, after)
        carried = carry_over_reviews(_reviews(tables, before).values(), before, after)
        changes = [review for review in carried if review.reviewed and not (known[review.wnid].reviewed or known[review.wnid].problematic)]
        _record(tables, known, changes, stamp)
        if changes:
            origin = {"from": old, "classes": len(changes)}
            tables.decisions.add(time=stamp.time, user=stamp.user, kind="carry_over", item=new, after=origin)
        return _change(known, changes)


def check(study: Study, name: str) -> list[RevisionWarning]:
    """Everything that is wrong with a revision by what the study knows today; nothing is changed.

    Raises:
        NotFoundError: there is no such revision.
    """
    with study.database.write() as tables:
        refresh(study, tables)
    with study.database.read() as tables:
        revision = tables.revisions.get(name)
        ids = [image for image, _ in dict.fromkeys(revision.images)]
        facts = [*tables.facts.candidates((), ids=ids), *_originals(tables, ids)]
        components = {image: resolution.component for image, resolution in tables.pairs.resolutions_of(ids).items()}
    return check_revision(
        revision,
        facts,
        component_of=components,
        min_num_annotations=_min_num_annotations(revision, study.config.sampling.min_num_annotations),
        per_class=_per_class(revision),
    )


def import_revision(
    study: Study, document: Mapping[str, Any], *, stamp: Stamp, name: str | None = None, reviews: Mapping[str, Any] | None = None
) -> Imported:
    """Store a revision in the published JSON form, with its class reviews where they are given.

    Raises:
        InputError: the document is no revision.
        ConflictError: another revision has this name.
    """
    revision = revision_from_published(document, name=name)
    given = reviews_from_published(revision.name, reviews or {})
    with study.database.write() as tables:
        stored = tables.revisions.add(revision)
        known = _reviews(tables, revision)
        added = tables.revisions.add_reviews(given)
        if added:
            tables.decisions.add(time=stamp.time, user=stamp.user, kind="import_reviews", item=revision.name, after={"classes": added})
        tables.revisions.add_reviews(known.values())
        ids = {image for image, _ in revision.images}
        found = len(tables.candidates.photos(ids)) + len(tables.originals.get(ids))
    return Imported(revision.name, stored, len(revision.images), len(ids) - found, added)


def _reviews(tables: Tables, revision: Revision) -> dict[str, ClassReview]:
    """The review of every class of a revision; classes that nobody has reviewed included."""
    fresh = {w: ClassReview(revision.name, w, reviewed=False, problematic=False) for w in sorted({w for _, w in revision.images})}
    return fresh | tables.revisions.reviews(revision.name)


def _record(tables: Tables, known: Mapping[str, ClassReview], new: Iterable[ClassReview], stamp: Stamp) -> None:
    changes = list(new)
    tables.revisions.put_reviews(changes)
    tables.decisions.add_many(
        {
            "time": stamp.time,
            "user": stamp.user,
            "kind": CLASS_REVIEW,
            "item": class_item(review.revision, review.wnid),
            "before": class_state(known[review.wnid]),
            "after": class_state(review),
        }
        for review in changes
    )


def _change(known: Mapping[str, ClassReview], new: Iterable[ClassReview]) -> ReviewChange:
    changed = {review.wnid: review for review in new}
    now = {**known, **changed}.values()
    return ReviewChange(tuple(changed), sum(r.reviewed for r in now), sum(r.problematic for r in now), len(now))


def _originals(tables: Tables, ids: Iterable[str]) -> list[CandidateFacts]:
    facts = tables.facts.originals_among(ids, Split.VAL)
    return [CandidateFacts(f.id, f.wnid, f.frequency, f.num_assignments) for f in facts]


def _min_num_annotations(revision: Revision, default: int) -> int:
    """What the revision itself asked for; samples of the plain original set ask for nothing."""
    if revision.sampling_function == "sample_val_dummy":
        return 0
    for key in ("min_num_annotations", "min_num_annotations_candidates"):
        value = revision.parameters.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return default


def _per_class(revision: Revision) -> int | None:
    """Images that every class should have: as recorded, or the published target size shared out over the classes."""
    stated = revision.parameters.get("per_class")
    if isinstance(stated, int):
        return None if revision.sampling_function == "sample_stratified" and revision.parameters.get("rule") == "ceiling" else stated
    sizes = Counter(wnid for _, wnid in revision.images)
    target = revision.parameters.get("target_size")
    return target // len(sizes) if isinstance(target, int) and sizes and target % len(sizes) == 0 else None
