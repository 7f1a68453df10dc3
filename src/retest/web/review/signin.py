"""The way in and out: sign in with a token, or with the operator's own link; sign out."""

from __future__ import annotations

import hmac
import math

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from retest.stages import review_people
from retest.web.options import is_loopback
from retest.web.requests import form_fields
from retest.web.review.session import is_same_origin
from retest.web.review.visit import PREFIX, Desk, message, render

__all__ = ["local_link", "sign_in_routes"]


def local_link(desk: Desk, public_url: str) -> str:
    """The operator's own link."""
    return f"{public_url}{PREFIX}/enter/{desk.sessions.local_code}"


def sign_in_routes(desk: Desk) -> list[Route]:
    """``/review/sign-in``, ``/review/enter/CODE`` and ``/review/sign-out``."""
    doors = _Doors(desk)
    return [
        Route(f"{PREFIX}/sign-in", doors.show, methods=["GET"]),
        Route(f"{PREFIX}/sign-in", doors.sign_in, methods=["POST"]),
        Route(f"{PREFIX}/enter/{{code}}", doors.enter, methods=["GET", "POST"]),
        Route(f"{PREFIX}/sign-out", doors.sign_out, methods=["POST"]),
    ]


class _Doors:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def show(self, request: Request) -> Response:
        """The form; whoever is signed in goes on at once."""
        target = _inside(request.query_params.get("next", ""))
        if await run_in_threadpool(self._desk.sessions.who, request) is not None:
            return RedirectResponse(target, 303)
        return self._form(target)

    async def sign_in(self, request: Request) -> Response:
        """What the form sends."""
        desk, fields = self._desk, dict(await form_fields(request))
        target, client = _inside(fields.get("next", "")), _client(request)
        wait = desk.limiter.wait_s(client)
        if wait:
            minutes = math.ceil(wait / 60)
            problem = f"Too many wrong tokens. Wait {minutes} {'minute' if minutes == 1 else 'minutes'}, then try again."
            return self._form(target, problem, status=429, headers={"Retry-After": str(wait)})
        if not is_same_origin(request):
            return self._form(target, "Please sign in on this page.", status=403)
        person = await run_in_threadpool(review_people.by_token, desk.study, fields.get("token", "").strip())
        if person is None:
            desk.limiter.failed(client)
            return self._form(target, "This token is not valid. It may have been replaced: ask whoever gave it to you.", status=403)
        await run_in_threadpool(review_people.note_seen, desk.study, person.name, time=desk.time())
        response = RedirectResponse(target, 303, {"Cache-Control": "no-store"})
        desk.sessions.begin(response, person)
        return response

    async def enter(self, request: Request) -> Response:
        """The operator's link. Opening it signs nobody in, as programs that preview links open them too: its button does."""
        desk, client = self._desk, _client(request)
        name = desk.options.local_admin
        fits = hmac.compare_digest(request.path_params["code"].encode(), desk.sessions.local_code.encode())
        if not fits:
            desk.limiter.failed(client)
        if name is None or not fits or not is_loopback(client):
            return message(desk, "This link is not valid", "It works until the server that printed it stops.", status=404)
        if request.method == "GET":
            return render(desk, "enter.html", name=name)
        if not is_same_origin(request):
            return message(desk, "Please use the button on this server's own page", status=403)
        response = RedirectResponse(PREFIX, 303, {"Cache-Control": "no-store"})
        desk.sessions.begin_local(response)
        return response

    async def sign_out(self, request: Request) -> Response:
        """End the session."""
        if not is_same_origin(request):
            return message(self._desk, "Please sign out on this server's own page", status=403)
        response = RedirectResponse(f"{PREFIX}/sign-in", 303, {"Cache-Control": "no-store"})
        self._desk.sessions.end(response)
        return response

    def _form(self, target: str, problem: str = "", *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
        response = render(self._desk, "sign_in.html", status=status, target=target, problem=problem)
        response.headers.update(headers or {})
        return response


def _client(request: Request) -> str:
    return request.client.host if request.client else ""


def _inside(target: str) -> str:
    """A place to go on to, if it is one of the review pages; never another site."""
    fine = target == PREFIX or target.startswith((f"{PREFIX}/", f"{PREFIX}?"))
    return target if fine and "\\" not in target and target.isprintable() else PREFIX
