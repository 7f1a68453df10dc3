"""The task page and what it sends: answers saved as they are made, submitted once, or returned.

An assignment id is the secret by which a browser may save and submit; there are no cookies.
"""

from __future__ import annotations

import json
from urllib.parse import urlencode, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from retest.crowd import content_security_policy, html_of_question, image_origins
from retest.crowd.taskserver import ANSWERED, LeaseStatus, TaskAssignment, TaskDesk, TaskHit, TaskRefusedError
from retest.web.options import ServerOptions
from retest.web.pages import message_page
from retest.web.participants import Participants
from retest.web.requests import form_fields

__all__ = ["TaskPages", "task_url"]

_NO_ASSIGNMENT = "ASSIGNMENT_ID_NOT_AVAILABLE"


def task_url(options: ServerOptions, *, hit_id: str, assignment_id: str, worker_id: str) -> str:
    """A task's address in Mechanical Turk's form."""
    query = {"hitId": hit_id, "assignmentId": assignment_id, "workerId": worker_id, "turkSubmitTo": options.public_url}
    return f"/task?{urlencode(query)}"


class TaskPages:
    """``/task`` and ``/mturk/...``, in Mechanical Turk's worker URL form."""

    def __init__(self, desk: TaskDesk, participants: Participants, options: ServerOptions) -> None:
        self._desk, self._participants, self._options = desk, participants, options
        parts = urlsplit(options.public_url)
        self._image_sources = ("'self'", f"{parts.scheme}://{parts.netloc}")

    def routes(self) -> list[Route]:
        return [
            Route("/task", self._task, methods=["GET"]),
            Route("/mturk/externalSubmit", self._submit, methods=["POST"]),
            Route("/mturk/saveAnswer", self._draft, methods=["GET"]),
            Route("/mturk/saveAnswer", self._save, methods=["POST"]),
            Route("/mturk/returnAssignment", self._give_back, methods=["POST"]),
        ]

    async def _task(self, request: Request) -> Response:
        query = request.query_params
        hit_id, assignment_id, worker_id = (query.get(name, "") for name in ("hitId", "assignmentId", "workerId"))
        return await run_in_threadpool(self._open, hit_id, assignment_id, worker_id)

    def _open(self, hit_id: str, assignment_id: str, worker_id: str) -> Response:
        if assignment_id and assignment_id != _NO_ASSIGNMENT:
            return self._accepted(hit_id, assignment_id, worker_id)
        if worker_id and self._options.open_workers and not assignment_id:
            lease = self._desk.accept(hit_id, worker_id)
            where = task_url(self._options, hit_id=hit_id, assignment_id=lease.assignment_id, worker_id=worker_id)
            return RedirectResponse(where, 303)
        return self._show(self._desk.preview(hit_id))

    def _accepted(self, hit_id: str, assignment_id: str, worker_id: str) -> Response:
        assignment = self._desk.assignment(assignment_id)
        if (hit_id and hit_id != assignment.hit_id) or (worker_id and worker_id != assignment.worker_id):
            raise TaskRefusedError("There is no such assignment", reason="unknown", remedy="Please open the task again from its link")
        if assignment.status in ANSWERED or assignment.status is LeaseStatus.RETURNED:
            words = "You have returned this task." if assignment.status is LeaseStatus.RETURNED else "You have already answered this task."
            return message_page(words, "Nothing more is to be done here.", next_url=self._next_url(assignment_id))
        if assignment.status is LeaseStatus.ABANDONED:  # late, but welcome while a place is free
            self._desk.accept(assignment.hit_id, assignment.worker_id)
        return self._show(self._desk.preview(assignment.hit_id))

    def _show(self, hit: TaskHit) -> Response:
        if hit.disposed:
            raise TaskRefusedError("This task is closed", reason="expired", remedy="Please take another task")
        html = html_of_question(hit.question)
        if html is None:
            return message_page(
                "This task is on another site", "It was published as an ExternalQuestion, which this server does not frame."
            )
        # A study published here from elsewhere keeps its images there.
        elsewhere = tuple(origin for origin in image_origins(html) if origin not in self._image_sources)
        policy = content_security_policy(image_sources=(*self._image_sources, *elsewhere))
        return HTMLResponse(html, headers={"Content-Security-Policy": policy, "Cache-Control": "no-store"})

    async def _submit(self, request: Request) -> Response:
        fields = await form_fields(request)
        assignment = await run_in_threadpool(self._desk.submit, dict(fields).get("assignmentId", ""), fields)
        await run_in_threadpool(self._note, assignment)
        return RedirectResponse(self._next_url(assignment.id), 303)

    def _note(self, assignment: TaskAssignment) -> None:
        self._participants.note_answered(assignment.worker_id, assignment.id)

    async def _draft(self, request: Request) -> Response:
        fields = await run_in_threadpool(self._desk.draft, request.query_params.get("assignmentId", ""))
        if not fields:
            return Response(status_code=204, headers={"Cache-Control": "no-store"})
        return Response(json.dumps(dict(fields)), 200, {"Cache-Control": "no-store"}, "application/json")

    async def _save(self, request: Request) -> Response:
        fields = await form_fields(request)
        await run_in_threadpool(self._desk.save, dict(fields).get("assignmentId", ""), fields)
        return Response(status_code=204)

    async def _give_back(self, request: Request) -> Response:
        assignment_id = dict(await form_fields(request)).get("assignmentId", "")
        await run_in_threadpool(self._desk.give_back, assignment_id)
        return RedirectResponse(f"/mturk/done?{urlencode({'assignmentId': assignment_id})}", 303)

    def _next_url(self, assignment_id: str) -> str:
        return f"/next?{urlencode({'after': assignment_id})}"
