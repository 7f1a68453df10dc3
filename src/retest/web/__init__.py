"""One web application on a study's folder: the pages of annotators and the requesters' protocol (``retest serve``).

:func:`create_app` makes the application, :class:`ServerOptions` says who may do what, :class:`Participants` holds the invitations.
"""

from retest.web.app import STATE_FILE, create_app, open_participants
from retest.web.options import ServerOptions, keys_from_environment, worker_key_from_environment
from retest.web.participants import Invitation, Participant, Participants

__all__ = [
    "STATE_FILE",
    "Invitation",
    "Participant",
    "Participants",
    "ServerOptions",
    "create_app",
    "keys_from_environment",
    "open_participants",
    "worker_key_from_environment",
]
