"""Work beside the requests: one piece after the other in a thread of its own, which ends with the server."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable

from retest.errors import RetestError

__all__ = ["Background", "Repeated", "Work"]

Work = Callable[[Callable[[], bool]], object]
_LONGEST_PAUSE_S = 1.0
_log = logging.getLogger(__name__)


class Background:
    """Runs named work beside the requests, one piece at a time.

    Asked again while it waits or runs, work is not taken twice. People come first: between its steps work pauses ``pause`` times as long
    as the step took (at most a second), and after its end it rests ``rest`` times as long as all of it took before it runs again.

    Args:
        pause: seconds of pause per second of a step.
        rest: seconds of rest per second of work.
        now: the clock, seconds.
    """

    def __init__(self, *, pause: float = 3.0, rest: float = 9.0, now: Callable[[], float] = time.monotonic) -> None:
        self._pause, self._rest, self._now = pause, rest, now
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._waiting: dict[Hashable, Work] = {}
        self._busy: Hashable | None = None
        self._rested: dict[Hashable, float] = {}
        self._stopping = threading.Event()

    def start(self, work: Work, *, name: Hashable = None) -> None:
        """Begin ``work(stop)`` as soon as may be; work without a name is known by its function.

        Work calls ``stop()`` between its steps: that pauses, and says whether the server ends.
        """
        name = getattr(work, "__qualname__", repr(work)) if name is None else name
        with self._changed:
            if self._stopping.is_set() or name == self._busy or name in self._waiting:
                return
            self._waiting[name] = work
            if self._thread is None or not self._thread.is_alive():  # one that met a bug has ended, with a traceback
                self._thread = threading.Thread(target=self._run, name="retest-review", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    @property
    def running(self) -> bool:
        """Whether work is under way or waits."""
        with self._changed:
            return self._busy is not None or bool(self._waiting)

    @property
    def ending(self) -> bool:
        """Whether the server ends; for work that is done in another process and needs no pauses."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """End the work and wait for it; what waits is forgotten."""
        self._stopping.set()
        with self._changed:
            self._waiting.clear()
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(30)

    def _run(self) -> None:
        while (found := self._next()) is not None:
            name, work = found
            started = self._now()
            try:
                work(self._stepping(started))
            except RetestError as error:
                _log.error("work in the background failed: %s", error)
            finally:
                self._note_end(name, started)

    def _stepping(self, begun: float) -> Callable[[], bool]:
        def stop() -> bool:
            nonlocal begun
            ended = self._stopping.wait(min(_LONGEST_PAUSE_S, self._pause * max(0.0, self._now() - begun)))
            begun = self._now()
            return ended

        return stop

    def _note_end(self, name: Hashable, started: float) -> None:
        with self._changed:
            self._busy = None
            ended = self._now()
            self._rested = {other: until for other, until in self._rested.items() if until > ended}
            self._rested[name] = ended + self._rest * (ended - started)

    def _next(self) -> tuple[Hashable, Work] | None:
        """The first work that has rested enough; waits for some. None when the server ends."""
        with self._changed:
            while not self._stopping.is_set():
                now = self._now()
                due = {name: self._rested.get(name, now) for name in self._waiting}
                ready = next((name for name, at in due.items() if at <= now), None)
                if ready is not None:
                    self._busy = ready
                    return ready, self._waiting.pop(ready)
                self._changed.wait(min(due.values()) - now if due else None)
            return None


class Repeated:
    """Does something again and again in a thread of its own: at once, and ``pause_s`` seconds after each end, while it returns true.

    Args:
        work: gets a function that says whether it shall end.
        pause_s: seconds between two of them.
    """

    def __init__(self, work: Callable[[Callable[[], bool]], bool], *, pause_s: float) -> None:
        self._work, self._pause_s, self._stopping = work, pause_s, threading.Event()
        self._thread = threading.Thread(target=self._run, name="retest-repeated", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it, and wait for that."""
        self._stopping.set()
        self._thread.join(30)

    def _run(self) -> None:
        while self._work(self._stopping.is_set) and not self._stopping.wait(self._pause_s):
            pass
