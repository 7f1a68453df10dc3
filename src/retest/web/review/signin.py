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

    async def form(request: Request) -> Response:
        if await run_in_threadpool(desk.sessions.who, request) is not None:
            return RedirectResponse(_inside(request.query_params.get("next", "")), 303)
        return _form(desk, _inside(request.query_params.get("next", "")))

    async def sign_in(request: Request) -> Response:
        fields = dict(await form_fields(request))
        target, client = _inside(fields.get("next", "")), request.client.host if request.client else ""
        wait = desk.limiter.wait_s(client)
        if wait:
            minutes = math.ceil(wait / 60)
            problem = f"Too many wrong tokens. Wait {minutes} {'minute' if minutes == 1 else 'minutes'}, then try again."
            return _form(desk, target, problem, status=429, headers={"Retry-After": str(wait)})
        if not is_same_origin(request):
            return _form(desk, target, "Please sign in on this page.", status=403)
        person = await run_in_threadpool(review_people.by_token, desk.study, fields.get("token", "").strip())
        if person is None:
            desk.limiter.failed(client)
            return _form(desk, target, "This token is not valid. It may have been replaced: ask whoever gave it to you.", status=403)
        await run_in_threadpool(lambda: review_people.note_seen(desk.study, person.name, time=desk.time()))
        response = RedirectResponse(target, 303, {"Cache-Control": "no-store"})
        desk.sessions.begin(response, person)
        return response

    async def enter(request: Request) -> Response:
        name = desk.options.local_admin
        client = request.client.host if request.client else ""
        fits = hmac.compare_digest(request.path_params["code"].encode(), desk.sessions.local_code.encode())
        if name is None or not fits or not (is_loopback(client) or client == "testclient"):
            if not fits:
                desk.limiter.failed(client)
            return message(desk, "This link is not valid", "It works until the server that printed it stops.", status=404)
        if request.method == "GET":  # opening a link signs nobody in: programs that preview links open them too
            return render(desk, "enter.html", name=name)
        if not is_same_origin(request):
            return message(desk, "Please use the button on this server's own page", status=403)
        response = RedirectResponse(PREFIX, 303, {"Cache-Control": "no-store"})
        desk.sessions.begin_local(response)
        return response

    async def sign_out(request: Request) -> Response:
        if not is_same_origin(request):
            return message(desk, "Please sign out on this server's own page", status=403)
        response = RedirectResponse(f"{PREFIX}/sign-in", 303, {"Cache-Control": "no-store"})
        desk.sessions.end(response)
        return response

    return [
        Route(f"{PREFIX}/sign-in", form, methods=["GET"]),
        Route(f"{PREFIX}/sign-in", sign_in, methods=["POST"]),
        Route(f"{PREFIX}/enter/{{code}}", enter, methods=["GET", "POST"]),
        Route(f"{PREFIX}/sign-out", sign_out, methods=["POST"]),
    ]


def _form(desk: Desk, target: str, problem: str = "", *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    response = render(desk, "sign_in.html", status=status, target=target, problem=problem)
    response.headers.update(headers or {})
    return response


def _inside(target: str) -> str:
    """A place to go on to, if it is one of the review pages; never another site."""
    fine = target == PREFIX or target.startswith((f"{PREFIX}/", f"{PREFIX}?"))
    return target if fine and "\\" not in target and target.isprintable() else PREFIX
