"""Stage: fetch every original image and candidate, and store its three variants (method, section 2).

Resumable per image: an image is done when the database holds all of its variants, which are written after their blobs. An image
that cannot be fetched or decoded is recorded with its reason, a candidate among the exclusions; the rest goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from retest.errors import ImageError, InputError, SourceError, StageError
from retest.images import ImageParameters, VariantSet, make_variants, variant_names
from retest.records import Candidate, Exclusion, ImageVariant, OriginalImage
from retest.stages._common import Progress, Stamp, image_blob_key, in_order, silent
from retest.store import Tables
from retest.study import Study

_BATCH = 64


@dataclass(frozen=True, slots=True)
class ImageCounts:
    """What one run of the stage did."""

    stored: int
    failed: int
    present: int


@dataclass(frozen=True, slots=True)
class _Job:
    """One image to fetch. ``fetch`` is called in the driver, decoding happens in the executor."""

    image_id: str
    is_candidate: bool
    fetch: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class _Failure:
    image_id: str
    reason: str
    detail: str


def store_images(
    study: Study, fetch: Callable[[Candidate], bytes], *, stamp: Stamp, progress: Progress = silent, executor: Executor | None = None
) -> ImageCounts:
    """Make the variants of all images that lack them.

    Args:
        study: the study.
        fetch: gives the bytes of a candidate, or raises :class:`InputError` or :class:`SourceError`.
        stamp: who excludes what cannot be used, and when.
        progress: shows the work.
        executor: where images are decoded and resized; by default threads (Pillow releases the interpreter lock).
    """
    parameters = study.config.images
    _forget_other_rules(study, parameters)
    jobs = _open_jobs(study, fetch, parameters)
    with study.database.read() as tables:
        present = len(tables.variants.complete(variant_names(parameters)))
    own = ThreadPoolExecutor(study.config.study.workers) if executor is None else None
    stored = failed = 0
    try:
        results = in_order(executor or own, _Work(parameters), _fetched(jobs), window=8 * study.config.study.workers)  # type: ignore[arg-type]
        with progress("Store images", total=len(jobs)) as advance:
            for batch in _batches(zip(jobs, results, strict=True)):
                done, lost = _save(study, batch, parameters, stamp)
                stored, failed = stored + done, failed + lost
                advance(len(batch))
    finally:
        if own is not None:
            own.shutdown(cancel_futures=True)
    return ImageCounts(stored, failed, present)


@dataclass(frozen=True, slots=True)
class _Work:
    """Decodes and resizes one image in the executor; failures come back as values."""

    parameters: ImageParameters

    def __call__(self, item: tuple[str, bytes | _Failure]) -> VariantSet | _Failure:
        image_id, data = item
        if isinstance(data, _Failure):
            return data
        try:
            return make_variants(data, item=image_id, parameters=self.parameters)
        except ImageError as error:
            return _Failure(image_id, error.reason, str(error))


def _forget_other_rules(study: Study, parameters: ImageParameters) -> None:
    """When the sizes or the quality were changed, the records of old variants go; all are made again."""
    rule = image_blob_key("", "", parameters).split("/")[1]
    with study.database.write() as tables:
        known = tables.settings.get("image_rule")
        if known not in (None, rule):
            tables.variants.forget({variant.image_id for variant in tables.variants.all()})
        if known != rule:
            tables.settings.put("image_rule", rule)


def _open_jobs(study: Study, fetch: Callable[[Candidate], bytes], parameters: ImageParameters) -> list[_Job]:
    with study.database.read() as tables:
        done = tables.variants.complete(variant_names(parameters)) | set(tables.problems.all())
        excluded = set(tables.exclusions.all())
        originals = [i for i in tables.originals.all() if i.id not in done and i.location is not None]
        candidates = [c for c in tables.candidates.all() if c.id not in done and c.id not in excluded and c.source != "reference"]
    return [_Job(i.id, False, _Reader(i)) for i in originals] + [_Job(c.id, True, _Fetcher(fetch, c)) for c in candidates]


@dataclass(frozen=True, slots=True)
class _Reader:
    image: OriginalImage

    def __call__(self) -> bytes:
        try:
            return Path(str(self.image.location)).read_bytes()
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror})", item=str(self.image.location), remedy="Restore the file") from error


@dataclass(frozen=True, slots=True)
class _Fetcher:
    fetch: Callable[[Candidate], bytes]
    candidate: Candidate

    def __call__(self) -> bytes:
        return self.fetch(self.candidate)


def _fetched(jobs: Iterable[_Job]) -> Iterator[tuple[str, bytes | _Failure]]:
    for job in jobs:
        try:
            yield job.image_id, job.fetch()
        except (InputError, SourceError) as error:
            yield job.image_id, _Failure(job.image_id, "not_fetched", str(error))


def _batches(items: Iterable[tuple[_Job, VariantSet | _Failure]]) -> Iterator[list[tuple[_Job, VariantSet | _Failure]]]:
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _save(study: Study, batch: list[tuple[_Job, VariantSet | _Failure]], parameters: ImageParameters, stamp: Stamp) -> tuple[int, int]:
    made: list[tuple[list[ImageVariant], tuple[str, ...]]] = []
    failures: list[tuple[_Job, _Failure]] = []
    for job, result in batch:
        if isinstance(result, _Failure):
            failures.append((job, result))
        else:
            made.append((_store_blobs(study, job.image_id, result, parameters), result.notes))
    with study.database.write() as tables:
        for variants, notes in made:
            tables.variants.put(variants, notes=notes)
        for job, failure in failures:
            _record_failure(tables, job, failure, stamp)
    return len(made), len(failures)


def _store_blobs(study: Study, image_id: str, made: VariantSet, parameters: ImageParameters) -> list[ImageVariant]:
    records = []
    for variant in made.variants:
        key = image_blob_key(image_id, variant.name, parameters)
        study.blobs.put_new(key, variant.data)
        records.append(ImageVariant(image_id, variant.name, key, variant.sha256, len(variant.data), variant.width, variant.height))
    return records


def _record_failure(tables: Tables, job: _Job, failure: _Failure, stamp: Stamp) -> None:
    tables.problems.put(job.image_id, failure.reason, failure.detail)
    if job.is_candidate:
        tables.exclusions.add([Exclusion(job.image_id, failure.reason, failure.detail, stamp.user, stamp.time)])


def retry_failed(study: Study) -> int:
    """Forget recorded failures, so that the next run tries these images again; returns how many."""
    with study.database.write() as tables:
        problems = tables.problems.all()
        excluded = tables.exclusions.all()
        tables.exclusions.remove(i for i, (reason, _) in problems.items() if i in excluded and excluded[i].reason == reason)
        tables.problems.clear(problems)
    return len(problems)


def require_images(study: Study) -> None:
    """Stop when some image has neither variants nor a recorded reason.

    Raises:
        StageError: with the number of images that are missing.
    """
    missing = len(_open_jobs(study, lambda _candidate: b"", study.config.images))
    if missing:
        raise StageError(f"{missing} images are not stored yet", item="images", remedy="Run: retest download --study STUDY")
