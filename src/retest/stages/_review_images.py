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
    stored = tables.variants.get(ids, display_variant(study.config.images))
    classes = tables.review_candidates.classes_of(ids)
    candidates = tables.candidates.photos(ids)
    originals = tables.originals.get([image for image in ids if image not in candidates])
    frequencies = tables.pair_queue.frequencies_of(ids)
    excluded = tables.exclusions.get(ids)
    found = {}
    for image in ids:
        original = originals.get(image)
        own = classes.get(image) or (original.wnid if original else None)
        selected, number = frequencies.get((image, wnid or own or ""), (0, 0))
        found[image] = ImageView(
            id=image,
            kind="candidate" if image in candidates else str(original.split) if original else "unknown",
            wnid=own,
            sha256=stored[image].sha256 if image in stored else None,
            frequency=selected / number if number else None,
            num_assignments=number,
            excluded=excluded[image].reason if image in excluded else None,
        )
    return found
