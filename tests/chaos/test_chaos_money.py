"""Nothing is paid twice: publishing, collecting and approving over the requester protocol, killed at every commit, and by two at once."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import stage_studies as tiny
from chaos_money import act
from chaos_worker import PROCESSES, Outcome, Started

from retest.records import AssignmentStatus
from retest.stages import label
from retest.study import open_study
from retest.testing.chaos import Kill

sys.path.append(str(Path(__file__).parents[1] / "crowd"))

from crowd_http_server import LabelServer

pytestmark = pytest.mark.xdist_group("chaos")


class PayingServer(LabelServer):
    """Counts what costs money: HITs that were made, answers that were approved."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.done: Counter[str] = Counter()
        carry_out = self.api.handle

        def handle(operation, request):
            answer = carry_out(operation, request)
            self.done[operation] += 1  # refused ones raise
            return answer

        self.api.handle = handle

    def hits(self) -> dict[str, str]:
        """uuid -> HIT id of all that was ever published; equal uuids would be a HIT paid twice."""
        with self.repository.reading() as session:
            found = [(hit.annotation, hit.id) for hit in session.hits(after=0, limit=10_000)]
        assert len(dict(found)) == len(found), "published twice"
        return dict(found)

    def answer_all(self, *, workers: int) -> None:
        for number in range(workers):
            while (lease := self.desk.accept_any(f"AWORKER{number}")) is not None:
                self.desk.submit(lease.assignment_id, [("assignmentId", lease.assignment_id), ("select-0", "on")])


@pytest.fixture
def paying(tmp_path: Path) -> Iterator[PayingServer]:
    with PayingServer(tmp_path / "server.db") as server:
        yield server


@pytest.fixture
def planned(tmp_path: Path) -> Path:
    with closing(tiny.make_study(tmp_path)) as study:
        tiny.ready_to_label(study)
        label.plan(study, stamp=tiny.STAMP)
    return tmp_path / "study"


def start(folder: Path, action: str, server: PayingServer, kill: Kill | None = None) -> Started:
    told, far_end = PROCESSES.Pipe(duplex=False)
    started = Started(action, told, PROCESSES.Process(target=act, args=(folder, action, server.url, kill, far_end)))
    far_end.close()
    return started


def finish(folder: Path, action: str, server: PayingServer) -> Outcome:
    done = start(folder, action, server).wait()
    assert done.error is None, done.error
    return done


def killed_at_every_step(folder: Path, action: str, server: PayingServer) -> int:
    """Each attempt gets one commit further in what is left; returns how many were killed."""
    killed = 0
    for at in (1, 2, 3, 2, 1):
        killed += start(folder, action, server, Kill(at)).wait().killed
    finish(folder, action, server)
    return killed


def check_money(folder: Path, server: PayingServer, *, approved: bool) -> None:
    with closing(open_study(folder)) as study, study.database.read() as tables:
        hits = list(tables.hits.all())
        answers = list(tables.assignments.all())
    assert len(hits) == 6
    assert {hit.uuid: hit.hit_id for hit in hits} == server.hits()
    assert server.done["CreateHITWithHITType"] == len(hits)
    if approved:
        assert len(answers) == 3 * len(hits)
        assert {answer.status for answer in answers} == {AssignmentStatus.APPROVED}
        assert server.done["ApproveAssignment"] == len(answers)


def test_killed_while_publishing_collecting_and_paying(planned: Path, paying: PayingServer):
    assert killed_at_every_step(planned, "submit", paying) == 5
    check_money(planned, paying, approved=False)
    paying.answer_all(workers=3)
    killed_at_every_step(planned, "collect", paying)
    assert killed_at_every_step(planned, "approve", paying) >= 1
    check_money(planned, paying, approved=True)


def test_two_operators_publish_and_pay_at_once(planned: Path, paying: PayingServer):
    for action in ("submit", "collect", "approve"):
        for done in [started.wait() for started in (start(planned, action, paying), start(planned, action, paying))]:
            assert not done.killed
        finish(planned, action, paying)
        if action == "submit":
            paying.answer_all(workers=3)
    check_money(planned, paying, approved=True)
