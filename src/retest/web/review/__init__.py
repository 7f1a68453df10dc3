"""The review pages of a study: a team looks at every image, pair and class, and no decision is lost (``retest serve``).

A module of pages lists its :class:`~retest.web.review.visit.Page` objects as ``PAGES`` and its JSON operations as ``ENDPOINTS``;
it becomes part of the application by its entry in ``_MODULES``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from types import ModuleType
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from retest.stages._review_shelf import PredictionShelf
from retest.stages.review import Role
from retest.study import Study
from retest.web.review import (
    api_decisions,
    pages_annotators,
    pages_audit,
    pages_browser,
    pages_classes,
    pages_components,
    pages_hits,
    pages_pairs,
    pages_people,
    pages_predictions,
    pages_progress,
    pages_revisions,
)
from retest.web.review.answering import endpoint_route, page_route
from retest.web.review.images import image_origin, review_image_routes
from retest.web.review.openapi import describe
from retest.web.review.options import KEY_VARIABLE, ReviewOptions, session_key
from retest.web.review.session import Limiter, Sessions
from retest.web.review.signin import local_link, sign_in_routes
from retest.web.review.visit import PREFIX, Desk, Endpoint, Page, message, static_build
from retest.web.review.warming import set_up_process, warm_up

__all__ = [
    "KEY_VARIABLE",
    "PREFIX",
    "ReviewOptions",
    "local_link",
    "open_desk",
    "openapi_document",
    "review_routes",
    "session_key",
    "warm_up",
]

_CONNECTIONS = 8

# In the order of the navigation.
_MODULES: tuple[ModuleType, ...] = (
    pages_progress,
    pages_classes,
    pages_browser,
    pages_pairs,
    pages_components,
    pages_revisions,
    pages_predictions,
    pages_hits,
    pages_annotators,
    pages_audit,
    pages_people,
    api_decisions,
)


def _pages() -> list[Page]:
    return [page for module in _MODULES for page in getattr(module, "PAGES", ())]


def _endpoints() -> list[Endpoint]:
    return [endpoint for module in _MODULES for endpoint in getattr(module, "ENDPOINTS", ())]


def open_desk(study: Study, *, options: ReviewOptions, secure: bool, now: Callable[[], float] = time.time) -> Desk:
    """What the review pages share.

    Args:
        study: stays open as long as the pages are served.
        options: who may do what.
        secure: whether people reach the server by https.
        now: the clock, seconds since 1970.
    """
    set_up_process()
    study.database.keep_connections(_CONNECTIONS)
    sessions = Sessions(study, options.key, secure=secure, local_admin=options.local_admin)
    navigation: tuple[tuple[str, str, Role], ...] = tuple((page.nav, PREFIX + page.path, page.role) for page in _pages() if page.nav)
    sections = {PREFIX + page.path: PREFIX + page.within for page in _pages() if page.within is not None}
    shelf, origin = PredictionShelf(options.predictions), image_origin(study, options)
    return Desk(study, options, sessions, Limiter(now), now, navigation, sections, predictions=shelf, image_origin=origin)


def openapi_document() -> dict[str, Any]:
    """The OpenAPI description of the JSON interface."""
    return describe(_endpoints())


@cache
def _openapi_json() -> bytes:
    # Made when it is first asked for, and once: it takes longer than all else that a server does before it answers.
    return json.dumps(openapi_document()).encode()


def review_routes(desk: Desk) -> list[BaseRoute]:
    """All routes of the review pages, below ``/review``."""

    async def openapi(request: Request) -> Response:
        return Response(await run_in_threadpool(_openapi_json), media_type="application/json")

    async def nothing(request: Request) -> Response:
        return message(desk, "There is no such page", "Please check the link.", status=404)

    return [
        *sign_in_routes(desk),
        *(page_route(desk, page) for page in _pages()),
        *(endpoint_route(desk, endpoint) for endpoint in _endpoints()),
        Route(f"{PREFIX}/api/openapi.json", openapi, methods=["GET"]),
        *review_image_routes(desk),
        Mount(f"{PREFIX}/static/{{build}}", _Static(directory=str(files("retest.web.review") / "static"))),
        Route(f"{PREFIX}/{{rest:path}}", nothing, methods=["GET"]),
    ]


class _Static(StaticFiles):
    """Files of the package; an address of the current build may be kept for ever."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        current = scope["path_params"].get("build") == static_build()
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if current else "no-cache"
        return response
