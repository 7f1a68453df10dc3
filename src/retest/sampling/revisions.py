"""Names of revisions, what changed between two, and how reviews are carried from one to the next (method, section 7)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from retest.errors import InputError
from retest.records import ClassReview, Revision

_NAME = re.compile(r"(?P<series>[A-Za-z0-9][A-Za-z0-9_.-]*)-(?P<number>0|[1-9][0-9]*)")


@dataclass(frozen=True, slots=True)
class RevisionName:
    """``<series>-<number>``, e.g. series ``imagenetv2-b`` and number 33."""

    series: str
    number: int

    def __str__(self) -> str:
        return f"{self.series}-{self.number}"


def parse_revision_name(name: str) -> RevisionName:
    """Split a revision's name into series and number.

    Raises:
        InputError: the name does not end with a hyphen and a number.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise InputError("is not a revision name", item=repr(name), remedy="Use <series>-<number>, e.g. imagenetv2-b-33")
    return RevisionName(match["series"], int(match["number"]))


def next_revision_name(series: str, existing: Iterable[str]) -> str:
    """The name after the highest number of a series among ``existing``; number 0 for the first. Other names are ignored.

    Raises:
        InputError: ``series`` gives no valid name.
    """
    parse_revision_name(f"{series}-0")
    numbers = [int(match["number"]) for match in map(_NAME.fullmatch, existing) if match is not None and match["series"] == series]
    return str(RevisionName(series, max(numbers, default=-1) + 1))


@dataclass(frozen=True, slots=True)
class ClassDiff:
    """Images of one class that only the new (``added``) or only the old revision (``removed``) has, sorted."""

    wnid: str
    added: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RevisionDiff:
    """What changed from ``old`` to ``new``: the classes with other images, and how many (image, class) pairs are in both."""

    old: str
    new: str
    classes: tuple[ClassDiff, ...]
    num_kept: int
    same_order: bool
    """Whether the pairs in both stand in the same relative order."""

    @property
    def num_added(self) -> int:
        """Number of (image, class) pairs that only ``new`` has."""
        return sum(len(diff.added) for diff in self.classes)

    @property
    def num_removed(self) -> int:
        """Number of (image, class) pairs that only ``old`` has."""
        return sum(len(diff.removed) for diff in self.classes)


def diff_revisions(old: Revision, new: Revision) -> RevisionDiff:
    """Compare two revisions as sets of (image, class) pairs; classes of the result are sorted and only the changed ones."""
    before, after = set(old.images), set(new.images)
    added, removed = _by_class(after - before), _by_class(before - after)
    classes = tuple(
        ClassDiff(wnid, tuple(sorted(added.get(wnid, ()))), tuple(sorted(removed.get(wnid, ()))))
        for wnid in sorted(added.keys() | removed.keys())
    )
    same_order = [pair for pair in old.images if pair in after] == [pair for pair in new.images if pair in before]
    return RevisionDiff(old.name, new.name, classes, len(before & after), same_order)


def carry_over_reviews(reviews: Iterable[ClassReview], old: Revision, new: Revision) -> list[ClassReview]:
    """The reviews with which ``new`` starts, one per class of it, sorted.

    A class is ``reviewed`` only if it was in ``old``, was not problematic there, and has the same images; ``problematic``
    always restarts as false.

    Raises:
        InputError: a review belongs to another revision than ``old``.
    """
    before, after = _by_class(set(old.images)), _by_class(set(new.images))
    state: dict[str, ClassReview] = {}
    for review in reviews:
        if review.revision != old.name:
            raise InputError(
                f"the review of class {review.wnid} belongs to {review.revision}", item=old.name, remedy="Pass the reviews of that revision"
            )
        state[review.wnid] = review
    result = []
    for wnid in sorted(after):
        known = state.get(wnid)
        reviewed = known is not None and known.reviewed and not known.problematic and before.get(wnid) == after[wnid]
        result.append(ClassReview(new.name, wnid, reviewed=reviewed, problematic=False))
    return result


def _by_class(pairs: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    groups: dict[str, set[str]] = {}
    for image, wnid in pairs:
        groups.setdefault(wnid, set()).add(image)
    return groups
