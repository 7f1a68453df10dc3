"""Stage: opaque names and the copies that annotators see (method, section 3).

A name is 32 hexadecimal digits. With a key from the environment (``RETEST_OPAQUE_KEY``) it is an HMAC of key version, study and
image id, so that it can be made again; without one it is random and lives in the database only. Either way it tells nothing
about where the image comes from, and names of images that belong together share nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from retest.records import OpaqueName
from retest.stages._common import Progress, display_variant, public_blob_key, silent
from retest.study import Study

KEY_VARIABLE = "RETEST_OPAQUE_KEY"
_NAME_BYTES = 16


def opaque_name(image_id: str, *, study: str, key_version: int, key: bytes | None) -> str:
    """The opaque name of an image: HMAC-SHA256 truncated to 16 bytes, or 16 random bytes when there is no key."""
    if key is None:
        return secrets.token_hex(_NAME_BYTES)
    message = "\0".join((str(key_version), study, image_id)).encode()
    return hmac.new(key, message, hashlib.sha256).digest()[:_NAME_BYTES].hex()


@dataclass(frozen=True, slots=True)
class PublishCounts:
    """What one run did: names made, copies written, copies that were there."""

    named: int
    written: int
    present: int


def publish_images(study: Study, *, key: bytes | None, key_version: int = 1, progress: Progress = silent) -> PublishCounts:
    """Give an opaque name to every stored original image and candidate and write its copy; running it again adds what is missing."""
    variant = display_variant(study.config.images)
    with study.database.write() as tables:
        shown = list(tables.variants.all(variant))
        named = tables.opaque_names.all(key_version)
        new = [
            OpaqueName(v.image_id, key_version, opaque_name(v.image_id, study=study.config.study.name, key_version=key_version, key=key))
            for v in shown
            if v.image_id not in named
        ]
        tables.opaque_names.add(new)
        names = tables.opaque_names.all(key_version)
    written = 0
    with progress("Publish images", total=len(shown)) as advance:
        for stored in shown:
            target = public_blob_key(names[stored.image_id])
            if study.blobs.size(target) != stored.size_bytes:
                study.blobs.put(target, study.blobs.get(stored.blob_key))
                written += 1
            advance(1)
    return PublishCounts(len(new), written, len(shown) - written)
