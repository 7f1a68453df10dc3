"""Where images are decoded and resized: processes, so that an image that brings its decoder down takes nothing else with it.

This module imports nothing but the image path, so that a new process is ready in a moment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from retest.errors import ImageError, StageError
from retest.images import DECODER_CRASHED, ImageParameters, VariantSet, make_variants
from retest.stages._processes import IsolatingExecutor, WorkerEndedError

__all__ = ["Failure", "Fetched", "MakeVariants", "decoding_executor", "in_order_decoded"]

_IMAGES_PER_PROCESS: Final = 50
"""So many images take about as long as the start of a process."""
_CRASHES_IN_A_ROW: Final = 20
"""More than these are no fault of the images."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no image; a temporary one leaves no trace in the study."""

    reason: str
    detail: str
    temporary: bool = False


@dataclass(frozen=True, slots=True)
class Fetched:
    """One image on its way: its bytes, then its variants, or why there are none."""

    image_id: str
    is_candidate: bool
    content: bytes | VariantSet | Failure = field(repr=False)


@dataclass(frozen=True, slots=True)
class MakeVariants:
    """Decodes and resizes one image in an executor; what is wrong with an image comes back as a value."""

    parameters: ImageParameters

    def __call__(self, item: Fetched) -> Fetched:
        if not isinstance(item.content, bytes):
            return item
        content: VariantSet | Failure
        try:
            content = make_variants(item.content, item=item.image_id, parameters=self.parameters)
        except ImageError as error:
            content = Failure(error.reason, str(error))
        except MemoryError:
            content = Failure(DECODER_CRASHED, f"{item.image_id}: there is not enough memory to decode it")
        return Fetched(item.image_id, item.is_candidate, content)


@contextmanager
def decoding_executor(images: int, *, workers: int) -> Iterator[Executor]:
    """An executor for so many images: at most ``workers`` processes, fewer where there is little to do."""
    executor = IsolatingExecutor(max(1, min(workers, images // _IMAGES_PER_PROCESS)), preload=(__name__,))
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def in_order_decoded(executor: Executor, make: MakeVariants, items: Iterable[Fetched], *, window: int) -> Generator[Fetched]:
    """``make(item)`` in the order of ``items`` with at most ``window`` under way; one that ended its process twice is a failure.

    Raises:
        StageError: image after image ends its process, or none can be started.
    """
    pending: deque[tuple[Fetched, Future[Fetched] | None]] = deque()
    crashes = 0
    try:
        for item in items:
            pending.append((item, executor.submit(make, item) if isinstance(item.content, bytes) else None))
            if len(pending) >= window:
                done, crashes = _result(*pending.popleft(), crashes)
                yield done
        while pending:
            done, crashes = _result(*pending.popleft(), crashes)
            yield done
    finally:
        for _, future in pending:
            if future is not None:
                future.cancel()


def _result(item: Fetched, future: Future[Fetched] | None, crashes: int) -> tuple[Fetched, int]:
    """The item as it is now, and how many in a row have ended their process."""
    if future is None:
        return item, crashes
    try:
        return future.result(), 0
    except WorkerEndedError as error:
        if crashes + 1 >= _CRASHES_IN_A_ROW:
            raise StageError(
                f"{crashes + 1} images in a row ended the process that decoded them ({error})",
                item=item.image_id,
                remedy="Check the installation of Pillow and the memory; then run: retest download --retry-failed",
            ) from None
        detail = f"{item.image_id}: the process that decoded it ended twice, the second time with nothing else under way ({error})"
        return Fetched(item.image_id, item.is_candidate, Failure(DECODER_CRASHED, detail)), crashes + 1
