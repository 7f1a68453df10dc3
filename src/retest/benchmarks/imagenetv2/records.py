"""Records of the published layout that have no counterpart in :mod:`retest.records`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from retest.records import Candidate, DuplicateOccurrence, Neighbor, NeighborReview, Split

__all__ = [
    "REFERENCE_SOURCE",
    "AdditionalImages",
    "HitCandidates",
    "HitExclusion",
    "Neighbors",
    "Occurrence",
    "PublishedReview",
    "RawPredictions",
    "ReadWarning",
    "ReferencedCandidate",
    "is_candidate_id",
    "original_of",
]

_CANDIDATE_ID = re.compile(r"[0-9a-f]{40}")
_VAL_OR_TEST = re.compile(r"ILSVRC2012_(val|test)_\d{8}\.JPEG")
_TRAIN = re.compile(r"(n\d{8})_\d+\.JPEG")
_BY_PATH = re.compile(rf"({'|'.join(Split)})/.+")
REFERENCE_SOURCE: Final = "reference"
"""``Candidate.source`` of candidates that are only known by reference."""


def is_candidate_id(image_id: str) -> bool:
    """Whether an image id is a candidate's: a SHA-1 as 40 hexadecimal digits (0 to 9, a to f)."""
    return _CANDIDATE_ID.fullmatch(image_id) is not None


def original_of(image_id: str) -> tuple[Split, str | None] | None:
    """Split and, for ImageNet's training images, class that the name of an original image tells.

    Names are those of ImageNet's files or, as retest names the images of other benchmarks, paths that begin with the split
    ("val/cat/1.jpg"). None for any other name.
    """
    if match := _VAL_OR_TEST.fullmatch(image_id):
        return Split(match[1]), None
    if match := _TRAIN.fullmatch(image_id):
        return Split.TRAIN, match[1]
    if match := _BY_PATH.fullmatch(image_id):
        return Split(match[1]), None
    return None


@dataclass(frozen=True, slots=True)
class ReadWarning:
    """An inconsistency that was met on reading. ``kind`` is a short stable code, ``file`` and ``item`` say where ("": whole file)."""

    kind: str
    file: str
    item: str
    message: str


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A duplicate occurrence with where it stands: ``key`` is "<file>#<candidate>#<how often in this file so far>", unique and stable."""

    key: str
    record: DuplicateOccurrence


@dataclass(frozen=True, slots=True)
class ReferencedCandidate:
    """A candidate that other files mention but no search-result file describes ("known by reference").

    ``wnid`` is learnt from the revision, HIT or additional-image list named in ``learnt_from``; None where nothing tells.
    """

    id: str
    wnid: str | None
    learnt_from: str

    def as_candidate(self) -> Candidate:
        """A candidate record to store; "" stands for an unknown class. Its photo id is its own id, so that no two count as one photo."""
        return Candidate(self.id, self.wnid or "", REFERENCE_SOURCE, self.id, "", query={"learnt_from": self.learnt_from})


@dataclass(frozen=True, slots=True)
class HitCandidates:
    """The candidates that one planning run chose for labelling, in file order."""

    file: str
    candidate_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HitExclusion:
    """A HIT that counts nowhere, and why."""

    hit_uuid: str
    reason: str


@dataclass(frozen=True, slots=True)
class AdditionalImages:
    """A hand-made HIT plan for one class: images to label and controls."""

    wnid: str
    pos_control: tuple[str, ...]
    candidates: tuple[str, ...]
    neg_control: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Neighbors:
    """The nearest neighbours of one candidate under one metric, ascending; l2 and fc7 begin with the candidate itself."""

    candidate_id: str
    metric: str
    neighbors: tuple[Neighbor, ...]


@dataclass(frozen=True, slots=True)
class PublishedReview:
    """A review as published. ``threshold`` is the distance up to which its author looked, given for the oldest reviews only.

    It is kept for the record and must not be used: the review threshold is always derived from neighbours and reviewed
    references (method, section 6), and many of these numbers are in other units (10.0 for l2) or zero.
    """

    review: NeighborReview
    threshold: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RawPredictions:
    """Predictions exactly as stored: ``top`` is int64 (n, k), rows in the order of the revision's images.

    The published order is best first, except for a few files that are stored worst first; whoever has the true labels
    corrects that. ``model`` is the name without the ``_model`` alias; ``notes`` say what was read into it.
    """

    dataset: str
    model: str
    file: str
    top: NDArray[np.int64]
    notes: tuple[str, ...] = ()
