"""Images for reviewers, by image id: from the study's blobs, a local copy of them where the store is remote, or a placeholder.

Every image has one address here, ``/review/images/display?id=IMAGE``, behind sign-in. What it answers is a setting: the bytes, or (for
stores such as S3) a redirection to an address that the store itself answers, signed for this image and for some time. Whoever has a
signed address can read that one image until it expires, signed in or not.
"""

from __future__ import annotations

import logging
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from retest.errors import NotFoundError, StoreError, UsageError
from retest.images import content_hash, variant_names
from retest.records import ImageVariant
from retest.store import BlobStore, Tables, open_blobs
from retest.study import Study
from retest.web.review.options import ReviewOptions
from retest.web.review.visit import PREFIX, Desk

__all__ = ["ImageReader", "image_origin", "review_image_routes"]

_KINDS = {"full": 0, "display": 1}
_FOREVER = "private, max-age=31536000, immutable"
_HEADERS = {"Content-Disposition": "inline", "Content-Security-Policy": "default-src 'none'"}
_log = logging.getLogger(__name__)


def image_origin(study: Study, options: ReviewOptions) -> str:
    """Scheme, host and port from which browsers fetch images, for the pages' policy; empty where that is this server alone.

    Raises:
        UsageError: signed addresses are asked for, and the study's blob store has none.
    """
    if options.image_urls != "signed":
        return ""
    address = study.blobs.signed_url("images/origin", seconds=options.image_url_s)
    if address is None:
        raise UsageError(
            "the study's blob store has no signed addresses",
            item=study.config.study.blobs,
            remedy="Serve images proxied; only object stores such as S3 sign",
        )
    found = urlsplit(address)
    return f"{found.scheme}://{found.netloc}"


class ImageReader:
    """Reads images; those of a remote store are kept in a local folder, in the layout of ``retest download --local-cache``.

    Args:
        study: an open study.
        cache: the folder; None reads from the study's blobs alone.
        only_cache: never ask the study's blobs.
    """

    def __init__(self, study: Study, cache: Path | None, *, only_cache: bool = False) -> None:
        self._study, self._only_cache = study, only_cache
        self._cache: BlobStore | None = None if cache is None else open_blobs(str(cache), base=Path.cwd())

    def find(self, tables: Tables, image_id: str, kind: str) -> ImageVariant | None:
        """What is stored of an image; ``kind`` is ``full`` or ``display``."""
        return tables.variants.get([image_id], variant_names(self._study.config.images)[_KINDS[kind]]).get(image_id)

    def read(self, variant: ImageVariant) -> bytes | None:
        """The bytes of an image; None where the store has lost them, or the cache does not have them and the store is not asked.

        Raises:
            StoreError: the store cannot be reached.
        """
        if self._cache is not None:
            try:
                kept = self._cache.get(variant.blob_key)
            except NotFoundError:
                kept = b""
            if content_hash(kept) == variant.sha256:
                return kept
        if self._only_cache:
            return None
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
    """``/review/images/display?id=IMAGE`` and ``/review/images/full?id=IMAGE``; with ``proxied=1`` the bytes come from here in any case."""
    reader = ImageReader(desk.study, desk.options.image_cache, only_cache=desk.options.image_urls == "cached")
    return [_route(desk, reader, kind) for kind in _KINDS]


def _route(desk: Desk, reader: ImageReader, kind: str) -> Route:
    async def image(request: Request) -> Response:
        return await desk.lanes.pictures.run(_answer, desk, reader, kind, request)

    return Route(f"{PREFIX}/images/{kind}", image, methods=["GET"])


def _answer(desk: Desk, reader: ImageReader, kind: str, request: Request) -> Response:
    with desk.study.database.read() as tables:
        if desk.sessions.who(request, tables) is None:
            return Response("Nobody is signed in.\n", 401, {"Cache-Control": "no-store"}, "text/plain")
        found = reader.find(tables, request.query_params.get("id", ""), kind)
    if found is None:
        return _placeholder("missing")
    if desk.options.image_urls == "signed" and _may_leave(request):
        return _signed(desk, found)
    tag = f'"{found.sha256[:32]}"'
    # Only an address that names the content may be kept for ever.
    named = found.sha256.startswith(request.query_params.get("v") or "-")
    headers = {**_HEADERS, "ETag": tag, "Cache-Control": _FOREVER if named else "private, no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    try:
        data = reader.read(found)
    except StoreError as error:
        _log.warning("an image cannot be read: %s", error)
        return _placeholder("unreachable")
    if data is None:
        return _placeholder("unreachable" if desk.options.image_urls == "cached" else "missing")
    return Response(data, 200, headers, "image/jpeg")


def _may_leave(request: Request) -> bool:
    """Whether an image may come from the store: not when that has failed, and not as a page of its own, which stores offer for download."""
    return "proxied" not in request.query_params and request.headers.get("sec-fetch-dest") not in ("document", "iframe")


def _signed(desk: Desk, variant: ImageVariant) -> Response:
    seconds = desk.options.image_url_s
    address = desk.study.blobs.signed_url(variant.blob_key, seconds=seconds)
    if address is None:  # the options were checked when the server started
        return _placeholder("unreachable")
    # Kept for half of its life, so that an address that a browser still has is valid for the other half.
    return RedirectResponse(address, 302, {"Cache-Control": f"private, max-age={seconds // 2}", "Referrer-Policy": "no-referrer"})


def _placeholder(why: str) -> Response:
    """A picture that says that there is none, and why: a grid stays a grid."""
    data = (files("retest.web.review") / "static" / f"{why}.svg").read_bytes()
    return Response(data, 200, {"Cache-Control": "no-store", "X-Retest-Placeholder": "1"}, "image/svg+xml")
