"""The application: one Starlette app over an open study."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from retest.crowd.taskserver import STATE_FILE, SqliteTaskRepository, TaskDesk, TaskRefusedError, TaskRepository
from retest.errors import StoreError, UsageError
from retest.study import Study
from retest.web.entry import EntryPages
from retest.web.images import image_routes
from retest.web.options import ServerOptions
from retest.web.pages import GuardMiddleware, message_page
from retest.web.participants import Participants
from retest.web.requester import requester_routes
from retest.web.review import ReviewOptions, open_desk, review_routes, warm_up
from retest.web.review.visit import Desk
from retest.web.tasks import TaskPages

__all__ = ["PARTICIPANTS_FILE", "create_app", "open_participants"]

PARTICIPANTS_FILE = "participants.db"
_log = logging.getLogger(__name__)


def open_participants(study: Study) -> Participants:
    """The study's list of participants."""
    return Participants(study.folder / PARTICIPANTS_FILE)


def create_app(
    study: Study, *, options: ServerOptions, review: ReviewOptions | None = None, now: Callable[[], float] = time.time
) -> Starlette:
    """Make the application.

    Its state lies in two files of the study's folder, ``label-server.db`` (HITs and answers) and ``participants.db`` (who is who).

    Args:
        study: stays open as long as the application runs; whoever opened it closes it.
        options: addresses and secrets.
        review: how the review pages run; None leaves them out.
        now: the clock, seconds since 1970.

    Raises:
        StoreError: if the state cannot be opened.
    """
    repository = SqliteTaskRepository(study.folder / STATE_FILE)
    participants = open_participants(study)
    desk = TaskDesk(repository, now=now)
    entry = EntryPages(desk, participants, options=options, settings=study.config.serve, texts=study.config.crowd, now=now)

    secure = options.public_url.startswith("https:")
    desk_of_reviewers = None if review is None else open_desk(study, options=review, secure=secure, now=now)
    app = Starlette(
        routes=[
            *requester_routes(repository, options=options, now=now),
            *entry.routes(),
            *TaskPages(desk, participants, options).routes(),
            *image_routes(study.blobs),
            *([] if desk_of_reviewers is None else review_routes(desk_of_reviewers)),
            Route("/health", _health(repository), methods=["GET"]),
            Route("/favicon.ico", _no_icon, methods=["GET"]),
        ],
        middleware=[Middleware(GuardMiddleware, hostnames=options.hostnames)],
        exception_handlers={TaskRefusedError: _refused, UsageError: _wrong, StoreError: _unavailable, HTTPException: _http},
        lifespan=_lifespan(repository, participants, desk_of_reviewers),
    )
    app.router.redirect_slashes = False
    app.state.review_desk = desk_of_reviewers
    return app


def _lifespan(
    repository: SqliteTaskRepository, participants: Participants, desk_of_reviewers: Desk | None
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    """Counts for the review pages begin with the server, and what is open is closed with it."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        if desk_of_reviewers is not None:
            warm_up(desk_of_reviewers)
        yield
        if desk_of_reviewers is not None:
            await run_in_threadpool(desk_of_reviewers.close)
        participants.close()
        repository.close()

    return lifespan


def _health(repository: TaskRepository) -> Callable[[Request], object]:
    def look() -> None:
        with repository.reading() as session:
            session.hits(after=0, limit=1)

    async def health(request: Request) -> Response:
        try:
            await run_in_threadpool(look)
        except StoreError as error:
            _log.error("health: %s", error)
            return JSONResponse({"status": "failing"}, 503)
        return JSONResponse({"status": "ok"})

    return health


async def _no_icon(request: Request) -> Response:
    return Response(status_code=204, headers={"Cache-Control": "max-age=86400"})


async def _refused(request: Request, error: Exception) -> Response:
    """Scripts get a sentence to show, people a page."""
    status = 404 if isinstance(error, TaskRefusedError) and error.reason == "unknown" else 409
    problem = getattr(error, "problem", str(error))
    remedy = getattr(error, "remedy", None) or ""
    if request.method != "GET" or request.url.path.endswith("/saveAnswer"):
        return PlainTextResponse(f"{problem}. {remedy}".strip(), status, {"Cache-Control": "no-store"})
    return message_page(problem, f"{remedy}." if remedy else "", status=status)


async def _wrong(request: Request, error: Exception) -> Response:
    return message_page("This link is not right", str(error), status=400)


async def _unavailable(request: Request, error: Exception) -> Response:
    _log.error("the state cannot be used: %s", error)
    return PlainTextResponse("The server cannot save at the moment. Please try again in a minute.", 503, {"Retry-After": "10"})


async def _http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else ""
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if request.method == "GET":
        return message_page("There is no such page" if status == 404 else detail, "Please check the link.", status=status)
    return PlainTextResponse(detail, status, headers)
