"""The consistency check of images (method, section 3): every variant and every opaque copy present and as recorded.

Used by the command ``check`` and, as a gate, by the labelling stage: nothing is published while it fails.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field

from retest.errors import ImageError, NotFoundError
from retest.images import ImageParameters, content_hash, decode_image, variant_names
from retest.records import ImageVariant
from retest.stages._common import Progress, completion_key, in_order, public_blob_key, silent
from retest.stages._keys import KeyVersions
from retest.store import Tables
from retest.study import Study

_STAGE = "check"
_READERS = 8  # an object store takes tens of milliseconds for each question
_IMAGES_PER_WRITE = 500
_IMAGES_PER_PAGE = 1000
_DAMAGED = ""  # is no key, so the image is read again
# What is stored was within the limits when it was stored; those of the settings may be narrower now.
_NO_LIMITS = ImageParameters(max_pixels=178_956_970, max_bytes=2**31 - 1)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that the consistency check found: what is missing or wrong, and where; ``stage`` is the command that provides it."""

    image_id: str
    what: str
    problem: str
    stage: str = "download"


@dataclass(frozen=True, slots=True)
class CheckReport:
    """Outcome of the consistency check. Nothing is published for labelling while ``findings`` is not empty.

    ``search`` counts what the search has left open: classes without candidates, queries not finished. That blocks nothing.
    """

    images: int
    findings: tuple[Finding, ...]
    repaired: int
    search: Mapping[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.findings

    @property
    def missing(self) -> dict[str, dict[str, int]]:
        """Stage -> what is missing or wrong there -> of how many images."""
        found = Counter((finding.stage, finding.what) for finding in self.findings)
        stages: dict[str, dict[str, int]] = {"search": dict(self.search), "download": {}, "publish": {}}
        for (stage, what), number in sorted(found.items()):
            stages[stage][what] = number
        return stages


def check_images(
    study: Study, *, key_version: int | None = None, deep: bool = False, repair: bool = False, progress: Progress = silent
) -> CheckReport:
    """Check every original image and candidate that is neither excluded nor a recorded problem.

    Every variant must be recorded, its blob present with the recorded size and SHA-256, and an image of the recorded width and height;
    its opaque copy must be present and equal to what annotators should see, under the current key version and under older ones that
    are not retired (or under ``key_version`` alone). An image that was found to be whole is read again when a blob of it has another
    mark than then (see :class:`~retest.store.BlobStore`), or with ``deep``. ``repair`` rewrites opaque copies from their variant and
    forgets the records of missing or damaged variants, so that ``retest download`` makes them again.

    What is found whole is kept on record now and then, so that a check that is stopped goes on where it was.
    """
    names = variant_names(study.config.images)
    with study.database.read() as tables:
        versions = _versions(tables, key_version)
        search = _search_open(tables)
        total = tables.bulk.images_to_check()
    decoders = threading.BoundedSemaphore(study.config.study.workers)

    def inspect(image: _Known) -> _Inspected:
        return _inspect(study, image, names, decoders, deep=deep)

    checked, outcome = 0, _Outcome(study, repair)
    with (
        progress("Check images", total=total) as advance,
        ThreadPoolExecutor(_READERS) as readers,
        closing(_Record(study)) as record,
    ):
        for found in in_order(readers, inspect, _known_images(study, versions), window=4 * _READERS):
            outcome.add(found, shown=names[1])
            if found.whole is not None:
                record.add(found.image.id, found.whole)
            elif found.image.whole and (found.missing or found.copies):
                record.add(found.image.id, _DAMAGED)
            checked += 1
            advance(1)
    return CheckReport(checked, tuple(outcome.findings), outcome.repaired, search)


@dataclass(frozen=True, slots=True)
class _Known:
    """What is on record of one image: its variants, its name per key version (the one that every image must have first), and by
    which key it was found to be whole.
    """

    id: str
    stored: Mapping[str, ImageVariant]
    names: Mapping[int, str | None]
    whole: str | None


def _known_images(study: Study, versions: Sequence[int]) -> Iterator[_Known]:
    """The images to check, page by page: original images by id, then candidates by id."""
    for read in (_original_ids, _candidate_ids):
        after = ""
        while True:
            with study.database.read() as tables:
                after, ids = read(tables, after)
                excused = {*tables.problems.get(ids), *tables.exclusions.get(ids)}
                checked = [image for image in ids if image not in excused]
                stored = tables.variants.of_images(checked)
                opaque = {version: tables.opaque_names.get(checked, version) for version in versions}
                whole = tables.completions.keys_of(_STAGE, checked)
            for image in checked:
                names = {version: of.get(image) for version, of in opaque.items()}
                yield _Known(image, stored.get(image, {}), names, whole.get(image))
            if not after:
                break


def _original_ids(tables: Tables, after: str) -> tuple[str, list[str]]:
    """(where the next page begins, empty at the end; ids)."""
    ids = [image.id for image in tables.originals.page(after=after, limit=_IMAGES_PER_PAGE)]
    return ids[-1] if ids else "", ids


def _candidate_ids(tables: Tables, after: str) -> tuple[str, list[str]]:
    page = list(tables.candidates.identities(after=after, limit=_IMAGES_PER_PAGE))
    # Those that other data only mention have no image.
    return page[-1][0] if page else "", [row[0] for row in page if row[2] != "reference"]


@dataclass(frozen=True, slots=True)
class _Inspected:
    """What is wrong with one image; ``whole``: that nothing is, to be kept on record. A copy comes with its name, empty for none."""

    image: _Known
    missing: list[Finding]
    copies: list[tuple[str, Finding]]
    whole: str | None = None


class _Outcome:
    """What was found, less what was repaired."""

    def __init__(self, study: Study, repair: bool) -> None:
        self.findings: list[Finding] = []
        self.repaired = 0
        self._study = study
        self._repair = repair

    def add(self, found: _Inspected, *, shown: str) -> None:
        """One more image; ``shown`` is the variant that annotators see, of which its opaque copies are made."""
        stored, blobs = found.image.stored, self._study.blobs
        if self._repair and found.missing and stored:
            _forget(self._study, found.image.id, [stored[one.what].blob_key for one in found.missing if one.what in stored])
        self.findings += found.missing
        for name, finding in found.copies:
            if self._repair and name:
                blobs.put(public_blob_key(name), blobs.get(stored[shown].blob_key))
                self.repaired += 1
            else:
                self.findings.append(finding)


class _Record:
    """Writes down which images are whole, many at a time."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._new: list[tuple[str, str]] = []

    def add(self, image_id: str, key: str) -> None:
        self._new.append((image_id, key))
        if len(self._new) >= _IMAGES_PER_WRITE:
            self.close()

    def close(self) -> None:
        if self._new:
            with self._study.database.write() as tables:
                for image_id, key in self._new:
                    tables.completions.put(_STAGE, image_id, key)
            self._new = []


def _inspect(study: Study, image: _Known, names: Sequence[str], decoders: AbstractContextManager[object], *, deep: bool) -> _Inspected:
    stored = image.stored
    expected = [(stored[name].blob_key, stored[name]) for name in names if name in stored]
    if names[1] in stored:
        expected += [(public_blob_key(name), stored[names[1]]) for name in image.names.values() if name is not None]
    # Before anything is read, so that a blob that changes meanwhile is read again the next time.
    marks = {key: study.blobs.mark(key) for key, _ in expected}
    whole = completion_key("check-1", [(key, marks[key], v.sha256, v.size_bytes, v.width, v.height) for key, v in expected])
    complete = len(stored) >= len(names) and next(iter(image.names.values())) is not None
    if complete and image.whole == whole and not deep:
        return _Inspected(image, [], [])
    reader = _Reader(study, marks, decoders)
    missing = _missing_variants(image, names, reader)
    copies = [] if missing else _missing_copies(image, stored[names[1]], reader)
    return _Inspected(image, missing, copies, None if missing or copies else whole)


def _forget(study: Study, image_id: str, blob_keys: Iterable[str]) -> None:
    with study.database.write() as tables:
        tables.variants.forget([image_id])
    for key in blob_keys:
        study.blobs.delete(key)


def _versions(tables: Tables, key_version: int | None) -> list[int]:
    """The key version asked for, else the current one and after it all older ones that are accepted."""
    known = KeyVersions.read(tables)
    versions = {known.current, *known.accepted} if key_version is None else {key_version}
    current = known.current if key_version is None else key_version
    return sorted(versions, key=lambda version: (version != current, version))


def _search_open(tables: Tables) -> dict[str, int]:
    found = tables.candidates.count_by_class()
    queries = tables.searches.counts()
    counts = {
        "classes without candidates": sum(not found.get(info.wnid) for info in tables.classes.all()),
        "queries not finished": queries["queries"] - queries["finished"],
    }
    return {what: number for what, number in counts.items() if number}


def _missing_variants(image: _Known, names: Iterable[str], reader: _Reader) -> list[Finding]:
    findings = []
    for name in names:
        variant = image.stored.get(name)
        if variant is None:
            findings.append(Finding(image.id, name, "not stored; run retest download"))
            continue
        problem = reader.problem(variant.blob_key, variant)
        if problem:
            findings.append(Finding(image.id, name, f"{problem}; run retest check --repair, then retest download"))
    return findings


def _missing_copies(image: _Known, shown: ImageVariant, reader: _Reader) -> list[tuple[str, Finding]]:
    """(name, finding) of what is wrong with the copies of an image; the name is empty where there is none yet."""
    findings = []
    for number, (version, name) in enumerate(image.names.items()):
        if name is None:
            if number == 0:  # only the current version must name every image
                findings.append(("", Finding(image.id, "opaque name", "has none; run retest publish", "publish")))
            continue
        problem = reader.problem(public_blob_key(name), shown)
        if problem:
            label = "opaque copy" if number == 0 else f"opaque copy of key version {version}"
            findings.append((name, Finding(image.id, label, f"{problem}; run retest check --repair", "publish")))
    return findings


class _Reader:
    """Reads the blobs of one image and says what is wrong with each."""

    def __init__(self, study: Study, marks: Mapping[str, str | None], decoders: AbstractContextManager[object]) -> None:
        self._blobs = study.blobs
        self._marks = marks
        self._decoders = decoders
        self._good: set[tuple[str, int, int]] = set()

    def problem(self, key: str, expected: ImageVariant) -> str | None:
        """What is wrong with a blob; None if it is as recorded and can be decoded."""
        if self._marks[key] is None:
            return "the blob is missing"
        try:
            data = self._blobs.get(key)
        except NotFoundError:
            return "the blob is missing"
        if len(data) != expected.size_bytes:
            return f"the blob has {len(data)} bytes instead of {expected.size_bytes}"
        if content_hash(data) != expected.sha256:
            return "the blob's content is not what was stored"
        # The same bytes, such as those of a copy, need not be decoded twice.
        content = (expected.sha256, expected.width, expected.height)
        problem = None if content in self._good else self._undecodable(key, data, expected)
        if problem is None:
            self._good.add(content)
        return problem

    def _undecodable(self, key: str, data: bytes, expected: ImageVariant) -> str | None:
        try:
            with self._decoders:
                found = decode_image(data, item=key, parameters=_NO_LIMITS).image.size
        except ImageError as error:
            return f"the blob is no usable image ({error.problem})"
        return None if found == (expected.width, expected.height) else f"the image is {found[0]} x {found[1]} pixels, unlike its record"
