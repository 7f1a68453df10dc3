"""One web application on a study's folder: pages of annotators and of reviewers, and the requesters' protocol (``retest serve``).

:func:`create_app` makes the application, :class:`ServerOptions` says who may do what, :class:`Participants` holds the invitations.
"""

from retest.web.app import create_app, open_participants
from retest.web.options import ServerOptions, keys_from_environment, worker_key_from_environment
from retest.web.participants import Invitation, Participant, Participants
from retest.web.review import ReviewOptions, local_link, session_key
from retest.web.serving import server_config

__all__ = [
    "Invitation",
    "Participant",
    "Participants",
    "ReviewOptions",
    "ServerOptions",
    "create_app",
    "keys_from_environment",
    "local_link",
    "open_participants",
    "server_config",
    "session_key",
    "worker_key_from_environment",
]
