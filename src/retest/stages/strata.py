"""Stage: which sub-category ("stratum", CIFAR-10.1's keyword) every image belongs to, and how many original images each has.

What ``retest sample stratified`` matches (method, section 8). Images in folders belong to the folder below their class's folder;
candidates that a search term found belong to that term.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from retest.errors import StageError
from retest.records import OriginalImage, Split
from retest.sampling import reference_distribution
from retest.study import Study

Names = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class StrataTables:
    """candidate id -> its strata; wnid -> stratum -> number of original images; original images that have no stratum."""

    candidates: Mapping[str, tuple[str, ...]]
    reference: Mapping[str, Mapping[str, int]]
    without: int


def find_strata(study: Study, *, splits: tuple[Split, ...] = (Split.TRAIN, Split.VAL), originals: Names | None = None) -> StrataTables:
    """Strata of candidates and the reference distribution over original images.

    Args:
        study: a study with its benchmark registered.
        splits: the original images to count; CIFAR-10.1 counted training and test images.
        originals: original image id -> its strata, where they are no folders.

    Raises:
        StageError: no original image has a stratum.
    """
    with study.database.read() as tables:
        images = [image for split in splits for image in tables.originals.all(split=split) if image.wnid is not None]
        candidates = {found[0]: _of_candidate(*found[2:]) for found in tables.candidates.identities()}
    known = {image.id: ((_of_original(image),) if originals is None else tuple(originals.get(image.id, ()))) for image in images}
    strata = {image: tuple(name for name in names if name) for image, names in known.items()}
    reference = reference_distribution([(image.id, str(image.wnid)) for image in images], strata)
    if not reference:
        remedy = "Sort them into val/CLASS/SUB-CATEGORY/, or give a table with --original-strata"
        raise StageError("no original image has a sub-category", item=", ".join(splits), remedy=remedy)
    return StrataTables({i: (n,) for i, n in candidates.items() if n}, reference, sum(not names for names in strata.values()))


def _of_candidate(source: str, photo_id: str, search_key: str | None) -> str:
    """The folder below the class's; else the search term, which a folder does not have: there it is the class."""
    return sys.intern(_folder(photo_id) if source == "folder" else search_key or "")


def _of_original(image: OriginalImage) -> str:
    return _folder(image.id.partition("/")[2])


def _folder(path: str) -> str:
    """``CLASS/SUB-CATEGORY/.../FILE`` -> the sub-category, empty without one."""
    parts = path.split("/")
    return parts[1] if len(parts) > 2 else ""
