"""POST /: the Mechanical Turk requester protocol."""

from __future__ import annotations

import logging
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from retest.crowd.taskserver import RequesterApi, RequesterEndpoint, TaskRepository
from retest.errors import StoreError
from retest.web.options import ServerOptions
from retest.web.requests import read_body

__all__ = ["requester_routes"]

_MAX_BYTES = 1_048_576
_log = logging.getLogger(__name__)


def requester_routes(repository: TaskRepository, *, options: ServerOptions, now: Callable[[], float]) -> list[Route]:
    """The protocol's one address; signatures are checked when keys are configured."""
    keys = None if options.requester_keys is None else dict([options.requester_keys])
    endpoint = RequesterEndpoint(RequesterApi(repository, now=now), keys=keys, now=now, on_failure=_report)

    async def operation(request: Request) -> Response:
        body = await read_body(request, _MAX_BYTES)
        path = request.scope.get("raw_path") or request.url.path.encode()
        reply = await run_in_threadpool(
            endpoint.handle,
            method="POST",
            path=path.decode("latin-1"),
            query=request.scope["query_string"].decode("latin-1"),
            headers=dict(request.headers),
            body=body,
        )
        return Response(reply.body, reply.status, dict(reply.headers))

    return [Route("/", operation, methods=["POST"])]


def _report(error: StoreError) -> None:
    _log.error("the requester protocol failed: %s", error)
