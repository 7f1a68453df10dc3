"""The consistency check of images (method, section 3): every variant and every opaque copy present and as recorded.

Used by the command ``check`` and, as a gate, by the labelling stage: nothing is published while it fails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from retest.errors import ImageError
from retest.images import ImageParameters, content_hash, decode_image, variant_names
from retest.records import ImageVariant
from retest.stages._common import Progress, in_order, public_blob_key, silent
from retest.stages._keys import KeyVersions
from retest.store import Tables
from retest.study import Study

_READERS = 8  # an object store takes tens of milliseconds for each question
# What is stored was within the limits when it was stored.
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

    Every variant must be recorded and its blob present with the recorded size (with ``deep``: the recorded SHA-256 as well, and
    it must be an image of the recorded width and height), and its opaque copy present and equal to what annotators should see,
    under the current key version and under older ones that are not retired (or under ``key_version`` alone). ``repair`` rewrites
    opaque copies from their variant and forgets the records of missing variants, so that ``retest download`` makes them again.
    """
    names = variant_names(study.config.images)
    with study.database.read() as tables:
        excused = set(tables.problems.all()) | set(tables.exclusions.all())
        # Candidates that other data only mention have no image.
        candidates = [row[0] for row in tables.candidates.identities() if row[2] != "reference"]
        expected = [i.id for i in tables.originals.all()] + candidates
        variants = _by_image(tables.variants.all())
        opaque = _names(tables, key_version)
        search = _search_open(tables)
    checked = [image_id for image_id in expected if image_id not in excused]

    def inspect(image_id: str) -> tuple[str, list[Finding], list[tuple[str, Finding]]]:
        stored = variants.get(image_id, {})
        missing = _missing_variants(study, image_id, stored, names, deep=deep)
        return image_id, missing, [] if missing else _missing_copies(study, image_id, stored[names[1]], opaque, deep=deep)

    findings: list[Finding] = []
    repaired = 0
    with progress("Check images", total=len(checked)) as advance, ThreadPoolExecutor(_READERS) as readers:
        for image_id, missing, copies in in_order(readers, inspect, checked, window=4 * _READERS):
            stored = variants.get(image_id, {})
            if repair and missing and stored:
                _forget(study, image_id, [stored[finding.what].blob_key for finding in missing if finding.what in stored])
            findings += missing
            for name, finding in copies:
                if repair and name:
                    study.blobs.put(public_blob_key(name), study.blobs.get(stored[names[1]].blob_key))
                    repaired += 1
                else:
                    findings.append(finding)
            advance(1)
    return CheckReport(len(checked), tuple(findings), repaired, search)


def _forget(study: Study, image_id: str, blob_keys: Iterable[str]) -> None:
    with study.database.write() as tables:
        tables.variants.forget([image_id])
    for key in blob_keys:
        study.blobs.delete(key)


def _names(tables: Tables, key_version: int | None) -> dict[int, dict[str, str]]:
    """Key version -> image id -> name: the version asked for, else the current one and all older ones that are accepted."""
    known = KeyVersions.read(tables)
    versions = {known.current, *known.accepted} if key_version is None else {key_version}
    current = known.current if key_version is None else key_version
    # Only the current version must name every image.
    return {version: tables.opaque_names.all(version) for version in sorted(versions, key=lambda v: (v != current, v))}


def _search_open(tables: Tables) -> dict[str, int]:
    found = tables.candidates.count_by_class()
    queries = tables.searches.counts()
    counts = {
        "classes without candidates": sum(not found.get(info.wnid) for info in tables.classes.all()),
        "queries not finished": queries["queries"] - queries["finished"],
    }
    return {what: number for what, number in counts.items() if number}


def _by_image(variants: Iterable[ImageVariant]) -> dict[str, dict[str, ImageVariant]]:
    result: dict[str, dict[str, ImageVariant]] = {}
    for variant in variants:
        result.setdefault(variant.image_id, {})[variant.variant] = variant
    return result


def _missing_variants(study: Study, image_id: str, stored: dict[str, ImageVariant], names: Iterable[str], *, deep: bool) -> list[Finding]:
    findings = []
    for name in names:
        if name not in stored:
            findings.append(Finding(image_id, name, "not stored; run retest download"))
            continue
        problem = _blob_problem(study, stored[name].blob_key, stored[name], deep=deep)
        if problem:
            findings.append(
                Finding(image_id, name, f"{problem}; run retest check{' --deep' if deep else ''} --repair, then retest download")
            )
    return findings


def _missing_copies(
    study: Study, image_id: str, shown: ImageVariant, opaque: Mapping[int, Mapping[str, str]], *, deep: bool
) -> list[tuple[str, Finding]]:
    """(name, finding) of what is wrong with the copies of an image; the name is empty where there is none yet."""
    findings = []
    for number, (version, names) in enumerate(opaque.items()):
        name = names.get(image_id)
        if name is None:
            if number == 0:
                findings.append(("", Finding(image_id, "opaque name", "has none; run retest publish", "publish")))
            continue
        problem = _blob_problem(study, public_blob_key(name), shown, deep=deep)
        if problem:
            # Publishing looks at sizes only, and at the current version only.
            remedy = "retest check --deep --repair" if deep else "retest publish" if number == 0 else "retest check --repair"
            label = "opaque copy" if number == 0 else f"opaque copy of key version {version}"
            findings.append((name, Finding(image_id, label, f"{problem}; run {remedy}", "publish")))
    return findings


def _blob_problem(study: Study, key: str, expected: ImageVariant, *, deep: bool) -> str | None:
    size = study.blobs.size(key)
    if size is None:
        return "the blob is missing"
    if size != expected.size_bytes:
        return f"the blob has {size} bytes instead of {expected.size_bytes}"
    if not deep:
        return None
    data = study.blobs.get(key)
    if content_hash(data) != expected.sha256:
        return "the blob's content is not what was stored"
    try:
        found = decode_image(data, item=key, parameters=_NO_LIMITS).image.size
    except ImageError as error:
        return f"the blob is no usable image ({error.problem})"
    return None if found == (expected.width, expected.height) else f"the image is {found[0]} x {found[1]} pixels, unlike its record"
