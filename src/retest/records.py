"""The plain records that flow through the house.

Every record is a frozen dataclass of plain values: no I/O, no database, no arrays. Dates are ISO-8601 strings as the
source gave them (sources disagree about time zones, and the published data holds naive local times), so a record can be
written and read back without loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LARGEST_INTEGER",
    "Assignment",
    "AssignmentStatus",
    "Candidate",
    "ClassInfo",
    "ClassReview",
    "DuplicateOccurrence",
    "Exclusion",
    "Hit",
    "ImageVariant",
    "Neighbor",
    "NeighborReview",
    "OpaqueName",
    "OriginalImage",
    "Predictions",
    "Resolution",
    "Revision",
    "SelectionFrequency",
    "Split",
]


LARGEST_INTEGER: Final = 2**63 - 1
"""The largest integer that a study's database can hold; no record has a larger one, or one below its negative."""


class Split(StrEnum):
    """Part of the original benchmark that an image belongs to."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class AssignmentStatus(StrEnum):
    """Mechanical Turk's states of an answered HIT. Only Submitted and Approved count (method, section 5)."""

    SUBMITTED = "Submitted"
    APPROVED = "Approved"
    REJECTED = "Rejected"


VALID_STATUSES = frozenset({AssignmentStatus.SUBMITTED, AssignmentStatus.APPROVED})


@dataclass(frozen=True, slots=True)
class ClassInfo:
    """One class of the benchmark. ``cid`` is the class index that models predict."""

    wnid: str
    cid: int
    synset: tuple[str, ...] = ()
    gloss: str = ""
    parent_terms: tuple[str, ...] = ()
    wikipedia_pages: tuple[str, ...] = ()
    most_similar: tuple[str, ...] = ()
    """wnids by decreasing similarity; the first entry is the class itself, as in the published file."""

    @property
    def name(self) -> str:
        """What people call the class: its first synonym, or the wnid where it has none."""
        return self.synset[0] if self.synset else self.wnid


@dataclass(frozen=True, slots=True)
class OriginalImage:
    """An image of the benchmark that is being replicated. ``location`` is where its bytes come from (path or URL)."""

    id: str
    split: Split
    wnid: str | None
    location: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A photo that may enter the new test set, found for one class (method, section 1).

    ``source`` is the engine's name ("flickr", "folder", ...), ``photo_id`` the engine's own id. ``query`` holds the
    parameters of the search that found it.
    """

    id: str
    wnid: str
    source: str
    photo_id: str
    url: str
    url_kind: str | None = None
    search_key: str | None = None
    uploader: str | None = None
    date_taken: str | None = None
    date_uploaded: str | None = None
    date_found: str | None = None
    width: int | None = None
    height: int | None = None
    license: str | None = None
    owner: str | None = None
    title: str | None = None
    source_page: str | None = None
    query: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DuplicateOccurrence:
    """The same photo found again for the same class: kept on record, not a second candidate."""

    candidate_id: str
    source: str
    photo_id: str
    wnid: str
    search_key: str | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A candidate that is left out, and why. Exclusions mark; they never delete."""

    candidate_id: str
    reason: str
    detail: str = ""
    user: str = ""
    time: str = ""


@dataclass(frozen=True, slots=True)
class ImageVariant:
    """One stored rendition of an image."""

    image_id: str
    variant: str
    blob_key: str
    sha256: str
    size_bytes: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class OpaqueName:
    """The name under which annotators see an image; says nothing about where the image comes from."""

    image_id: str
    key_version: int
    name: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A labelling task: one target class and the images shown, ``images_all`` in the order shown (method, section 4)."""

    uuid: str
    wnid: str
    images_to_label: tuple[str, ...]
    images_pos_control: tuple[str, ...]
    images_neg_control: tuple[str, ...]
    images_all: tuple[str, ...]
    user: str = ""
    time: str = ""
    submitted: bool = False
    hit_id: str | None = None
    hit_type_id: str | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """One annotator's answer to one HIT. ``worker`` is a keyed hash or a simulated name, never a raw worker id."""

    id: str
    hit_uuid: str
    worker: str
    status: AssignmentStatus
    selected: tuple[str, ...]
    accept_time: str | None = None
    submit_time: str | None = None


@dataclass(frozen=True, slots=True)
class SelectionFrequency:
    """How often annotators selected an image for a class (method, section 5)."""

    image_id: str
    wnid: str
    num_assignments: int
    num_selected: int

    @property
    def value(self) -> float:
        """Share of valid assignments that selected the image; 0.0 when there are none."""
        return self.num_selected / self.num_assignments if self.num_assignments else 0.0


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A reference image and its distance to a query (squared for l2 and feature metrics)."""

    reference: str
    distance: float


@dataclass(frozen=True, slots=True)
class NeighborReview:
    """The neighbours of a candidate that a reviewer has looked at in one metric; near-duplicates among them."""

    candidate_id: str
    metric: str
    references: tuple[str, ...]
    near_duplicates: tuple[str, ...] = ()
    reviewer: str = ""
    time: str = ""


@dataclass(frozen=True, slots=True)
class Resolution:
    """What became of a candidate that is in some near-duplicate component, with the reason in words."""

    candidate_id: str
    near_duplicate: bool
    component: str
    reason: str


@dataclass(frozen=True, slots=True)
class Revision:
    """An immutable test set: which images, in which order, and how it was made.

    ``parameters`` holds what the sampling function used besides the fields here, under the published names.
    """

    name: str
    sampling_function: str
    images: tuple[tuple[str, str], ...]
    """Pairs (image id, wnid) in order: rows of prediction files follow it."""
    is_valid: bool
    seed: int
    parameters: Mapping[str, Any] = field(default_factory=dict)
    starting_from: str | None = None
    user: str = ""
    time: str = ""


@dataclass(frozen=True, slots=True)
class ClassReview:
    """State of the class-by-class review of a revision."""

    revision: str
    wnid: str
    reviewed: bool
    problematic: bool


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What one model predicts on one data set; row i belongs to ``image_ids[i]``.

    ``labels`` are the true class indices, int64 (n,), -1 where unknown; ``top`` the predicted ones, int64 (n, k), best
    first. ``scores``, where kept, are float32 (n, k) beside ``top``. ``provenance`` names weights, preprocessing and
    versions; ``notes`` say openly what was corrected on reading.
    """

    dataset: str
    model: str
    image_ids: tuple[str, ...]
    labels: NDArray[np.int64]
    top: NDArray[np.int64]
    scores: NDArray[np.float32] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
