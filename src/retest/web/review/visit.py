"""How review pages and their JSON interface are written: declare a :class:`Page` or an :class:`Endpoint` with a plain function.

The function gets a :class:`Visit` and checked parameters, runs in a thread, and raises the house's errors; signing in, roles, CSRF,
read-only mode, headers and the translation of errors are done here, once.
"""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any, get_origin
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from retest.errors import ConflictError, InputError, NotFoundError, RetestError, StoreError, UsageError
from retest.stages._common import Stamp
from retest.stages._review_aside import Aside
from retest.stages._review_memo import Memo
from retest.stages._review_shelf import PredictionShelf
from retest.stages.review import DecisionConflictError, Role, kinds
from retest.study import Study
from retest.web.requests import form_fields, read_body
from retest.web.review.background import Background
from retest.web.review.models import ConflictAnswer, ConflictItem, Problem
from retest.web.review.options import ReviewOptions
from retest.web.review.session import Limiter, Sessions, Who, is_same_origin

__all__ = [
    "PREFIX",
    "Desk",
    "Endpoint",
    "Page",
    "Query",
    "RefusedError",
    "Visit",
    "endpoint_route",
    "image_url",
    "message",
    "page_route",
    "render",
    "static_build",
    "static_url",
]

PREFIX = "/review"
MAX_BODY_BYTES = 2_000_000
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src {images}; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_log = logging.getLogger(__name__)


class Query(BaseModel):
    """Base of the parameters in an address: unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_max_length=1000)


class RefusedError(Exception):
    """A request that is refused before it reaches its function. ``headers`` go with the answer."""

    def __init__(self, status: int, problem: str, *, remedy: str = "", headers: dict[str, str] | None = None) -> None:
        self.status, self.problem, self.remedy, self.headers = status, problem, remedy, headers or {}
        super().__init__(problem)


@dataclass(slots=True)
class Desk:
    """What all review pages share in one process. ``memo`` holds derived values; ``counting`` brings class counts up to date, ``aside``
    is a process for what takes long, ``predictions`` holds open test sets with predictions, ``image_origin`` is where browsers fetch
    images beside this server.
    """

    study: Study
    options: ReviewOptions
    sessions: Sessions
    limiter: Limiter
    now: Callable[[], float]
    navigation: tuple[tuple[str, str, Role], ...] = ()
    memo: Memo = field(init=False)
    aside: Aside = field(init=False)
    counting: Background = field(default_factory=Background)
    predictions: PredictionShelf = field(default_factory=PredictionShelf)
    image_origin: str = ""

    def __post_init__(self) -> None:
        self.aside = Aside(self.study.folder)
        self.memo = Memo(later=lambda name, job: self.counting.start(lambda stop: job(), name=name), elsewhere=self.aside)

    def close(self) -> None:
        """End what is done beside the requests."""
        self.counting.stop()
        self.aside.close()
        self.predictions.close()

    def time(self) -> str:
        """Now, as the history writes it."""
        return datetime.fromtimestamp(self.now(), UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of somebody who is signed in."""

    desk: Desk
    request: Request
    who: Who

    @property
    def study(self) -> Study:
        """The open study."""
        return self.desk.study

    @property
    def stamp(self) -> Stamp:
        """Who acts, and when."""
        return Stamp(self.who.name, self.desk.time())

    def may(self, role: Role | str) -> bool:
        """Whether the visitor may do what ``role`` may; in read-only mode nobody may more than look."""
        return self.who.may(role) and not (self.desk.options.read_only and Role(role) is not Role.ANNOTATOR)

    @property
    def decides(self) -> tuple[str, ...]:
        """The kinds of decisions that the visitor may make."""
        return () if self.desk.options.read_only else tuple(kind.name for kind in kinds() if self.who.may(kind.role))

    def render(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """A page of ``templates/``; all values are escaped. htmx gets the block ``main`` alone."""
        return render(self.desk, template, status=status, visit=self, partial="hx-request" in self.request.headers, **values)


Handler = Callable[..., Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page for people: ``handler(visit, query)`` returns a response, mostly ``visit.render(...)``.

    ``path`` begins after ``/review``; a query model holds the filters, which so are part of the address. ``nav`` is the name in the
    navigation, None for pages that are reached from others. A page with ``method`` POST gets the fields of its form as its query.
    """

    path: str
    handler: Handler
    query: type[Query] = Query
    role: Role = Role.ANNOTATOR
    nav: str | None = None
    method: str = "GET"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A JSON operation: ``handler(visit, query, body)`` returns an ``answer``. ``path`` begins after ``/review/api``.

    ``decides`` says that it writes: refused in read-only mode and without a CSRF token, and documented with answer 409.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answer: type[BaseModel]
    query: type[Query] = Query
    body: type[BaseModel] | None = None
    role: Role = Role.ANNOTATOR
    decides: bool = False


# Routes


def page_route(desk: Desk, page: Page) -> Route:
    """The route of a page."""

    async def serve(request: Request) -> Response:
        try:
            who = await run_in_threadpool(desk.sessions.who, request)
            if who is None:
                return _to_sign_in(request)
            visit = Visit(desk, request, who)
            items = request.query_params.multi_items()
            if page.method != "GET":
                items = await form_fields(request)
                _check_change(visit, dict(items).get("csrf"))
            values = _values(page.query, items, ignore="csrf")
            if not who.may(page.role):
                raise RefusedError(403, "You may not do this", remedy=f"It needs the role {page.role}")
            response: Response = await run_in_threadpool(page.handler, visit, page.query.model_validate(values))
        except RefusedError as refusal:
            return message(desk, refusal.problem, refusal.remedy, status=refusal.status, headers=refusal.headers)
        except ValidationError as error:
            return message(desk, "This address is not right", _first(error), status=400)
        except RetestError as error:
            return message(desk, error.problem, *(text for text in (error.item, error.remedy) if text), status=_status(error))
        return response

    return Route(PREFIX + page.path, serve, methods=[page.method])


def endpoint_route(desk: Desk, endpoint: Endpoint) -> Route:
    """The route of a JSON operation."""

    async def serve(request: Request) -> Response:
        try:
            visit = Visit(desk, request, await _api_visitor(desk, request))
            if not visit.who.may(endpoint.role):
                raise RefusedError(403, "You may not do this", remedy=f"It needs the role {endpoint.role}")
            if endpoint.decides:
                _check_change(visit, request.headers.get("x-csrf-token"))
            query = endpoint.query.model_validate(_values(endpoint.query, request.query_params.multi_items()))
            body = None if endpoint.body is None else endpoint.body.model_validate(await _json(request))
            answer: BaseModel = await run_in_threadpool(endpoint.handler, visit, query, body)
        except RefusedError as refusal:
            return _problem(refusal.status, refusal.problem, remedy=refusal.remedy, headers=refusal.headers)
        except ValidationError as error:
            return _problem(422, _first(error))
        except DecisionConflictError as error:
            conflicts = [ConflictItem.of(conflict) for conflict in error.conflicts]
            answer = ConflictAnswer(problem=error.problem, item=error.item, remedy=error.remedy or "", conflicts=conflicts)
            return _answer(answer, 409)
        except RetestError as error:
            if _status(error) >= 500:
                _log.error("%s: %s", request.url.path, error)
            return _problem(_status(error), error.problem, item=error.item, remedy=error.remedy or "")
        return _answer(answer, 200)

    return Route(f"{PREFIX}/api{endpoint.path}", serve, methods=[endpoint.method])


async def _api_visitor(desk: Desk, request: Request) -> Who:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        client = request.client.host if request.client else ""
        wait = desk.limiter.wait_s(client)
        if wait:
            raise RefusedError(429, "Too many wrong tokens", remedy=f"Wait {wait} seconds", headers={"Retry-After": str(wait)})
        who = await run_in_threadpool(desk.sessions.who_by_token, token.strip())
        if who is None:
            desk.limiter.failed(client)
    else:
        who = await run_in_threadpool(desk.sessions.who, request)
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
        raise RefusedError(403, "This request does not come from the page you see", remedy="Load the page again")


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


async def _json(request: Request) -> Any:
    body = await read_body(request, MAX_BODY_BYTES)
    if len(body) > MAX_BODY_BYTES:
        raise RefusedError(413, f"The request is larger than {MAX_BODY_BYTES} bytes")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise RefusedError(400, "The request is not JSON") from None


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


def _problem(status: int, problem: str, *, item: str | None = None, remedy: str = "", headers: dict[str, str] | None = None) -> Response:
    return _answer(Problem(problem=problem, item=item, remedy=remedy), status, headers)


def _answer(answer: BaseModel, status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(answer.model_dump_json(), status, {"Cache-Control": "no-store", **(headers or {})}, "application/json")


def _to_sign_in(request: Request) -> Response:
    where = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    target = f"{PREFIX}/sign-in?{urlencode({'next': where})}" if request.method == "GET" else f"{PREFIX}/sign-in"
    if "hx-request" in request.headers:
        return Response(status_code=204, headers={"HX-Redirect": target})
    return RedirectResponse(target, 303)


# Templates


def render(desk: Desk, template: str, *, status: int = 200, visit: Visit | None = None, partial: bool = False, **values: Any) -> Response:
    """Render a template for somebody, or for nobody yet."""
    name = desk.study.config.study.name
    html = _environment().get_template(template).render(visit=visit, desk=desk, partial=partial, study_name=name, **values)
    headers = {
        "Content-Security-Policy": _POLICY.format(images=f"'self' {desk.image_origin}".strip()),
        "Cache-Control": "no-store",
        "Vary": "HX-Request, Cookie",
        # With no-referrer, browsers send "Origin: null" with a form, and nothing could be told of where it comes from.
        "Referrer-Policy": "same-origin",
    }
    return HTMLResponse(html, status, headers)


def message(desk: Desk, heading: str, *paragraphs: str, status: int, headers: dict[str, str] | None = None) -> Response:
    """A page with a heading and a few sentences."""
    response = render(desk, "message.html", status=status, heading=heading, paragraphs=[text for text in paragraphs if text])
    response.headers.update(headers or {})
    return response


@cache
def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("retest.web.review", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals |= {"static": static_url, "image_url": image_url, "prefix": PREFIX, "roles": [str(role) for role in Role]}
    found.filters |= {"number": lambda value: f"{value:,}", "percent": _percent, "url": lambda text: quote(str(text), safe="")}
    return found


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


@cache
def static_build() -> str:
    """A name for the content of all static files: part of their addresses, so that browsers may keep them for ever."""
    digest = sha256()
    for path in sorted((files("retest.web.review") / "static").iterdir(), key=lambda path: path.name):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def static_url(name: str) -> str:
    """Address of a file of ``static/``. Modules import each other by relative names, which stay in the same build."""
    return f"{PREFIX}/static/{static_build()}/{name}"


def image_url(image_id: str, sha256_hex: str | None, *, variant: str = "display") -> str:
    """Address of an image; of the placeholder where it is not stored."""
    if sha256_hex is None:
        return static_url("missing.svg")
    return f"{PREFIX}/images/{variant}?id={quote(image_id, safe='')}&v={sha256_hex[:12]}"
