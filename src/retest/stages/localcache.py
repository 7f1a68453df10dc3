"""Stage: a copy of a study's images, or of one revision's, in a local folder, for review without a network.

The folder is a blob store of its own, with the keys of the study's: ``[study] blobs`` may point to it while there is no network.
``images.csv`` in it says which file is which image.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from retest.errors import ConflictError, NotFoundError, UsageError
from retest.files import write_atomic
from retest.images import content_hash, variant_names
from retest.records import ImageVariant
from retest.stages._common import Progress, display_variant, in_order, public_blob_key, silent
from retest.stages._keys import current_key_version
from retest.store import BlobStore, Tables, open_blobs
from retest.study import Study

__all__ = ["INDEX", "CacheCounts", "fill_cache"]

INDEX = "images.csv"
_READERS = 8  # an object store takes tens of milliseconds for each image


@dataclass(frozen=True, slots=True)
class CacheCounts:
    """What one run did: images asked for, files fetched, files that were there; ``damaged`` are keys of blobs that are not as stored."""

    images: int
    fetched: int
    present: int
    damaged: tuple[str, ...] = ()


def fill_cache(
    study: Study, folder: Path, *, revision: str | None = None, variants: Iterable[str] = (), progress: Progress = silent
) -> CacheCounts:
    """Copy variants, and the copies under current opaque names, into ``folder``; what is there as recorded is left alone.

    Args:
        study: the study.
        folder: is made where it does not exist.
        revision: the images of this revision only; by default all that are stored.
        variants: names of variants; by default all.
        progress: shows the work.

    Raises:
        NotFoundError: there is no such revision, or an image of it is not stored.
        UsageError: there is no such variant.
        ConflictError: the folder is the study's own blob store.
    """
    names = variant_names(study.config.images)
    wanted = tuple(variants) or names
    for name in wanted:
        if name not in names:
            raise UsageError(f"there is no variant {name!r}", item="--variant", remedy=f"Use one of: {', '.join(names)}")
    if "://" not in study.config.study.blobs and study.path(study.config.study.blobs) == folder.resolve():
        raise ConflictError("is the study's own blob store", item=str(folder), remedy="Choose another folder")
    with study.database.read() as tables:
        listed = _listed(tables, wanted, revision)
        opaque = tables.opaque_names.all(current_key_version(tables))
    target = open_blobs(str(folder), base=Path.cwd())
    shown = display_variant(study.config.images)

    def fetch(variant: ImageVariant) -> tuple[int, int, str | None]:
        keys = [variant.blob_key]
        if variant.variant == shown and variant.image_id in opaque:
            keys.append(public_blob_key(opaque[variant.image_id]))
        return _fetch(study.blobs, target, variant, keys)

    fetched = present = 0
    damaged: list[str] = []
    with progress("Fetch images", total=len(listed)) as advance, ThreadPoolExecutor(_READERS) as readers:
        for new, old, problem in in_order(readers, fetch, listed, window=4 * _READERS):
            fetched, present = fetched + new, present + old
            damaged += [problem] if problem else []
            advance(1)
    write_atomic(folder / INDEX, _index(listed, opaque, shown))
    return CacheCounts(len({variant.image_id for variant in listed}), fetched, present, tuple(damaged))


def _listed(tables: Tables, wanted: tuple[str, ...], revision: str | None) -> list[ImageVariant]:
    if revision is None:
        return [variant for variant in tables.variants.all() if variant.variant in wanted]
    ids = list(dict.fromkeys(image for image, _ in tables.revisions.get(revision).images))
    found = [tables.variants.get(ids, name) for name in wanted]
    missing = [image for image in ids if not all(image in stored for stored in found)]
    if missing:
        raise NotFoundError(f"{len(missing)} images of the revision are not stored", item=missing[0], remedy="Run: retest download")
    return [stored[image] for image in ids for stored in found]


def _fetch(source: BlobStore, target: BlobStore, variant: ImageVariant, keys: list[str]) -> tuple[int, int, str | None]:
    """(files written, files that were there, key of a damaged blob) of one variant and its opaque copy."""
    absent = [key for key in keys if not _holds(target, key, variant)]
    if not absent:
        return 0, len(keys), None
    try:
        data = source.get(variant.blob_key)
    except NotFoundError:
        data = b""
    if content_hash(data) != variant.sha256:
        return 0, len(keys) - len(absent), variant.blob_key
    for key in absent:
        target.put(key, data)
    return len(absent), len(keys) - len(absent), None


def _holds(store: BlobStore, key: str, variant: ImageVariant) -> bool:
    return store.size(key) == variant.size_bytes and content_hash(store.get(key)) == variant.sha256


def _index(listed: list[ImageVariant], opaque: dict[str, str], shown: str) -> bytes:
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["image", "variant", "width", "height", "file", "opaque_file"])
    for v in listed:
        public = public_blob_key(opaque[v.image_id]) if v.variant == shown and v.image_id in opaque else ""
        table.writerow([v.image_id, v.variant, v.width, v.height, v.blob_key, public])
    return text.getvalue().encode()
