"""What an export of a revision holds: its images in order with all that is known of them, and the facts of the study behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from retest.errors import NotFoundError
from retest.images import JPEG_SUFFIXES, content_hash, variant_names
from retest.records import Candidate, ImageVariant, Revision
from retest.stages._common import completion_key
from retest.store import Tables
from retest.study import Study

_LONGEST_NAME = 160

COLUMNS = (
    "file_name",
    "image_id",
    "label",
    "wnid",
    "class_name",
    "selection_frequency",
    "num_assignments",
    "width",
    "height",
    "sha256",
    "source",
    "photo_id",
    "title",
    "owner",
    "license",
    "source_page",
    "url",
)
"""Columns of the metadata table that every form carries."""


@dataclass(frozen=True, slots=True)
class ExportImage:
    """One image of the set. ``label`` is the class index, -1 where the study does not know the class."""

    id: str
    wnid: str
    label: int
    class_name: str
    name: str
    """File name, unique within its class."""
    variant: ImageVariant
    frequency: tuple[int, int] | None
    """(selections, valid assignments) for its class; None when nobody was asked."""
    candidate: Candidate | None

    def row(self, file: str) -> dict[str, str | int | float | None]:
        """The image's row of the metadata table; ``file`` is where the image lies in the export."""
        found = self.candidate
        selected, number = self.frequency or (0, 0)
        values = (
            file,
            self.id,
            self.label,
            self.wnid,
            self.class_name,
            selected / number if number else None,
            number,
            self.variant.width,
            self.variant.height,
            self.variant.sha256,
            *(None if found is None else getattr(found, name) for name in COLUMNS[10:]),
        )
        return dict(zip(COLUMNS, values, strict=True))


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """Counts over the whole study for the datasheet."""

    study: str
    benchmark: str
    candidates: Mapping[str, int]
    """by source"""
    duplicate_occurrences: int
    exclusions: Mapping[str, int]
    """by reason"""
    hits: int
    excluded_hits: int
    answers: Mapping[str, int]
    """by status"""
    annotators: int
    near_duplicate_pairs: int
    near_duplicates: int
    reviewed_neighbors: int
    hit_days: tuple[str, str] | None
    classes_reviewed: int
    classes_problematic: int


@dataclass(frozen=True, slots=True)
class ExportSet:
    """A revision ready to be written in any form."""

    revision: Revision
    images: tuple[ExportImage, ...]
    cids: Mapping[str, int]
    """wnid -> class index of every class of the study"""
    class_names: Mapping[str, str]
    folders: Mapping[str, str]
    """wnid -> name of the folder of its images, for every class of the study and of the revision"""
    facts: StudyFacts

    def fingerprint(self, form: str) -> str:
        """Equal for exports whose data files are equal."""
        parts = [(image.id, image.wnid, image.label, image.name, image.variant.sha256) for image in self.images]
        return completion_key("export-1", form, self.revision.name, parts)


def load_set(study: Study, tables: Tables, name: str) -> ExportSet:
    """Read everything about a revision.

    Raises:
        NotFoundError: there is no such revision, or one of its images is not stored.
    """
    revision = tables.revisions.get(name)
    ids = list(dict.fromkeys(image for image, _ in revision.images))
    classes = tables.classes.all()
    stored = tables.variants.get(ids, variant_names(study.config.images)[0])
    missing = [image for image in ids if image not in stored]
    if missing:
        problem = "the image is not stored" if len(missing) == 1 else f"and {len(missing) - 1} more images of the revision are not stored"
        raise NotFoundError(problem, item=missing[0], remedy="Run: retest download --study STUDY, then retest check --study STUDY")
    candidates = tables.candidates.get(ids)
    counts = {key: (f.num_selected, f.num_assignments) for key, f in tables.bulk.frequencies_of(ids).items()}
    names = _file_names(revision.images)
    known = {info.wnid: info for info in classes}
    images = tuple(
        ExportImage(
            image,
            wnid,
            known[wnid].cid if wnid in known else -1,
            known[wnid].name if wnid in known else wnid,
            names[image, wnid],
            stored[image],
            counts.get((image, wnid)),
            candidates.get(image),
        )
        for image, wnid in revision.images
    )
    cids = {info.wnid: info.cid for info in classes}
    folders = _folder_names({**cids, **dict.fromkeys(image.wnid for image in images)})
    return ExportSet(revision, images, cids, {info.wnid: info.name for info in classes}, folders, _facts(study, tables, name))


def _facts(study: Study, tables: Tables, name: str) -> StudyFacts:
    hits = tables.hits.totals()
    reviews = tables.revisions.reviews(name).values()
    answers = tables.facts.assignments_by_status()
    return StudyFacts(
        study=study.config.study.name,
        benchmark=study.config.benchmark.name,
        candidates=tables.facts.candidates_by_source(),
        duplicate_occurrences=tables.candidates.occurrences(),
        exclusions=tables.exclusions.counts(),
        hits=hits.hits,
        excluded_hits=hits.excluded,
        answers=answers,
        annotators=tables.facts.annotators(),
        near_duplicate_pairs=tables.pairs.count(),
        near_duplicates=tables.bulk.near_duplicates(),
        reviewed_neighbors=tables.reviews.count(),
        hit_days=tables.facts.hit_days(),
        classes_reviewed=sum(review.reviewed for review in reviews),
        classes_problematic=sum(review.problematic for review in reviews),
    )


def _file_names(images: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """A file name per (image id, class)."""
    return {key: name if name.lower().endswith(JPEG_SUFFIXES) else f"{name}.jpg" for key, name in _names(images).items()}


def _folder_names(wnids: Iterable[str]) -> dict[str, str]:
    """wnid -> name of a folder. Classes of imported studies are named by strangers."""
    return {wnid: name for (wnid, _), name in _names((wnid, "") for wnid in wnids).items()}


def _names(keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """A name on disk per (name, group), no path and not hidden; those that would share one within a group, or make too long a one, get a
    part of their hash."""
    plain = {key: _one_name(key[0]) for key in keys}
    shared = Counter((name.lower(), group) for (_, group), name in plain.items())
    result = {}
    for (text, group), name in plain.items():
        if shared[name.lower(), group] > 1 or len(name.encode()) > _LONGEST_NAME:
            name = f"{name.encode()[:_LONGEST_NAME].decode(errors='ignore')}-{content_hash(text.encode())[:16]}"
        result[text, group] = name
    return result


def _one_name(text: str) -> str:
    name = text.translate(str.maketrans("/\\\0", "___"))
    return f"_{name}" if name.startswith(".") or not name else name
