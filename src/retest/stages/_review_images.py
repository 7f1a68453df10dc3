"""What reviewers are told of an image wherever it appears: what it is, of which class, how often it was selected, whether it is stored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from retest.stages._common import display_variant
from retest.store import Tables
from retest.study import Study


@dataclass(frozen=True, slots=True)
class ImageView:
    """An image. ``kind`` is candidate, train, val, test or unknown; ``sha256`` is None where no image is stored."""

    id: str
    kind: str
    wnid: str | None
    sha256: str | None
    frequency: float | None
    num_assignments: int
    excluded: str | None
    """The reason, for an excluded candidate."""


def view_images(study: Study, tables: Tables, image_ids: Iterable[str], *, wnid: str | None = None) -> dict[str, ImageView]:
    """id -> what is known; frequencies are those for ``wnid``, or for each image's own class. Unknown ids are views too."""
    ids = list(dict.fromkeys(image_ids))
    found = {}
    for image, seen in tables.review_candidates.seen(ids, variant=display_variant(study.config.images), wnid=wnid).items():
        found[image] = ImageView(
            id=image,
            kind="candidate" if seen.candidate_class is not None else seen.split or "unknown",
            wnid=seen.wnid,
            sha256=seen.sha256,
            frequency=seen.num_selected / seen.num_assignments if seen.num_assignments else None,
            num_assignments=seen.num_assignments,
            excluded=seen.reason,
        )
    return {image: found[image] for image in ids}
