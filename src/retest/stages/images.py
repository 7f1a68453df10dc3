"""Stage: fetch every original image and candidate, and store its three variants (method, section 2).

Resumable per image: an image is done when the database holds all of its variants, which are written after their blobs. An image
that cannot be fetched or decoded is recorded with its reason, a candidate among the exclusions; the rest goes on. Failures that
say nothing about the image (a host that does not answer) are reported and tried again by the next run. Images stream through in
pages, so memory does not grow with their number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from retest.errors import ImageError, InputError, SourceError, StageError
from retest.images import ImageParameters, VariantSet, make_variants, variant_names
from retest.records import Candidate, Exclusion, ImageVariant, OriginalImage
from retest.sources.download import Downloader, Failed
from retest.stages._common import Progress, Stamp, image_blob_key, in_order, silent
from retest.store import Tables
from retest.study import Study

_BATCH = 64
_PAGE = 500


@dataclass(frozen=True, slots=True)
class ImageCounts:
    """What one run of the stage did. ``later`` counts failures by reason that the next run tries again."""

    stored: int
    failed: int
    present: int
    later: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why there is no image; a temporary one leaves no trace in the study."""

    reason: str
    detail: str
    temporary: bool = False


@dataclass(frozen=True, slots=True)
class _Fetched:
    """One image on its way: its bytes, then its variants, or why there are none."""

    image_id: str
    is_candidate: bool
    content: bytes | VariantSet | _Failure = field(repr=False)


_FetchAll = Callable[[Iterable[Candidate]], Iterator[_Fetched]]


def store_images(
    study: Study, fetch: Callable[[Candidate], bytes], *, stamp: Stamp, progress: Progress = silent, executor: Executor | None = None
) -> ImageCounts:
    """Make the variants of all images that lack them, taking candidates one by one from a source that hands over bytes itself.

    Args:
        study: the study.
        fetch: gives the bytes of a candidate, or raises :class:`InputError` or :class:`SourceError`.
        stamp: who excludes what cannot be used, and when.
        progress: shows the work.
        executor: where images are decoded and resized; by default threads (Pillow releases the interpreter lock).
    """

    def fetch_all(candidates: Iterable[Candidate]) -> Iterator[_Fetched]:
        for candidate in candidates:
            try:
                yield _Fetched(candidate.id, True, fetch(candidate))
            except (InputError, SourceError) as error:
                yield _Fetched(candidate.id, True, _Failure("not_fetched", str(error)))

    return _store_all(study, fetch_all, stamp, progress, executor)


def download_images(
    study: Study, downloader: Downloader, *, stamp: Stamp, progress: Progress = silent, executor: Executor | None = None
) -> ImageCounts:
    """Make the variants of all images that lack them, downloading candidates from the web; arguments as :func:`store_images`."""

    def fetch_all(candidates: Iterable[Candidate]) -> Iterator[_Fetched]:
        for outcome in downloader.run(candidates):
            if isinstance(outcome, Failed):
                yield _Fetched(outcome.candidate.id, True, _Failure(outcome.reason, outcome.detail, outcome.temporary))
            else:
                yield _Fetched(outcome.candidate.id, True, outcome.data)

    return _store_all(study, fetch_all, stamp, progress, executor)


def _store_all(study: Study, fetch_all: _FetchAll, stamp: Stamp, progress: Progress, executor: Executor | None) -> ImageCounts:
    parameters = study.config.images
    _forget_other_rules(study, parameters)
    present, total = _progress_so_far(study, parameters)
    own = ThreadPoolExecutor(study.config.study.workers) if executor is None else None
    totals: Counter[str] = Counter()
    later: Counter[str] = Counter()
    try:
        incoming = _incoming(study, fetch_all, parameters)
        made = in_order(executor or own, _Work(parameters), incoming, window=8 * study.config.study.workers)  # type: ignore[arg-type]
        with progress("Store images", total=total) as advance:
            for batch in _batches(made):
                _save(study, batch, parameters, stamp, totals, later)
                advance(len(batch))
    finally:
        if own is not None:
            own.shutdown(cancel_futures=True)
    return ImageCounts(totals["stored"], totals["failed"], present, dict(later))


@dataclass(frozen=True, slots=True)
class _Work:
    """Decodes and resizes one image in the executor; failures come back as values."""

    parameters: ImageParameters

    def __call__(self, item: _Fetched) -> _Fetched:
        if not isinstance(item.content, bytes):
            return item
        content: VariantSet | _Failure
        try:
            content = make_variants(item.content, item=item.image_id, parameters=self.parameters)
        except ImageError as error:
            content = _Failure(error.reason, str(error))
        return _Fetched(item.image_id, item.is_candidate, content)


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


def _incoming(study: Study, fetch_all: _FetchAll, parameters: ImageParameters) -> Iterator[_Fetched]:
    for page in _open_originals(study, parameters):
        for image in page:
            yield _read(image)
    yield from fetch_all(_open_candidates(study, parameters))


def _read(image: OriginalImage) -> _Fetched:
    try:
        return _Fetched(image.id, False, Path(str(image.location)).read_bytes())
    except OSError as error:
        return _Fetched(image.id, False, _Failure("not_fetched", f"{image.location} cannot be read ({error.strerror})"))


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


def _batches(items: Iterable[_Fetched]) -> Iterator[list[_Fetched]]:
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _save(
    study: Study, batch: list[_Fetched], parameters: ImageParameters, stamp: Stamp, totals: Counter[str], later: Counter[str]
) -> None:
    stored = [
        (_store_blobs(study, item.image_id, item.content, parameters), item.content.notes)
        for item in batch
        if isinstance(item.content, VariantSet)
    ]
    failures = [(item, item.content) for item in batch if isinstance(item.content, _Failure)]
    with study.database.write() as tables:
        for variants, notes in stored:
            tables.variants.put(variants, notes=notes)
        for item, failure in failures:
            if failure.temporary:
                later[failure.reason] += 1
            else:
                _record_failure(tables, item, failure, stamp)
                totals["failed"] += 1
    totals["stored"] += len(stored)


def _store_blobs(study: Study, image_id: str, made: VariantSet, parameters: ImageParameters) -> list[ImageVariant]:
    records = []
    for variant in made.variants:
        key = image_blob_key(image_id, variant.name, parameters)
        if not study.blobs.put_new(key, variant.data) and study.blobs.get(key) != variant.data:
            study.blobs.put(key, variant.data)  # a killed run's blob, from what the image was then
        records.append(ImageVariant(image_id, variant.name, key, variant.sha256, len(variant.data), variant.width, variant.height))
    return records


def _record_failure(tables: Tables, item: _Fetched, failure: _Failure, stamp: Stamp) -> None:
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


def require_images(study: Study) -> None:
    """Stop when some image has neither variants nor a recorded reason.

    Raises:
        StageError: with the number of images that are missing.
    """
    missing = _progress_so_far(study, study.config.images)[1]
    if missing:
        raise StageError(f"{missing} images are not stored yet", item="images", remedy="Run: retest download --study STUDY")
