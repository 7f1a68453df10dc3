"""The steps that cost money, over the requester protocol, in processes that can be killed."""

from __future__ import annotations

import sys
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "stages"))

import stage_studies as tiny

from retest.crowd import CrowdParameters, MTurkCrowd
from retest.errors import CrowdError, RetestError
from retest.stages import label, label_crowd
from retest.study import Study, open_study
from retest.testing.chaos import Kill, durable_steps

WORKER_KEY = b"a key for tests only, 32 bytes.."


def crowd_at(url: str) -> MTurkCrowd:
    return MTurkCrowd(CrowdParameters(backend="server", endpoint=url), worker_key=WORKER_KEY)


def approve_all(study: Study, crowd: MTurkCrowd) -> None:
    decisions = [label_crowd.Decision(answer) for answer in label_crowd.submitted_answers(study)]
    label_crowd.approve(study, crowd, decisions, stamp=tiny.STAMP)


def submit_all(study: Study, crowd: MTurkCrowd) -> None:
    done = label.submit(study, crowd, stamp=tiny.STAMP, image_url="https://images.example/public")
    if done.failures:
        raise CrowdError(f"not published: {done.failures}")


ACTIONS = {
    "submit": submit_all,
    "collect": lambda study, crowd: label.collect(study, crowd, stamp=tiny.STAMP),
    "approve": approve_all,
}


def act(folder: Path, action: str, url: str, kill: Kill | None, told: Connection) -> None:
    """Do one action in this process; tells (steps counted, error or None)."""
    error = None
    with closing(open_study(folder)) as study, durable_steps(study.database.engine, kill) as steps:
        try:
            ACTIONS[action](study, crowd_at(url))
        except RetestError as caught:
            error = caught
    told.send((steps.count, error))
