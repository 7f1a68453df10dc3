"""What sampling needs to know of an image, and the one rule that says whether a candidate may be used (method, section 7)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from retest.errors import InputError


class Reason(StrEnum):
    """Why a candidate cannot be used: the first of these that holds, in this order."""

    BLACKLISTED = "blacklisted"
    FEW_ASSIGNMENTS = "few_assignments"
    BELOW_THRESHOLD = "below_threshold"
    NEAR_DUPLICATE = "near_duplicate"
    UNREVIEWED = "unreviewed"


@dataclass(frozen=True, slots=True)
class CandidateFacts:
    """A candidate as sampling sees it.

    ``frequency`` (0 to 1) and ``num_assignments`` (valid ones) are those for its own class ``wnid``; ``review_thresholds``
    gives the near-duplicate review threshold per metric, where a missing metric counts as 0.
    """

    id: str
    wnid: str
    frequency: float = 0.0
    num_assignments: int = 0
    excluded: bool = False
    near_duplicate: bool = False
    review_thresholds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OriginalFacts:
    """An original validation image: its class, and how annotators answered for that class (nothing when it was not shown)."""

    id: str
    wnid: str
    frequency: float = 0.0
    num_assignments: int = 0


def ineligibility(
    candidate: CandidateFacts, *, min_num_annotations: int, threshold: float | None, review_targets: Mapping[str, float]
) -> Reason | None:
    """The first reason why a candidate cannot be used, None when it is usable. The only such rule in the house.

    Args:
        candidate: the candidate.
        min_num_annotations: least number of valid assignments for its class.
        threshold: least selection frequency (``>=``), None where the strategy has none.
        review_targets: per metric, what its review threshold must exceed (``>``).
    """
    if candidate.excluded:
        return Reason.BLACKLISTED
    if candidate.num_assignments < min_num_annotations:
        return Reason.FEW_ASSIGNMENTS
    if threshold is not None and candidate.frequency < threshold:
        return Reason.BELOW_THRESHOLD
    if candidate.near_duplicate:
        return Reason.NEAR_DUPLICATE
    reviewed = candidate.review_thresholds
    for metric, target in review_targets.items():
        if not reviewed.get(metric, 0.0) > target:
            return Reason.UNREVIEWED
    return None


class _Labelled(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def wnid(self) -> str: ...
    @property
    def frequency(self) -> float: ...
    @property
    def num_assignments(self) -> int: ...


_Image = TypeVar("_Image", bound=_Labelled)


@dataclass(frozen=True, slots=True)
class ByClass(Generic[_Image]):
    """Images that are asked for class by class, so that those of one class are held at a time.

    ``of_class`` gives the images of a wnid. Whoever makes this vouches that no image is in two classes; within a class it is checked.
    """

    of_class: Callable[[str], Iterable[_Image]]

    def checked_of(self, wnid: str) -> Iterator[_Image]:
        """The images of a class.

        Raises:
            InputError: an id is given twice, a frequency is not a number from 0 to 1, or an image is of another class.
        """
        for image in checked(self.of_class(wnid)):
            if image.wnid != wnid:
                raise InputError(f"is of class {image.wnid}, not {wnid}", item=image.id, remedy="Give each image with its own class")
            yield image


def group_by_class(images: Iterable[_Image] | ByClass[_Image], classes: Iterable[str]) -> Iterator[tuple[str, list[_Image]]]:
    """(wnid, its images) of the sorted ``classes``; images of other classes are left out.

    Raises:
        InputError: an id is given twice, a frequency is not a number from 0 to 1, or there are no classes.
    """
    if isinstance(images, ByClass):
        source = images
        return ((wnid, list(source.checked_of(wnid))) for wnid in sorted_classes(classes))
    groups: dict[str, list[_Image]] = {wnid: [] for wnid in sorted_classes(classes)}
    for image in checked(images):
        group = groups.get(image.wnid)
        if group is not None:
            group.append(image)
    return iter(groups.items())


def sorted_classes(classes: Iterable[str]) -> list[str]:
    """The classes to sample, each once; a text is one class, not its letters.

    Raises:
        InputError: there are none.
    """
    wnids = [classes] if isinstance(classes, str) else sorted(set(classes))
    if not wnids:
        raise InputError("there are no classes to sample", remedy="Import or define the classes of the study first")
    return wnids


def checked(images: Iterable[_Image]) -> Iterator[_Image]:
    """The images as they come; of those gone by only the ids are held.

    Raises:
        InputError: an id is given twice, or a frequency is not a number from 0 to 1.
    """
    seen: set[str] = set()
    for image in images:
        if image.id in seen:
            raise InputError("the image is given twice", item=image.id, remedy="Pass every image once, with its own class")
        seen.add(image.id)
        if not 0.0 <= image.frequency <= 1.0:
            raise InputError(
                f"its selection frequency {image.frequency!r} is not a number from 0 to 1", item=image.id, remedy="Recompute it"
            )
        yield image
