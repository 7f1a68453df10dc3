"""Where images are decoded and resized: threads for a few, processes for many.

This module imports nothing but the image path, so that a new process is ready in a moment.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from retest.errors import ImageError
from retest.images import ImageParameters, VariantSet, make_variants

__all__ = ["PROCESSES_FROM", "Failure", "Fetched", "MakeVariants", "decoding_executor"]

PROCESSES_FROM = 300
"""From so many images on, processes are worth their start."""


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
        return Fetched(item.image_id, item.is_candidate, content)


@contextmanager
def decoding_executor(images: int, *, workers: int) -> Iterator[Executor]:
    """An executor for so many images: ``workers`` threads below :data:`PROCESSES_FROM`, as many processes from there on.

    The processes are spawned, ignore Ctrl-C (their parent ends them), and end by themselves when their parent is killed.
    """
    executor: Executor
    if images < PROCESSES_FROM:
        executor = ThreadPoolExecutor(workers)
    else:
        executor = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_prepare_worker)
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def _prepare_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="retest-parent-watch", daemon=True).start()


def _end_with_parent() -> None:
    # A worker holds both ends of its queue, so that a killed parent would leave it waiting for ever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
