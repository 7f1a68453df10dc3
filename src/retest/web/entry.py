"""The ways in (invitation, Prolific) and the way on: the next task, and thanks at the end.

Opening a link takes no task: chat programs open links too. The button on the welcome page does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from retest.crowd import CrowdParameters, protocol_worker_id
from retest.crowd.taskserver import LeaseStatus, TaskDesk
from retest.study import ServeSettings
from retest.web.options import ServerOptions
from retest.web.pages import message_page, page
from retest.web.participants import Participant, Participants
from retest.web.requests import form_fields
from retest.web.tasks import task_url

__all__ = ["EntryPages"]

_INSTRUCTIONS = "/instructions"
_PROLIFIC_ID = re.compile(r"[0-9A-Za-z]{8,64}")
_PROLIFIC_FIELDS = ("PROLIFIC_PID", "STUDY_ID", "SESSION_ID")
_AT_WORK = (LeaseStatus.ACCEPTED, LeaseStatus.ABANDONED)


class EntryPages:
    """``/``, ``/join/<token>``, ``/prolific``, ``/next``, ``/mturk/done`` and ``/instructions``."""

    def __init__(
        self,
        desk: TaskDesk,
        participants: Participants,
        *,
        options: ServerOptions,
        settings: ServeSettings,
        texts: CrowdParameters,
        now: Callable[[], float],
    ) -> None:
        self._desk, self._participants, self._options = desk, participants, options
        self._settings, self._texts, self._now = settings, texts, now

    def routes(self) -> list[Route]:
        return [
            Route("/", self._home, methods=["GET"]),
            Route("/join/{token}", self._join, methods=["GET", "POST"]),
            Route("/prolific", self._prolific, methods=["GET", "POST"]),
            Route("/next", self._next, methods=["GET"]),
            Route("/mturk/done", self._done, methods=["GET"]),
            Route(_INSTRUCTIONS, self._instructions, methods=["GET"]),
        ]

    async def _home(self, request: Request) -> Response:
        if request.query_params.get("PROLIFIC_PID"):
            return RedirectResponse(f"/prolific?{request.scope['query_string'].decode('latin-1')}", 303)
        return message_page("Image labelling", "Please open the personal link that you were given.", instructions_url=_INSTRUCTIONS)

    async def _instructions(self, request: Request) -> Response:
        return page("welcome.html", heading="Instructions and consent", texts=self._texts, action="", fields={}, answered=0)

    # Invitations

    async def _join(self, request: Request) -> Response:
        participant = await run_in_threadpool(self._participants.by_token, request.path_params["token"])
        if participant is None:
            return message_page(
                "This link is not valid", "It may have been replaced by a newer one. Please ask whoever invited you.", status=404
            )
        if request.method == "POST":
            return await run_in_threadpool(self._give_task, participant.worker_id)
        return self._welcome(f"/join/{request.path_params['token']}", {}, participant.answered)

    # Prolific

    async def _prolific(self, request: Request) -> Response:
        given = request.query_params if request.method == "GET" else dict(await form_fields(request))
        values = {name: given.get(name, "") for name in _PROLIFIC_FIELDS}
        key = self._options.worker_key
        if not self._settings.prolific_completion_code or key is None:
            return message_page("This study is not open on Prolific", "Please return your submission on Prolific.", status=404)
        wanted = self._settings.prolific_study_id
        if not all(_PROLIFIC_ID.fullmatch(value) for value in values.values()) or (wanted and values["STUDY_ID"] != wanted):
            return message_page("This link is not complete", "Please open the study again from its page on Prolific.", status=400)
        worker_id = protocol_worker_id(key, f"prolific:{values['PROLIFIC_PID']}")
        if request.method == "GET":
            known = await run_in_threadpool(self._participants.by_worker, worker_id)
            return self._welcome("/prolific", values, known.answered if known else 0)
        await run_in_threadpool(self._enter_prolific, worker_id, values)
        return await run_in_threadpool(self._give_task, worker_id)

    def _enter_prolific(self, worker_id: str, values: dict[str, str]) -> None:
        pid, study_id, session_id = (values[name] for name in _PROLIFIC_FIELDS)
        self._participants.join_prolific(worker_id, pid=pid, study_id=study_id, session_id=session_id, now=self._now())

    def _welcome(self, action: str, fields: dict[str, str], answered: int) -> Response:
        return page("welcome.html", heading=self._texts.title, texts=self._texts, action=action, fields=fields, answered=answered)

    # The next task, and the end

    async def _next(self, request: Request) -> Response:
        return await run_in_threadpool(self._after, request.query_params.get("after", ""))

    def _after(self, assignment_id: str) -> Response:
        assignment = self._desk.assignment(assignment_id)
        if assignment.status in _AT_WORK:
            where = task_url(self._options, hit_id=assignment.hit_id, assignment_id=assignment.id, worker_id=assignment.worker_id)
            return RedirectResponse(where, 303)
        if assignment.status is not LeaseStatus.RETURNED:
            self._participants.note_answered(assignment.worker_id, assignment.id)
        return self._give_task(assignment.worker_id, after=assignment_id)

    def _give_task(self, worker_id: str, *, after: str = "") -> Response:
        participant = self._participants.by_worker(worker_id)
        lease = self._desk.accept_any(worker_id) if self._may_go_on(participant) else None
        if lease is not None:
            where = task_url(self._options, hit_id=lease.hit_id, assignment_id=lease.assignment_id, worker_id=worker_id)
        elif after:
            where = f"/mturk/done?{urlencode({'assignmentId': after})}"
        else:
            return self._thanks(participant, next_url="")
        return RedirectResponse(where, 303)

    def _may_go_on(self, participant: Participant | None) -> bool:
        if participant is None:
            return self._options.open_workers
        limit = self._settings.tasks_per_participant
        return participant.active and (limit == 0 or participant.answered < limit)

    async def _done(self, request: Request) -> Response:
        return await run_in_threadpool(self._done_with, request.query_params.get("assignmentId", ""))

    def _done_with(self, assignment_id: str) -> Response:
        if not assignment_id:
            return self._thanks(None, next_url="")
        assignment = self._desk.assignment(assignment_id)
        participant = self._participants.by_worker(assignment.worker_id)
        again = f"/next?{urlencode({'after': assignment_id})}" if self._may_go_on(participant) else ""
        return self._thanks(participant, next_url=again, returned=assignment.status is LeaseStatus.RETURNED)

    def _thanks(self, participant: Participant | None, *, next_url: str, returned: bool = False) -> Response:
        """A page of this server also for Prolific: the task page follows redirects in a script, which may not leave the site."""
        answered = participant.answered if participant is not None else 0
        prolific = participant is not None and participant.way == "prolific"
        completion = code = ""
        if prolific and answered:  # what was handed in is owed, whatever was returned after it
            code = self._settings.prolific_completion_code
            completion = f"{self._settings.prolific_completion_url}?{urlencode({'cc': code})}"
        return page(
            "thanks.html",
            answered=answered,
            personal=participant is not None,
            prolific=prolific,
            returned=returned,
            finished=participant is not None and not self._may_go_on(participant),
            next_url=next_url,
            completion_url=completion,
            code=code,
            instructions_url=_INSTRUCTIONS,
        )
