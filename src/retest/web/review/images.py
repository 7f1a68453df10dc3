"""Images for reviewers, by image id: from the study's blobs, a local copy of them where the store is remote, or a placeholder."""

from __future__ import annotations

import logging
from importlib.resources import files
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from retest.errors import NotFoundError, StoreError
from retest.images import content_hash, variant_names
from retest.records import ImageVariant
from retest.store import BlobStore, open_blobs
from retest.study import Study
from retest.web.review.visit import PREFIX, Desk

__all__ = ["ImageReader", "review_image_routes"]

_KINDS = {"full": 0, "display": 1}
_FOREVER = "private, max-age=31536000, immutable"
_HEADERS = {"Content-Disposition": "inline", "Content-Security-Policy": "default-src 'none'"}
_log = logging.getLogger(__name__)


class ImageReader:
    """Reads images; those of a remote store are kept in a local folder, in the layout of ``retest download --local-cache``.

    Args:
        study: an open study.
        cache: the folder; None reads from the study's blobs alone.
    """

    def __init__(self, study: Study, cache: Path | None) -> None:
        self._study = study
        self._cache: BlobStore | None = None if cache is None else open_blobs(str(cache), base=Path.cwd())

    def find(self, image_id: str, kind: str) -> ImageVariant | None:
        """What is stored of an image; ``kind`` is ``full`` or ``display``."""
        variant = variant_names(self._study.config.images)[_KINDS[kind]]
        with self._study.database.read() as tables:
            return tables.variants.get([image_id], variant).get(image_id)

    def read(self, variant: ImageVariant) -> bytes | None:
        """The bytes of an image; None where the store has lost them."""
        if self._cache is not None:
            try:
                kept = self._cache.get(variant.blob_key)
            except NotFoundError:
                kept = b""
            if content_hash(kept) == variant.sha256:
                return kept
        try:
            data = self._study.blobs.get(variant.blob_key)
        except NotFoundError:
            return None
        if self._cache is not None:
            self._keep(variant, data)
        return data

    def _keep(self, variant: ImageVariant, data: bytes) -> None:
        try:
            if self._cache is not None and content_hash(data) == variant.sha256:
                self._cache.put(variant.blob_key, data)
        except StoreError as error:  # a full disk must not keep reviewers from seeing the image
            _log.warning("the local copy of an image cannot be written: %s", error)


def review_image_routes(desk: Desk) -> list[Route]:
    """``/review/images/display?id=IMAGE`` and ``/review/images/full?id=IMAGE``."""
    reader = ImageReader(desk.study, desk.options.image_cache)
    return [_route(desk, reader, kind) for kind in _KINDS]


def _route(desk: Desk, reader: ImageReader, kind: str) -> Route:
    async def image(request: Request) -> Response:
        if await run_in_threadpool(desk.sessions.who, request) is None:
            return Response("Nobody is signed in.\n", 401, {"Cache-Control": "no-store"}, "text/plain")
        found = await run_in_threadpool(reader.find, request.query_params.get("id", ""), kind)
        if found is None:
            return _placeholder()
        tag = f'"{found.sha256[:32]}"'
        # Only an address that names the content may be kept for ever.
        named = found.sha256.startswith(request.query_params.get("v") or "-")
        headers = {**_HEADERS, "ETag": tag, "Cache-Control": _FOREVER if named else "private, no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        data = await run_in_threadpool(reader.read, found)
        return _placeholder() if data is None else Response(data, 200, headers, "image/jpeg")

    return Route(f"{PREFIX}/images/{kind}", image, methods=["GET"])


def _placeholder() -> Response:
    """A picture that says that there is none: a grid stays a grid."""
    data = (files("retest.web.review") / "static" / "missing.svg").read_bytes()
    return Response(data, 200, {"Cache-Control": "no-store", "X-Retest-Placeholder": "1"}, "image/svg+xml")
