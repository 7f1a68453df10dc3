"""The consistency check of images (method, section 3): every variant and every opaque copy present and as recorded.

Used by the command ``check`` and, as a gate, by the labelling stage: nothing is published while it fails.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from retest.images import content_hash, variant_names
from retest.records import ImageVariant
from retest.stages._common import Progress, public_blob_key, silent
from retest.study import Study


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that the consistency check found: what is missing or wrong, and where."""

    image_id: str
    what: str
    problem: str


@dataclass(frozen=True, slots=True)
class CheckReport:
    """Outcome of the consistency check. Nothing is published for labelling while ``findings`` is not empty."""

    images: int
    findings: tuple[Finding, ...]
    repaired: int

    @property
    def ok(self) -> bool:
        return not self.findings


def check_images(
    study: Study, *, key_version: int = 1, deep: bool = False, repair: bool = False, progress: Progress = silent
) -> CheckReport:
    """Check every original image and candidate that is neither excluded nor a recorded problem.

    Every variant must be recorded and its blob present with the recorded size (with ``deep``: the recorded SHA-256 as well), and
    its opaque copy present and equal to what annotators should see. ``repair`` rewrites opaque copies from their variant and
    forgets the records of missing variants, so that ``retest download`` makes them again.
    """
    names = variant_names(study.config.images)
    with study.database.read() as tables:
        excused = set(tables.problems.all()) | set(tables.exclusions.all())
        expected = [i.id for i in tables.originals.all()] + [row[0] for row in tables.candidates.identities()]
        variants = _by_image(tables.variants.all())
        opaque = tables.opaque_names.all(key_version)
    checked = [image_id for image_id in expected if image_id not in excused]
    findings: list[Finding] = []
    repaired = 0
    with progress("Check images", total=len(checked)) as advance:
        for image_id in checked:
            stored = variants.get(image_id, {})
            missing = _missing_variants(study, image_id, stored, names, deep=deep)
            copy = None if missing else _missing_copy(study, image_id, stored[names[1]], opaque.get(image_id), deep=deep)
            if repair and missing and stored:
                with study.database.write() as tables:
                    tables.variants.forget([image_id])
                for finding in missing:
                    if finding.what in stored:
                        study.blobs.delete(stored[finding.what].blob_key)
            if repair and copy is not None and image_id in opaque:
                study.blobs.put(public_blob_key(opaque[image_id]), study.blobs.get(stored[names[1]].blob_key))
                repaired, copy = repaired + 1, None
            findings += missing + ([] if copy is None else [copy])
            advance(1)
    return CheckReport(len(checked), tuple(findings), repaired)


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


def _missing_copy(study: Study, image_id: str, shown: ImageVariant, name: str | None, *, deep: bool) -> Finding | None:
    if name is None:
        return Finding(image_id, "opaque name", "has none; run retest publish")
    problem = _blob_problem(study, public_blob_key(name), shown, deep=deep)
    remedy = "retest check --deep --repair" if deep else "retest publish"  # which looks at sizes only
    return Finding(image_id, "opaque copy", f"{problem}; run {remedy}") if problem else None


def _blob_problem(study: Study, key: str, expected: ImageVariant, *, deep: bool) -> str | None:
    size = study.blobs.size(key)
    if size is None:
        return "the blob is missing"
    if size != expected.size_bytes:
        return f"the blob has {size} bytes instead of {expected.size_bytes}"
    if deep and content_hash(study.blobs.get(key)) != expected.sha256:
        return "the blob's content is not what was stored"
    return None
