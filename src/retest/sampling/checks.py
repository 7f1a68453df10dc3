"""Validity checks of a stored revision against the study as it is today. They warn; they never change or refuse anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from retest.records import Revision
from retest.sampling.facts import CandidateFacts


class Check(StrEnum):
    """What a :class:`RevisionWarning` is about."""

    DUPLICATE_IMAGE = "duplicate_image"
    UNKNOWN_IMAGE = "unknown_image"
    WRONG_CLASS = "wrong_class"
    EXCLUDED = "excluded"
    NEAR_DUPLICATE = "near_duplicate"
    NEAR_DUPLICATES_INSIDE = "near_duplicates_inside"
    FEW_ASSIGNMENTS = "few_assignments"
    CLASS_SIZE = "class_size"


@dataclass(frozen=True, slots=True)
class RevisionWarning:
    """One finding about an image or a class of a revision. ``image`` is None for a finding about a whole class."""

    check: Check
    wnid: str
    image: str | None
    message: str

    def __str__(self) -> str:
        return self.message


def check_revision(
    revision: Revision,
    candidates: Iterable[CandidateFacts],
    *,
    component_of: Mapping[str, str] | None = None,
    min_num_annotations: int = 10,
    per_class: int | None = None,
) -> list[RevisionWarning]:
    """Everything that is wrong with a revision by today's data, sorted by check, class and image.

    Args:
        revision: the revision.
        candidates: facts of at least the revision's images.
        component_of: image id -> name of its near-duplicate component; two images of one component inside the revision are
            reported on the second and later ones in id order.
        min_num_annotations: least number of valid assignments.
        per_class: images that every class should have, where that is known.
    """
    wanted = {image for image, _ in revision.images}
    facts = {candidate.id: candidate for candidate in candidates if candidate.id in wanted}
    found = [warning for image, wnid in dict.fromkeys(revision.images) for warning in _image(image, wnid, facts, min_num_annotations)]
    found += _repeated(revision)
    found += _together(revision, component_of or {})
    if per_class is not None:
        for wnid, count in Counter(wnid for _, wnid in revision.images).items():
            if count != per_class:
                found.append(RevisionWarning(Check.CLASS_SIZE, wnid, None, f"class {wnid} has {count} images, not {per_class}"))
    order = list(Check)
    return sorted(found, key=lambda warning: (order.index(warning.check), warning.wnid, warning.image or ""))


def _image(image: str, wnid: str, facts: Mapping[str, CandidateFacts], least: int) -> list[RevisionWarning]:
    known = facts.get(image)
    if known is None:
        return [RevisionWarning(Check.UNKNOWN_IMAGE, wnid, image, f"{image} is not a candidate of the study")]
    found = []
    if known.wnid != wnid:
        found.append((Check.WRONG_CLASS, f"{image} stands under {wnid} but is a candidate of {known.wnid}"))
    if known.excluded:
        found.append((Check.EXCLUDED, f"{image} of {wnid} is excluded"))
    if known.near_duplicate:
        found.append((Check.NEAR_DUPLICATE, f"{image} of {wnid} is a near-duplicate"))
    if known.num_assignments < least:
        found.append((Check.FEW_ASSIGNMENTS, f"{image} of {wnid} has {known.num_assignments} valid assignments, fewer than {least}"))
    return [RevisionWarning(check, wnid, image, message) for check, message in found]


def _repeated(revision: Revision) -> list[RevisionWarning]:
    counts = Counter(image for image, _ in revision.images)
    classes: dict[str, str] = {}
    for image, wnid in revision.images:
        classes[image] = min(classes.get(image, wnid), wnid)
    return [
        RevisionWarning(Check.DUPLICATE_IMAGE, classes[image], image, f"{image} stands {count} times in the revision")
        for image, count in counts.items()
        if count > 1
    ]


def _together(revision: Revision, component_of: Mapping[str, str]) -> list[RevisionWarning]:
    classes = dict(revision.images)
    first: dict[str, str] = {}
    found = []
    for image in sorted(classes):
        component = component_of.get(image)
        if component is None:
            continue
        other = first.setdefault(component, image)
        if other != image:
            message = f"{image} of {classes[image]} is a near-duplicate of {other} of {classes[other]}, which is in the revision too"
            found.append(RevisionWarning(Check.NEAR_DUPLICATES_INSIDE, classes[image], image, message))
    return found
