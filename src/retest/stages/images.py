"""Stage: fetch every original image and candidate, and store its three variants (method, section 2).

Resumable per image: an image is done when the database holds all of its variants, which are written after their blobs. An image
that cannot be fetched or decoded, or that brings its decoder down, is recorded with its reason, a candidate among the exclusions;
the rest goes on. Failures that say nothing about the image (a host that does not answer) are reported and tried again by the next
run. Images stream through in pages, so memory does not grow with their number.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from retest.errors import InputError, SourceError
from retest.images import ImageParameters, VariantSet, variant_names
from retest.records import Candidate, Exclusion, ImageVariant, OriginalImage
from retest.sources.download import Downloader, Failed
from retest.stages._common import Progress, Stamp, image_blob_key, silent
from retest.stages._decoding import Failure, Fetched, MakeVariants, decoding_executor, in_order_decoded
from retest.store import Tables
from retest.study import Study, executor_slots

_BATCH = 64
_BATCH_BYTES = 100_000_000
_BATCH_S = 1.0
_WRITERS = 8  # blobs of an object store take tens of milliseconds each
_PAGE = 500


@dataclass(frozen=True, slots=True)
class ImageCounts:
    """What one run of the stage did. ``later`` counts failures by reason that the next run tries again."""

    stored: int
    failed: int
    present: int
    later: Mapping[str, int] = field(default_factory=dict)


_FetchAll = Callable[[Iterable[Candidate]], Iterator[Fetched]]


def store_images(
    study: Study, fetch: Callable[[Candidate], bytes], *, stamp: Stamp, progress: Progress = silent, executor: Executor | None = None
) -> ImageCounts:
    """Make the variants of all images that lack them, taking candidates one by one from a source that hands over bytes itself.

    Args:
        study: the study.
        fetch: gives the bytes of a candidate, or raises :class:`InputError` or :class:`SourceError`.
        stamp: who excludes what cannot be used, and when.
        progress: shows the work.
        executor: where images are decoded and resized; by default threads of this process, for images that are trusted;
            :func:`open_executor` gives processes, where an image that brings its decoder down becomes an exclusion; a cluster's takes
            bytes and gives variants back, so its workers need not reach the blobs.
    """

    def fetch_all(candidates: Iterable[Candidate]) -> Iterator[Fetched]:
        for candidate in candidates:
            try:
                yield Fetched(candidate.id, True, fetch(candidate))
            except (InputError, SourceError) as error:
                yield Fetched(candidate.id, True, Failure("not_fetched", str(error)))

    return _store_all(study, fetch_all, stamp, progress, executor)


def download_images(
    study: Study, downloader: Downloader, *, stamp: Stamp, progress: Progress = silent, executor: Executor | None = None
) -> ImageCounts:
    """Make the variants of all images that lack them, downloading candidates from the web; arguments as :func:`store_images`."""

    def fetch_all(candidates: Iterable[Candidate]) -> Iterator[Fetched]:
        for outcome in downloader.run(candidates):
            if isinstance(outcome, Failed):
                yield Fetched(outcome.candidate.id, True, Failure(outcome.reason, outcome.detail, outcome.temporary))
            else:
                yield Fetched(outcome.candidate.id, True, outcome.data)

    return _store_all(study, fetch_all, stamp, progress, executor)


def open_executor(study: Study) -> AbstractContextManager[Executor]:
    """Processes for decoding, at most ``[study] workers`` of them; an image that ends its process twice becomes an exclusion.

    Only for programs that may be started anew by their own processes: a script needs ``if __name__ == "__main__"``.
    """
    return decoding_executor(_progress_so_far(study, study.config.images)[1], workers=study.config.study.workers)


def _store_all(study: Study, fetch_all: _FetchAll, stamp: Stamp, progress: Progress, executor: Executor | None) -> ImageCounts:
    parameters = study.config.images
    _forget_other_rules(study, parameters)
    present, total = _progress_so_far(study, parameters)
    workers = study.config.study.workers
    totals: Counter[str] = Counter()
    later: Counter[str] = Counter()
    with ExitStack() as stack:
        pool = executor or stack.enter_context(ThreadPoolExecutor(workers))
        writers = stack.enter_context(ThreadPoolExecutor(_WRITERS))
        saver = stack.enter_context(ThreadPoolExecutor(1))
        window = 8 * executor_slots(pool, otherwise=workers)
        made = in_order_decoded(pool, MakeVariants(parameters), _incoming(study, fetch_all, parameters), window=window)
        stack.enter_context(closing(made))  # an error of the writing ends the fetching at once
        advance = stack.enter_context(progress("Store images", total=total))
        # One batch is written while the next is fetched and decoded: a commit that waits for the disk keeps nobody waiting.
        saving: Future[int] | None = None
        for batch in _batches(made):
            if saving is not None:
                advance(saving.result())
            saving = saver.submit(_save, study, batch, parameters, stamp, totals, later, writers)
        if saving is not None:
            advance(saving.result())
    return ImageCounts(totals["stored"], totals["failed"], present, dict(later))


def _forget_other_rules(study: Study, parameters: ImageParameters) -> None:
    """When the sizes or the quality were changed, the records of old variants go; all are made again."""
    rule = image_blob_key("", "", parameters).split("/")[1]
    with study.database.write() as tables:
        known = tables.settings.get("image_rule")
        if known not in (None, rule):
            tables.variants.forget({variant.image_id for variant in tables.variants.all()})
        if known != rule:
            tables.settings.put("image_rule", rule)


def _progress_so_far(study: Study, parameters: ImageParameters) -> tuple[int, int]:
    """(images that are stored, images that are not stored and not known to be unusable)."""
    with study.database.read() as tables:
        present = tables.variants.count_complete(variant_names(parameters))
    open_originals = sum(1 for page in _open_originals(study, parameters) for _ in page)
    open_candidates = sum(1 for _ in _open_candidates(study, parameters))
    return present, open_originals + open_candidates


def _incoming(study: Study, fetch_all: _FetchAll, parameters: ImageParameters) -> Iterator[Fetched]:
    for page in _open_originals(study, parameters):
        for image in page:
            yield _read(image)
    yield from fetch_all(_open_candidates(study, parameters))


def _read(image: OriginalImage) -> Fetched:
    try:
        return Fetched(image.id, False, Path(str(image.location)).read_bytes())
    except OSError as error:
        return Fetched(image.id, False, Failure("not_fetched", f"{image.location} cannot be read ({error.strerror})"))


def _open_originals(study: Study, parameters: ImageParameters) -> Iterator[list[OriginalImage]]:
    after = ""
    while True:
        with study.database.read() as tables:
            page = list(tables.originals.page(after=after, limit=_PAGE))
            settled = _settled(tables, [image.id for image in page], parameters)
        if not page:
            return
        after = page[-1].id
        yield [image for image in page if image.location is not None and image.id not in settled]


def _open_candidates(study: Study, parameters: ImageParameters) -> Iterator[Candidate]:
    after: str | None = None
    while True:
        with study.database.read() as tables:
            page = list(tables.candidates.all(after=after, limit=_PAGE))
            ids = [candidate.id for candidate in page]
            settled = _settled(tables, ids, parameters) | set(tables.exclusions.get(ids))
        if not page:
            return
        after = page[-1].id
        # Candidates that other data only mention have no image to fetch.
        yield from (candidate for candidate in page if candidate.id not in settled and candidate.source != "reference")


def _settled(tables: Tables, ids: list[str], parameters: ImageParameters) -> set[str]:
    return tables.variants.complete(variant_names(parameters), among=ids) | set(tables.problems.get(ids))


def _batches(items: Iterable[Fetched]) -> Iterator[list[Fetched]]:
    """What is written in one transaction: a number of images, fewer where they are large or slow, so that a kill loses little."""
    batch: list[Fetched] = []
    size = 0
    begun = time.monotonic()
    for item in items:
        batch.append(item)
        size += sum(len(variant.data) for variant in item.content.variants) if isinstance(item.content, VariantSet) else 0
        if len(batch) == _BATCH or size >= _BATCH_BYTES or time.monotonic() - begun >= _BATCH_S:
            yield batch
            batch, size, begun = [], 0, time.monotonic()
    if batch:
        yield batch


def _save(
    study: Study,
    batch: list[Fetched],
    parameters: ImageParameters,
    stamp: Stamp,
    totals: Counter[str],
    later: Counter[str],
    writers: Executor,
) -> int:
    good = [(item.image_id, item.content) for item in batch if isinstance(item.content, VariantSet)]
    records = list(writers.map(lambda pair: _store_blobs(study, pair[0], pair[1], parameters), good))
    failures = [(item, item.content) for item in batch if isinstance(item.content, Failure)]
    with study.database.write() as tables:
        tables.variants.put_noted((variant, made.notes) for variants, (_, made) in zip(records, good, strict=True) for variant in variants)
        for item, failure in failures:
            if failure.temporary:
                later[failure.reason] += 1
            else:
                _record_failure(tables, item, failure, stamp)
                totals["failed"] += 1
    totals["stored"] += len(good)
    return len(batch)


def _store_blobs(study: Study, image_id: str, made: VariantSet, parameters: ImageParameters) -> list[ImageVariant]:
    records = []
    for variant in made.variants:
        key = image_blob_key(image_id, variant.name, parameters)
        if not study.blobs.put_new(key, variant.data) and study.blobs.get(key) != variant.data:
            study.blobs.put(key, variant.data)  # a killed run's blob, from what the image was then
        records.append(ImageVariant(image_id, variant.name, key, variant.sha256, len(variant.data), variant.width, variant.height))
    return records


def _record_failure(tables: Tables, item: Fetched, failure: Failure, stamp: Stamp) -> None:
    tables.problems.put(item.image_id, failure.reason, failure.detail)
    if item.is_candidate:
        tables.exclusions.add([Exclusion(item.image_id, failure.reason, failure.detail, stamp.user, stamp.time)])


def retry_failed(study: Study) -> int:
    """Forget recorded failures, so that the next run tries these images again; returns how many."""
    with study.database.write() as tables:
        problems = tables.problems.all()
        excluded = tables.exclusions.get(problems)
        tables.exclusions.remove(i for i, (reason, _) in problems.items() if i in excluded and excluded[i].reason == reason)
        tables.problems.clear(problems)
    return len(problems)
