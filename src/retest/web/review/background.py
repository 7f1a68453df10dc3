"""One piece of work at a time in a thread of its own, which ends with the server."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from retest.errors import RetestError

__all__ = ["Background"]

_log = logging.getLogger(__name__)


class Background:
    """Runs work beside the requests; asked again while it runs, it does nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def start(self, work: Callable[[Callable[[], bool]], object]) -> None:
        """Begin ``work(stop)`` unless some is under way; ``stop()`` says that the server ends."""

        def run() -> None:
            try:
                work(self._stopping.is_set)
            except RetestError as error:
                _log.error("work in the background failed: %s", error)

        with self._lock:
            if self._stopping.is_set() or (self._thread is not None and self._thread.is_alive()):
                return
            self._thread = threading.Thread(target=run, name="retest-review", daemon=True)
            self._thread.start()

    @property
    def running(self) -> bool:
        """Whether work is under way."""
        with self._lock:
            return self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        """End the work and wait for it."""
        self._stopping.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(30)
