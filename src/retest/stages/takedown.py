"""Stage: take an image down on request: it leaves every later revision, with a record, and its bytes go where asked."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from retest.errors import NotFoundError, UsageError
from retest.records import Candidate, Exclusion
from retest.stages._common import Stamp, image_blob_key, public_blob_key
from retest.store import Tables
from retest.study import Study

__all__ = ["Holder", "TakenDown", "take_down"]


@dataclass(frozen=True, slots=True)
class Holder:
    """An existing revision that holds a taken-down image at ``position`` (from 0). Revisions never change."""

    revision: str
    image: str
    wnid: str
    position: int


@dataclass(frozen=True, slots=True)
class TakenDown:
    """What was done. ``images`` are all candidates that show the photo; ``resembling`` their near-duplicates, for somebody to look at."""

    images: tuple[str, ...]
    new: int
    held_by: tuple[Holder, ...]
    resembling: tuple[str, ...]
    blobs_removed: int
    answers: int


def take_down(study: Study, image: str, *, reason: str, stamp: Stamp, remove_blobs: bool = False) -> TakenDown:
    """Exclude a candidate, and every other candidate of the same photo, for good; doing it again changes nothing.

    No strategy draws it again, ``--starting-from`` leaves it behind, downloads pass it over, and no later change of mind of a reviewer
    brings it back. Revisions that exist never change; they are named, so that they can be withdrawn or followed by a new one.

    Args:
        study: the study.
        image: id of the candidate, or its page or image address.
        reason: why, in words; kept with the exclusion and in the ledger.
        stamp: who does it, and when.
        remove_blobs: also remove the stored bytes: all variants and the copies that annotators see.

    Raises:
        UsageError: no reason is given, or it is an image of the benchmark itself.
        NotFoundError: the study has no such candidate.
    """
    if not reason.strip():
        raise UsageError("a reason is needed", item="--reason", remedy="Say who asked and why; it is kept with the record")
    with study.database.write() as tables:
        found = _same_photo(tables, image)
        ids = [candidate.id for candidate in found]
        new = tables.exclusions.take_down(
            Exclusion(i, detail=reason, user=stamp.user, time=stamp.time, reason="taken_down") for i in _open(tables, ids)
        )
        holders = tuple(
            Holder(name, image_id, wnid, position) for image_id in ids for name, position, wnid in tables.revisions.containing(image_id)
        )
        if new:
            after = {"reason": reason, "revisions": sorted({holder.revision for holder in holders})}
            for image_id in ids:
                tables.decisions.add(time=stamp.time, user=stamp.user, kind="take_down", item=image_id, after=after)
        resembling = sorted({other for pair in tables.pairs.touching(ids) for other in pair} - set(ids))
        answers = sum(len(tables.hits.of_image(image_id)) for image_id in ids)
        names = tables.opaque_names.of_images(ids)
        if remove_blobs:
            tables.variants.forget(ids)  # before the blobs, so that no row points to nothing
    removed = _remove(study, ids, names) if remove_blobs else 0
    return TakenDown(tuple(ids), new, holders, tuple(resembling), removed, answers)


def _open(tables: Tables, ids: list[str]) -> list[str]:
    """Those that are not taken down yet."""
    known = tables.exclusions.get(ids)
    return [i for i in ids if i not in known or known[i].reason != "taken_down"]


def _same_photo(tables: Tables, image: str) -> list[Candidate]:
    first = tables.candidates.get([image]).get(image) or next(iter(tables.candidates.at_address(image)), None)
    if first is None:
        if tables.originals.get([image]):
            raise UsageError(
                "is an image of the benchmark itself", item=image, remedy="Its publisher can take it down; leave it out of your data"
            )
        raise NotFoundError("the study has no such candidate", item=image, remedy="Give its id, or the address of its page or image")
    if not first.photo_id:
        return [first]
    ids = [row[2] for row in tables.candidates.by_photo(first.source, [first.photo_id])]
    return sorted(tables.candidates.get(ids).values(), key=lambda candidate: candidate.id)


def _remove(study: Study, ids: list[str], names: list[str]) -> int:
    """Remove every stored copy of the bytes, whatever the settings were when it was made, and the caches of pixels."""
    # images/RULE/VARIANT/xx/NAME.jpg: rule and variant may be older ones.
    tails = {image_blob_key(i, "any", study.config.images).split("/", 3)[3] for i in ids}
    keys = [key for key, _ in study.blobs.list("images") if key.split("/", 3)[-1] in tails]
    keys += [key for key in map(public_blob_key, names) if study.blobs.exists(key)]
    for key in keys:
        study.blobs.delete(key)
    shutil.rmtree(study.folder / "cache", ignore_errors=True)  # holds pixels of all images; made again when needed
    return len(keys)
