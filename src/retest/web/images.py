"""Images under their opaque names: nothing else is reachable, and controls and candidates are served alike.

No answer carries a date, an entity tag or a file name, which could tell when or from where an image came.
"""

from __future__ import annotations

import re

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from retest.errors import NotFoundError
from retest.stages._common import public_blob_key
from retest.store import BlobStore

__all__ = ["image_routes"]

_NAME = re.compile(r"([0-9a-f]{2})/([0-9a-f]{32})\.jpg")
_HEADERS = {
    "Cache-Control": "private, max-age=86400, immutable",
    "Content-Disposition": "inline",
    "Content-Security-Policy": "default-src 'none'",
    # The page may be shown inside Mechanical Turk's, which is another site.
    "Cross-Origin-Resource-Policy": "cross-origin",
}


def image_routes(blobs: BlobStore) -> list[Route]:
    """``/public/xx/<32 hex digits>.jpg``."""

    def read(key: str) -> bytes | None:
        try:
            return blobs.get(key)
        except NotFoundError:
            return None

    async def image(request: Request) -> Response:
        match = _NAME.fullmatch(request.path_params["name"])
        data = None
        if match is not None and match.group(2).startswith(match.group(1)):
            data = await run_in_threadpool(read, public_blob_key(match.group(2)))
        if data is None:
            return Response("There is no such image.\n", 404, {"Cache-Control": "no-store"}, "text/plain")
        return Response(data, 200, _HEADERS, "image/jpeg")

    return [Route("/public/{name:path}", image, methods=["GET"])]
