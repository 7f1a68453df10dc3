"""Stage: opaque names and the copies that annotators see (method, section 3).

A name is 32 hexadecimal digits. With a key from the environment (``RETEST_OPAQUE_KEY``) it is an HMAC of key version, study and
image id, so that it can be made again; without one it is random and lives in the database only. Either way it tells nothing
about where the image comes from, and names of images that belong together share nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from retest.errors import NotFoundError, StoreError, UsageError
from retest.images import content_hash
from retest.records import ImageVariant, OpaqueName
from retest.stages._common import Progress, completion_key, display_variant, in_order, public_blob_key, silent
from retest.stages._keys import KeyVersions, environment_key
from retest.store import BlobStore
from retest.study import Study

__all__ = ["PublishCounts", "environment_key", "opaque_name", "publish_images", "retire_key_version", "version_to_publish"]

_NAME_BYTES = 16
_WRITERS = 8  # an object store takes tens of milliseconds for each copy
_IMAGES_PER_PAGE = 1000


def opaque_name(image_id: str, *, study: str, key_version: int, key: bytes | None) -> str:
    """The opaque name of an image: HMAC-SHA256 truncated to 16 bytes, or 16 random bytes when there is no key."""
    if key is None:
        return secrets.token_hex(_NAME_BYTES)
    message = "\0".join((str(key_version), study, image_id)).encode()
    return hmac.new(key, message, hashlib.sha256).digest()[:_NAME_BYTES].hex()


@dataclass(frozen=True, slots=True)
class PublishCounts:
    """What one run did: names made, copies written, copies that were there; ``key_version`` is the one they belong to."""

    named: int
    written: int
    present: int
    key_version: int = 1


def version_to_publish(study: Study, asked: int | None = None) -> int:
    """The key version to publish under: the current one, or a newer one that was asked for.

    Raises:
        UsageError: the version asked for is older than the current one.
    """
    with study.database.read() as tables:
        known = KeyVersions.read(tables)
    if asked is not None and asked < known.current:
        raise UsageError(
            f"key version {known.current} is current, and versions only grow",
            item=f"--key-version {asked}",
            remedy=f"Leave the option away, or issue new names with --key-version {known.current + 1}",
        )
    return asked or known.current


def publish_images(study: Study, *, key: bytes | None, key_version: int | None = None, progress: Progress = silent) -> PublishCounts:
    """Give an opaque name to every stored original image and candidate and write its copy; running it again adds what is missing.

    A copy that is there is read and compared, once for as long as nobody writes it anew, and replaced where it is not as it should be.

    With a ``key_version`` newer than the current one all images get new names, and the version becomes the current one when all
    copies are written; names and copies of older versions stay until they are retired.

    Raises:
        UsageError: the key version is older than the current one.
        ConflictError: names of this version were made with another key.
        StoreError: what would be copied is missing, or not as it was stored.
    """
    version = version_to_publish(study, key_version)
    variant = display_variant(study.config.images)
    new, total = _give_names(study, version, variant, key)
    written = copies = 0
    with progress("Publish images", total=total) as advance, ThreadPoolExecutor(_WRITERS) as writers:
        for page in _named_pages(study, version, variant):
            equal: dict[str, str] = {}
            for done in in_order(writers, partial(_write_copy, study.blobs), page, window=4 * _WRITERS):
                written, copies = written + done.written, copies + 1
                if done.equal is not None:
                    equal[done.image_id] = done.equal
                advance(1)
            if equal:
                with study.database.write() as tables:
                    tables.completions.put_all(_stage(version), equal)
    with study.database.write() as tables:
        known = KeyVersions.read(tables)
        if version > known.current:
            replace(known, current=version).write(tables)
    return PublishCounts(new, written, copies - written, version)


def _give_names(study: Study, version: int, variant: str, key: bytes | None) -> tuple[int, int]:
    """Name every stored image that has no name of this key version: (how many that were, how many images there are)."""
    name = study.config.study.name
    given = total = 0
    with study.database.write() as tables:
        after = ""
        while page := tables.variants.page(variant, after=after, limit=_IMAGES_PER_PAGE):
            ids = [stored.image_id for stored in page]
            named = tables.opaque_names.get(ids, version)
            new = [image for image in ids if image not in named]
            if new and not given:
                KeyVersions.read(tables).with_key(version, key).write(tables)
            tables.opaque_names.add(OpaqueName(i, version, opaque_name(i, study=name, key_version=version, key=key)) for i in new)
            given, total, after = given + len(new), total + len(page), ids[-1]
    return given, total


def _named_pages(study: Study, version: int, variant: str) -> Iterator[list[_Copy]]:
    """The images that have a name, page by page, each with what is known of its copy."""
    after = ""
    while True:
        with study.database.read() as tables:
            page = tables.variants.page(variant, after=after, limit=_IMAGES_PER_PAGE)
            ids = [stored.image_id for stored in page]
            names, known = tables.opaque_names.get(ids, version), tables.completions.keys_of(_stage(version), ids)
        if not page:
            return
        yield [_Copy(v, public_blob_key(names[v.image_id]), known.get(v.image_id)) for v in page if v.image_id in names]
        after = ids[-1]


@dataclass(frozen=True, slots=True)
class _Copy:
    """A copy to write: of what, where to, and by which key it was known to be right."""

    stored: ImageVariant
    target: str
    known: str | None


@dataclass(frozen=True, slots=True)
class _Copied:
    """Whether a copy was written; ``equal`` says by which key a copy that was read and found right is known again."""

    image_id: str
    written: bool
    equal: str | None = None


def _write_copy(blobs: BlobStore, copy: _Copy) -> _Copied:
    stored, target = copy.stored, copy.target
    mark = blobs.mark(target)
    if mark is not None:
        key = completion_key("publish-1", target, mark, stored.sha256)
        if key == copy.known:
            return _Copied(stored.image_id, written=False)
        with suppress(NotFoundError):  # deleted a moment ago
            if content_hash(blobs.get(target)) == stored.sha256:
                return _Copied(stored.image_id, written=False, equal=key)
    data = blobs.get(stored.blob_key)
    if content_hash(data) != stored.sha256:
        raise StoreError(
            "the blob's content is not what was stored", item=stored.blob_key, remedy="Run: retest check --repair, then: retest download"
        )
    blobs.put(target, data)
    return _Copied(stored.image_id, written=True)


def _stage(version: int) -> str:
    return f"publish {version}"


def retire_key_version(study: Study, version: int, *, progress: Progress = silent) -> int:
    """Delete the copies that lie under a key version's names and accept it no more; returns how many copies were deleted.

    The names stay on record, so that what was once shown can still be told. Interrupted, it goes on when called again.

    Raises:
        UsageError: the version is the current one, or there never was one.
    """
    with study.database.write() as tables:
        known = KeyVersions.read(tables)
        if not 1 <= version < known.current:
            raise UsageError(
                f"only versions older than the current one, {known.current}, can be retired",
                item=f"--retire {version}",
                remedy=f"Issue new names first: retest publish --key-version {known.current + 1}",
            )
        replace(known, retired=tuple({*known.retired, version})).write(tables)
        total = tables.bulk.opaque_names(version)
    with progress(f"Retire key version {version}", total=total) as advance, ThreadPoolExecutor(_WRITERS) as writers:

        def remove(name: str) -> bool:
            there = study.blobs.exists(public_blob_key(name))
            study.blobs.delete(public_blob_key(name))
            return there

        deleted = 0
        for there in in_order(writers, remove, _names_of(study, version), window=4 * _WRITERS):
            deleted += there
            advance(1)
    return deleted


def _names_of(study: Study, version: int) -> Iterator[str]:
    after = ""
    while True:
        with study.database.read() as tables:
            page = tables.opaque_names.page(version, after=after, limit=_IMAGES_PER_PAGE)
        if not page:
            return
        yield from (name for _, name in page)
        after = page[-1][0]
