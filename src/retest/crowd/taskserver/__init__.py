"""The labelling server's core, free of any web framework: a web room mounts it.

:class:`RequesterEndpoint` speaks the MTurk requester protocol over HTTP (bytes in, bytes out) for :class:`RequesterApi`
(dictionaries in, dictionaries out); :class:`TaskDesk` is the annotators' side. All stand on a :class:`TaskRepository`.
"""

from retest.crowd.taskserver.desk import Lease, TaskDesk, new_entity_id
from retest.crowd.taskserver.errors import ProtocolError, TaskRefusedError
from retest.crowd.taskserver.records import ANSWERED, HitStatus, HitType, LeaseStatus, TaskAssignment, TaskHit, TaskRepository, TaskSession
from retest.crowd.taskserver.requester import RequesterApi
from retest.crowd.taskserver.shapes import OPERATIONS
from retest.crowd.taskserver.sigv4 import verify_signature
from retest.crowd.taskserver.sqlite import STATE_FILE, SqliteTaskRepository
from retest.crowd.taskserver.wire import HttpReply, RequesterEndpoint

__all__ = [
    "ANSWERED",
    "OPERATIONS",
    "STATE_FILE",
    "HitStatus",
    "HitType",
    "HttpReply",
    "Lease",
    "LeaseStatus",
    "ProtocolError",
    "RequesterApi",
    "RequesterEndpoint",
    "SqliteTaskRepository",
    "TaskAssignment",
    "TaskDesk",
    "TaskHit",
    "TaskRefusedError",
    "TaskRepository",
    "TaskSession",
    "new_entity_id",
    "verify_signature",
]
