"""From a request to the answer of a :class:`~retest.web.review.visit.Page` or an :class:`~retest.web.review.visit.Endpoint`:
signing in, roles, CSRF, read-only mode, checked parameters, and the translation of errors.
"""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, get_origin
from urllib.parse import urlencode

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from retest.errors import ConflictError, InputError, NotFoundError, RetestError, StoreError, UsageError
from retest.stages.review import DecisionConflictError
from retest.web.requests import form_fields, read_body
from retest.web.review.models import ConflictAnswer, ConflictItem, Problem
from retest.web.review.session import Who, is_same_origin
from retest.web.review.visit import PREFIX, Desk, Endpoint, Page, RefusedError, Visit, message

__all__ = ["MAX_BODY_BYTES", "endpoint_route", "page_route"]

MAX_BODY_BYTES = 2_000_000
REFUSED = "X-Retest-Refused"
"""Header that tells the page's script why it was refused, where that changes what it does: csrf, it belongs to another session."""

_log = logging.getLogger(__name__)


def page_route(desk: Desk, page: Page) -> Route:
    """The route of a page."""

    async def look(request: Request) -> Response:
        return await desk.lanes.looking.run(_page, desk, page, request)

    async def change(request: Request) -> Response:
        try:
            who = await desk.lanes.looking.run(desk.sessions.who, request)
        except RetestError as error:
            return _failed_page(desk, error)
        if who is None:
            return _to_sign_in(request)
        return await desk.lanes.deciding.run(_changed_page, desk, page, request, who, await form_fields(request))

    return Route(PREFIX + page.path, look if page.method == "GET" else change, methods=[page.method])


def _page(desk: Desk, page: Page, request: Request) -> Response:
    try:
        who = desk.sessions.who(request)
    except RetestError as error:
        return _failed_page(desk, error)
    return _to_sign_in(request) if who is None else _answered_page(Visit(desk, request, who), page, request.query_params.multi_items())


def _changed_page(desk: Desk, page: Page, request: Request, who: Who, fields: Sequence[tuple[str, str]]) -> Response:
    visit = Visit(desk, request, who)
    try:
        _check_change(visit, dict(fields).get("csrf"))
    except RefusedError as refusal:
        return _refused_page(desk, refusal)
    return _answered_page(visit, page, fields)


def _answered_page(visit: Visit, page: Page, items: Sequence[tuple[str, str]]) -> Response:
    desk = visit.desk
    try:
        values = _values(page.query, items, ignore="csrf")
        if not visit.who.may(page.role):
            raise RefusedError(403, "You may not do this", remedy=f"It needs the role {page.role}")
        response: Response = page.handler(visit, page.query.model_validate(values))
    except RefusedError as refusal:
        return _refused_page(desk, refusal)
    except ValidationError as error:
        return message(desk, "This address is not right", _first(error), status=400)
    except RetestError as error:
        return _failed_page(desk, error)
    return response


def _refused_page(desk: Desk, refusal: RefusedError) -> Response:
    return message(desk, refusal.problem, refusal.remedy, status=refusal.status, headers=refusal.headers)


def _failed_page(desk: Desk, error: RetestError) -> Response:
    return message(desk, error.problem, *(text for text in (error.item, error.remedy) if text), status=_status(error))


def endpoint_route(desk: Desk, endpoint: Endpoint) -> Route:
    """The route of a JSON operation."""
    lane = desk.lanes.deciding if endpoint.decides else desk.lanes.looking

    async def ask(request: Request) -> Response:
        return await lane.run(_api_answer, desk, endpoint, request)

    async def send(request: Request) -> Response:
        visit = await desk.lanes.looking.run(_admitted, desk, endpoint, request)
        if isinstance(visit, Response):
            return visit
        body = await read_body(request, MAX_BODY_BYTES)
        return await lane.run(_operated, visit, endpoint, body)

    return Route(f"{PREFIX}/api{endpoint.path}", ask if endpoint.body is None else send, methods=[endpoint.method])


def _api_answer(desk: Desk, endpoint: Endpoint, request: Request) -> Response:
    visit = _admitted(desk, endpoint, request)
    return visit if isinstance(visit, Response) else _operated(visit, endpoint, None)


def _admitted(desk: Desk, endpoint: Endpoint, request: Request) -> Visit | Response:
    """The visit of somebody who may do this, or what they are told."""
    try:
        visit = Visit(desk, request, _api_visitor(desk, request))
        if not visit.who.may(endpoint.role):
            raise RefusedError(403, "You may not do this", remedy=f"It needs the role {endpoint.role}")
        if endpoint.decides:
            _check_change(visit, request.headers.get("x-csrf-token"))
    except RefusedError as refusal:
        return _refused(refusal)
    except RetestError as error:
        return _failed(request, error)
    return visit


def _operated(visit: Visit, endpoint: Endpoint, sent: bytes | None) -> Response:
    try:
        query = endpoint.query.model_validate(_values(endpoint.query, visit.request.query_params.multi_items()))
        body = None if endpoint.body is None else endpoint.body.model_validate(_json(sent or b""))
        answer: BaseModel | Mapping[str, Any] = endpoint.handler(visit, query, body)
    except RefusedError as refusal:
        return _refused(refusal)
    except ValidationError as error:
        return _problem(422, _first(error))
    except DecisionConflictError as error:
        conflicts = [ConflictItem.of(conflict) for conflict in error.conflicts]
        remedy, rest = error.remedy or "", list(error.rest)
        return _answer(ConflictAnswer(problem=error.problem, item=error.item, remedy=remedy, conflicts=conflicts, rest=rest), 409)
    except RetestError as error:
        return _failed(visit.request, error)
    return _answer(answer, 200)


def _api_visitor(desk: Desk, request: Request) -> Who:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        client = request.client.host if request.client else ""
        wait = desk.limiter.wait_s(client)
        if wait:
            raise RefusedError(429, "Too many wrong tokens", remedy=f"Wait {wait} seconds", headers={"Retry-After": str(wait)})
        who = desk.sessions.who_by_token(token.strip())
        if who is None:
            desk.limiter.failed(client)
    else:
        who = desk.sessions.who(request)
    if who is None:
        raise RefusedError(401, "Nobody is signed in", remedy="Sign in again", headers={"WWW-Authenticate": "Bearer"})
    return who


def _check_change(visit: Visit, csrf: str | None) -> None:
    """Refuse changes in read-only mode, from pages of other sites, and without the session's CSRF token."""
    if visit.desk.options.read_only:
        raise RefusedError(403, "This server is read-only", remedy="Ask whoever runs it")
    if visit.who.csrf is None:
        return  # a script with a token of its own: no browser sends that by itself
    if not is_same_origin(visit.request) or not hmac.compare_digest(visit.who.csrf, csrf or ""):
        raise RefusedError(403, "This request does not come from the page you see", remedy="Load the page again", headers={REFUSED: "csrf"})


def _values(model: type[BaseModel], items: Sequence[tuple[str, str]], *, ignore: str = "") -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in items:
        if name == ignore:
            continue
        known = model.model_fields.get(name)
        if known is not None and get_origin(known.annotation) in (tuple, list):
            values.setdefault(name, []).append(value)
        elif name in values:
            raise RefusedError(400, f"The parameter {name} is given twice", remedy="Give it once")
        else:
            values[name] = value
    return values


def _json(body: bytes) -> Any:
    if len(body) > MAX_BODY_BYTES:
        raise RefusedError(413, f"The request is larger than {MAX_BODY_BYTES} bytes")
    try:
        read = json.loads(body)
        if b"\\u" in body:
            json.dumps(read, ensure_ascii=False).encode()  # half of a surrogate pair is no text that can be stored
    except (ValueError, RecursionError):
        raise RefusedError(400, "The request is not JSON") from None
    return read


def _status(error: RetestError) -> int:
    if isinstance(error, NotFoundError):
        return 404
    if isinstance(error, ConflictError):
        return 409
    if isinstance(error, (UsageError, InputError)):
        return 422
    return 503 if isinstance(error, StoreError) else 500


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in first['loc']) or 'request'}: {first['msg']}"


def _failed(request: Request, error: RetestError) -> Response:
    if _status(error) >= 500:
        _log.error("%s: %s", request.url.path, error)
    return _problem(_status(error), error.problem, item=error.item, remedy=error.remedy or "")


def _refused(refusal: RefusedError) -> Response:
    return _problem(refusal.status, refusal.problem, remedy=refusal.remedy, headers=refusal.headers)


def _problem(status: int, problem: str, *, item: str | None = None, remedy: str = "", headers: dict[str, str] | None = None) -> Response:
    return _answer(Problem(problem=problem, item=item, remedy=remedy), status, headers)


def _answer(answer: BaseModel | Mapping[str, Any], status: int, headers: dict[str, str] | None = None) -> Response:
    text = answer.model_dump_json() if isinstance(answer, BaseModel) else to_json(answer)
    return Response(text, status, {"Cache-Control": "no-store", **(headers or {})}, "application/json")


def _to_sign_in(request: Request) -> Response:
    where = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    target = f"{PREFIX}/sign-in?{urlencode({'next': where})}" if request.method == "GET" else f"{PREFIX}/sign-in"
    if "hx-request" in request.headers:
        return Response(status_code=204, headers={"HX-Redirect": target})
    return RedirectResponse(target, 303)
