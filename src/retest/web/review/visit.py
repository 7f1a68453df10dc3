"""How review pages and their JSON interface are written: declare a :class:`Page` or an :class:`Endpoint` with a plain function.

The function gets a :class:`Visit` and checked parameters, runs in a thread, and raises the house's errors; signing in, roles, CSRF,
read-only mode and the translation of errors are done once, in :mod:`retest.web.review.answering`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment
from markupsafe import Markup
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from retest.stages._common import Stamp
from retest.stages._review_aside import Aside
from retest.stages._review_memo import Memo
from retest.stages._review_shelf import PredictionShelf
from retest.stages.review import Role, kinds
from retest.study import Study
from retest.web.pages import new_environment
from retest.web.review.background import Background, Repeated
from retest.web.review.lanes import Lanes
from retest.web.review.options import ReviewOptions
from retest.web.review.session import Limiter, Sessions, Who

__all__ = [
    "PREFIX",
    "Desk",
    "Endpoint",
    "Page",
    "Query",
    "RefusedError",
    "Visit",
    "fragment",
    "image_url",
    "load_templates",
    "message",
    "render",
    "static_build",
    "static_url",
]

PREFIX = "/review"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src {images}; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)


class Query(BaseModel):
    """Base of the parameters in an address: unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_max_length=1000)

    def address(self, path: str, /, *, of: type[Query] | None = None, **changes: Any) -> str:
        """Address of a page that is asked the same, or with some other values; what is as usual, None or empty is not in it.

        Args:
            path: of the page, after ``/review``.
            of: what that page can be asked, where it is another page than this query's; nothing else is handed on.
            changes: the other values.
        """
        fields = (of or type(self)).model_fields
        values = {name: value for name, value in self if name in fields} | changes
        asked = {name: value for name, value in values.items() if value not in (None, "", fields[name].default)}
        texts = {name: str(value).lower() if isinstance(value, bool) else value for name, value in asked.items()}
        return f"{PREFIX}{path}" + (f"?{urlencode(texts, doseq=True)}" if texts else "")


class RefusedError(Exception):
    """A request that is refused before it reaches its function. ``headers`` go with the answer."""

    def __init__(self, status: int, problem: str, *, remedy: str = "", headers: dict[str, str] | None = None) -> None:
        self.status, self.problem, self.remedy, self.headers = status, problem, remedy, headers or {}
        super().__init__(problem)


@dataclass(slots=True)
class Desk:
    """What all review pages share in one process. ``memo`` holds derived values; ``counting`` brings class counts up to date, ``aside``
    is a process for what takes long, ``predictions`` holds open test sets with predictions, ``image_origin`` is where browsers fetch
    images beside this server, ``lanes`` are the threads that answer, ``keeping`` keeps a large study in memory.
    """

    study: Study
    options: ReviewOptions
    sessions: Sessions
    limiter: Limiter
    now: Callable[[], float]
    navigation: tuple[tuple[str, str, Role], ...] = ()
    sections: Mapping[str, str] = field(default_factory=dict)
    memo: Memo = field(init=False)
    aside: Aside = field(init=False)
    counting: Background = field(default_factory=Background)
    predictions: PredictionShelf = field(default_factory=PredictionShelf)
    image_origin: str = ""
    lanes: Lanes = field(default_factory=Lanes)
    keeping: Repeated | None = None

    def __post_init__(self) -> None:
        self.aside = Aside(self.study.folder)
        self.memo = Memo(later=lambda name, job: self.counting.start(lambda stop: job(), name=name), elsewhere=self.aside)

    def close(self) -> None:
        """End what is done beside the requests."""
        self.lanes.close()
        if self.keeping is not None:
            self.keeping.stop()
        self.counting.stop()
        self.aside.close()
        self.predictions.close()

    @property
    def study_key(self) -> str:
        """A name of the study for what browsers keep: of two studies that are served at one address, each has its own."""
        return sha256(str(self.study.folder.resolve()).encode()).hexdigest()[:16]

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
    def section(self) -> str:
        """Address of the page in the navigation to which the page that was asked for belongs; empty for none."""
        return self.desk.sections.get(self.request.url.path, "")

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
    navigation, None for pages that are reached from others; ``within`` is the path of the one that such a page belongs to. A page with
    ``method`` POST gets the fields of its form as its query.
    """

    path: str
    handler: Handler
    query: type[Query] = Query
    role: Role = Role.ANNOTATOR
    nav: str | None = None
    within: str | None = None
    method: str = "GET"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A JSON operation: ``handler(visit, query, body)`` returns an ``answer``, or a dictionary of its form where a page has hundreds of
    items. ``path`` begins after ``/review/api``.

    ``decides`` says that it writes: refused in read-only mode and without a CSRF token, and documented with answer 409.
    """

    path: str
    handler: Handler
    summary: str
    answer: type[BaseModel]
    method: str = "GET"
    query: type[Query] = Query
    body: type[BaseModel] | None = None
    role: Role = Role.ANNOTATOR
    decides: bool = False


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


def fragment(template: str, **values: Any) -> Markup:
    """A part of a page; all values are escaped."""
    return Markup(_environment().get_template(template).render(**values))  # noqa: S704 a template of our own


def load_templates() -> None:
    """Compile every template, so that the first visitor of a page does not wait for it."""
    for name in _environment().list_templates():
        _environment().get_template(name)


def message(desk: Desk, heading: str, *paragraphs: str, status: int, headers: dict[str, str] | None = None) -> Response:
    """A page with a heading and a few sentences."""
    response = render(desk, "message.html", status=status, heading=heading, paragraphs=[text for text in paragraphs if text])
    response.headers.update(headers or {})
    return response


@cache
def _environment() -> Environment:
    found = new_environment("retest.web.review")
    found.globals |= {"static": static_url, "image_url": image_url, "prefix": PREFIX, "roles": [str(role) for role in Role]}
    found.filters |= {"number": lambda value: f"{value:,}", "url": lambda text: quote(str(text), safe="")}
    found.filters.update(percent=_percent, distance=_distance, moment=_moment)
    return found


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def _distance(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _moment(time: str) -> str:
    """A time of the history for people, in UTC and without saying so; one without a time zone, or that is none, as it is."""
    try:
        read = datetime.fromisoformat(time)
    except ValueError:
        return time
    return (read if read.tzinfo is None else read.astimezone(UTC)).strftime("%Y-%m-%d %H:%M:%S")


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
