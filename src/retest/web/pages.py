"""The server's own small pages (welcome, thanks, messages) and the headers that every answer carries."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["GuardMiddleware", "environment", "message_page", "new_environment", "page", "stylesheet"]

_HEADERS = {
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-robots-tag": "noindex, nofollow",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cross-origin-opener-policy": "same-origin",
}


def page(name: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """Render one of the server's own pages; all values are escaped."""
    html = environment().get_template(name).render(style=Markup(stylesheet()), **values)  # noqa: S704 own file
    return HTMLResponse(html, status, {"Content-Security-Policy": _policy(), "Cache-Control": "no-store"})


def message_page(heading: str, *paragraphs: str, status: int = 200, **links: str) -> HTMLResponse:
    """A page with a heading and a few sentences; ``links`` may hold ``next_url`` and ``instructions_url``."""
    return page("message.html", status=status, heading=heading, paragraphs=paragraphs, **{"next_url": "", "instructions_url": "", **links})


class GuardMiddleware:
    """Refuses requests for other host names and adds the headers that every answer carries."""

    def __init__(self, app: ASGIApp, *, hostnames: frozenset[str]) -> None:
        self._app, self._hostnames = app, hostnames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if _hostname(scope) not in self._hostnames:
            refusal = PlainTextResponse("This server does not answer under this name; see --public-url.\n", 421)
            await refusal(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                extra = [(name.encode(), value.encode()) for name, value in _HEADERS.items() if name.encode() not in present]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        await self._app(scope, receive, with_headers)


def _hostname(scope: Scope) -> str:
    value = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "").lower()
    if value.startswith("["):
        return value[1:].partition("]")[0]
    return value.partition(":")[0]


@cache
def environment() -> Environment:
    """The room's templates."""
    return new_environment("retest.web")


def new_environment(package: str) -> Environment:
    """The ``templates`` of a package: values are escaped, and one that is missing is an error."""
    return Environment(
        loader=PackageLoader(package, "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


@cache
def stylesheet(name: str = "pages.css") -> str:
    """The text of one of this room's style sheets."""
    return (files("retest.web") / "templates" / name).read_text(encoding="utf-8")


@cache
def _policy() -> str:
    digest = base64.b64encode(hashlib.sha256(stylesheet().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
