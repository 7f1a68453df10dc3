"""One door to the published data: what is there, each kind of record as an iterator, and every inconsistency as a warning."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from retest.benchmarks.archives import DEFAULT_LIMITS, ArchiveLimits
from retest.benchmarks.imagenetv2 import metadata, mturk, nearness, revisions
from retest.benchmarks.imagenetv2.export import LayoutContent
from retest.benchmarks.imagenetv2.layout import Inventory, stray_files, take_inventory
from retest.benchmarks.imagenetv2.reading import Source
from retest.benchmarks.imagenetv2.records import (
    AdditionalImages,
    HitCandidates,
    HitExclusion,
    Neighbors,
    Occurrence,
    PublishedReview,
    RawPredictions,
    ReadWarning,
    ReferencedCandidate,
)
from retest.benchmarks.imagenetv2.references import References
from retest.benchmarks.imagenetv2.search import read_search_results
from retest.benchmarks.imagenetv2.tree import open_tree
from retest.records import Assignment, Candidate, ClassInfo, ClassReview, Exclusion, Hit, OriginalImage, Revision

__all__ = ["PublishedData"]

T = TypeVar("T")
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")


class PublishedData:
    """The published repository's data at ``path``: a clone, its ``data`` folder, a part of it, or a tar archive of any of them.

    Every method reads its files anew and yields records; nothing but ids is kept in memory. Files that are missing yield
    nothing (see ``inventory``), and no content of a file ever raises: inconsistencies are collected in ``warnings``. A file
    read twice is warned of once. Methods may be called in any order and left unfinished; those that need what other files
    say (:meth:`referenced_candidates`, :meth:`original_images`, :meth:`check`) read what has not been read to its end yet.

    Args:
        path: where the data are.
        ignored_hit_files: names of HIT files whose HITs count nowhere; the published trial runs by default.
        limits: what an archive may at most contain.
        on_file: called with (relative path, bytes) after each file, to show progress against ``inventory.total_bytes``.

    Raises:
        InputError: nothing is there, or nothing that belongs to the layout.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        ignored_hit_files: Collection[str] = mturk.IGNORED_HIT_FILES,
        limits: ArchiveLimits = DEFAULT_LIMITS,
        on_file: Callable[[str, int], None] | None = None,
    ) -> None:
        self._tree = open_tree(Path(path), limits=limits)
        self.inventory: Inventory = take_inventory(self._tree.sizes, also=self._tree.ignored)
        self._warnings: dict[ReadWarning, None] = {}
        self._source = Source(self._tree, self._collect, on_file)
        self._ignored_files = frozenset(ignored_hit_files)
        self._references = References()
        self._done: set[str] = set()
        self._hit_images: dict[str, tuple[str, ...]] = {}
        self._ignored_hits: dict[str, None] = {}
        self._revision_rows: dict[str, int] = {}
        self._starts: dict[str, str] = {}
        self._classes: list[ClassInfo] | None = None
        for file, message in self._tree.notes:
            self._source.warn("unusable_file", file, "", message)
        for file in stray_files(self.inventory):
            advice = "is compressed: unpack it" if file.endswith(_COMPRESSED) else "is no file of the published layout"
            self._source.warn("unread_file", file, "", f"{advice}; left out")

    def __enter__(self) -> PublishedData:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Release the temporary copy of an archive."""
        self._tree.close()

    @property
    def warnings(self) -> tuple[ReadWarning, ...]:
        """All inconsistencies met so far, in the order in which they were met."""
        return tuple(self._warnings)

    @property
    def warning_counts(self) -> dict[str, int]:
        """Number of warnings per kind, most frequent first."""
        return dict(Counter(warning.kind for warning in self._warnings).most_common())

    def classes(self) -> list[ClassInfo]:
        """Classes with synonyms, gloss, similar classes and Wikipedia pages, ordered by class index."""
        if self._classes is None:
            self._classes = metadata.read_classes(
                self._source, info=self._file("class_info"), similar=self._file("similar_classes"), wikipedia=self._file("wikipedia_pages")
            )
            self._source.wnids = frozenset(info.wnid for info in self._classes)
            self._source.largest_cid = max((info.cid for info in self._classes), default=None)
        return self._classes

    def candidates(self) -> Iterator[Candidate | Occurrence]:
        """Candidates and their duplicate occurrences."""
        for record in self._section("search_results", read_search_results(self._source, self._files("search_results"))):
            if isinstance(record, Candidate):
                self._references.searched[record.id] = record.wnid
            yield record

    def exclusions(self) -> Iterator[Exclusion]:
        """Candidates that are left out, with the reason."""
        for record in self._single("exclusions", metadata.read_exclusions):
            self._references.image(record.candidate_id, "exclusions")
            yield record

    def hit_candidates(self) -> Iterator[HitCandidates]:
        """What each planning run chose for labelling."""
        for record in self._section("hit_candidates", mturk.read_hit_candidates(self._source, self._files("hit_candidates"))):
            self._references.images(record.candidate_ids, "hit_candidates")
            yield record

    def hits(self) -> Iterator[Hit]:
        """All HITs; those of ignored files are among :meth:`hit_exclusions`."""
        for hit in self._section("hits", mturk.read_hits(self._source, self._files("hits"))):
            self._hit_images[hit.uuid] = hit.images_all
            if hit.file in self._ignored_files:
                self._ignored_hits[hit.uuid] = None
            for image in hit.images_to_label:
                self._references.candidate_of_class("hit", image, hit.wnid)
            for image in hit.images_pos_control:
                self._references.original(image, hit.wnid, "hits")
            self._references.images(hit.images_neg_control, "hits")
            yield hit

    def hit_exclusions(self) -> Iterator[HitExclusion]:
        """HITs that count nowhere: those of the published list and all of ignored files."""
        self._finish("hits")
        listed = self._file("hit_exclusions")
        for record in self._section("hit_exclusions", mturk.read_hit_exclusions(self._source, listed, self._ignored_hits)):
            if record.hit_uuid not in self._hit_images:
                self._source.warn("unknown_hit", listed or "", record.hit_uuid, "an excluded HIT that no HIT file describes")
            yield record

    def assignments(self, *, hash_worker: Callable[[str], str]) -> Iterator[Assignment]:
        """Annotators' answers; ``hash_worker`` turns a raw worker id into the name that is kept."""
        self._finish("hits")
        reader = mturk.AnswerReader(hash_worker, self._hit_images.get)
        yield from self._section("assignments", reader.read(self._source, self._files("assignments")))

    def negative_classes(self) -> dict[str, str]:
        """wnid -> wnid of the negative controls."""
        path = self._file("negative_classes")
        return metadata.read_negative_classes(self._with_classes(), path) if path else {}

    def additional_images(self) -> Iterator[AdditionalImages]:
        """Hand-made HIT plans."""
        for record in self._single("additional_images", metadata.read_additional_images):
            for image in record.candidates:
                self._references.candidate_of_class("additional", image, record.wnid)
            for image in record.pos_control:
                self._references.original(image, record.wnid, "additional_images")
            self._references.images(record.neg_control, "additional_images")
            yield record

    def neighbors(self, *, test: bool = False) -> Iterator[Neighbors]:
        """Nearest neighbours; ``test`` reads the small published test file instead."""
        family = "neighbors_test" if test else "neighbors"
        for record in self._single(family, nearness.read_neighbors):
            self._references.image(record.candidate_id, family)
            self._references.images((neighbor.reference for neighbor in record.neighbors), family)
            yield record

    def neighbor_reviews(self) -> Iterator[PublishedReview]:
        """Reviewed neighbours."""
        for record in self._single("neighbor_reviews", nearness.read_reviews):
            self._references.image(record.review.candidate_id, "neighbor_reviews")
            self._references.images(record.review.references, "neighbor_reviews")
            yield record

    def near_duplicates(self) -> Iterator[tuple[str, str]]:
        """Near-duplicate pairs as listed (directed)."""
        for pair in self._single("near_duplicates", nearness.read_near_duplicates):
            self._references.images(pair, "near_duplicates")
            yield pair

    def resolution_overrides(self) -> Iterator[str]:
        """Candidates that stay whatever the resolution would choose."""
        for candidate_id in self._single("resolution_overrides", nearness.read_overrides):
            self._references.image(candidate_id, "resolution_overrides")
            yield candidate_id

    def class_thresholds(self) -> dict[str, dict[str, float]]:
        """Per-class selection-frequency thresholds by file name."""
        source = self._with_classes()
        return {posixpath.basename(path): metadata.read_class_thresholds(source, path) for path in self._files("class_thresholds")}

    def revisions(self) -> Iterator[Revision]:
        """All revisions, sorted by name."""
        for revision in self._section("revisions", revisions.read_revisions(self._source, self._files("revisions"))):
            self._revision_rows[revision.name] = len(revision.images)
            if revision.starting_from is not None:
                self._starts[revision.name] = revision.starting_from
            for image, wnid in revision.images:
                self._references.candidate_of_class("revision", image, wnid)
            yield revision

    def class_reviews(self) -> Iterator[ClassReview]:
        """Class-by-class reviews of all revisions."""
        yield from self._section("class_reviews", revisions.read_class_reviews(self._source, self._files("class_reviews")))

    def predictions(self) -> Iterator[RawPredictions]:
        """Predictions exactly as stored."""
        self._finish("revisions")
        reader = revisions.read_predictions(self._source, self._files("predictions"), rows=self._revision_rows)
        yield from self._section("predictions", reader)

    def referenced_candidates(self) -> Iterator[ReferencedCandidate]:
        """Candidates that files mention but no search-result file describes, sorted by id."""
        self._finish(*_MENTIONING)
        yield from self._references.candidates()

    def original_images(self) -> Iterator[OriginalImage]:
        """Original images that files mention, with their class where one of them tells it."""
        self._finish(*_MENTIONING)
        yield from self._references.original_images()

    def check(self) -> tuple[ReadWarning, ...]:
        """Compare the files with each other, and return all warnings."""
        self._finish(*_MENTIONING, "revisions", "class_reviews", "hit_exclusions")
        for image, taken, other, kind in sorted(self._references.conflicts):
            self._source.warn("several_classes", "", image, f"is of class {taken} and of class {other} ({kind})")
        for image, searched, other, kind in sorted(self._references.searched_elsewhere()):
            self._source.warn("class_differs", "", image, f"was searched for class {searched} but is used for class {other} ({kind})")
        for image, message in self._references.strangers():
            self._source.warn("unexpected_id", "", image, message)
        for name, start in self._starts.items():
            if start not in self._revision_rows:
                self._source.warn("missing_revision", f"datasets/{name}.json", name, f"starts from {start}, which is not here")
        for path in self._files("class_reviews"):
            name = path.removeprefix("dataset_reviews/").removesuffix(revisions.REVIEW_SUFFIX)
            if name not in self._revision_rows:
                self._source.warn("missing_revision", path, name, "a review of a revision that is not here")
        return self.warnings

    def content(self, *, hash_worker: Callable[[str], str] | None = None) -> LayoutContent:
        """Everything as iterators, ready for :func:`~retest.benchmarks.imagenetv2.export.export_layout`.

        Answers are left out without ``hash_worker``. Candidates and occurrences are read one after the other, each once.
        """
        return LayoutContent(
            classes=self.classes(),
            candidates=(row for row in self.candidates() if isinstance(row, Candidate)),
            occurrences=(row.record for row in self.candidates() if isinstance(row, Occurrence)),
            exclusions=self.exclusions(),
            hit_candidates=self.hit_candidates(),
            hits=self.hits(),
            hit_exclusions=self.hit_exclusions(),
            assignments=self.assignments(hash_worker=hash_worker) if hash_worker else (),
            negative_classes=self.negative_classes(),
            additional_images=self.additional_images(),
            neighbors=self.neighbors(),
            neighbor_reviews=self.neighbor_reviews(),
            near_duplicates=self.near_duplicates(),
            resolution_overrides=self.resolution_overrides(),
            class_thresholds=self.class_thresholds(),
            revisions=self.revisions(),
            class_reviews=self.class_reviews(),
            predictions=self.predictions(),
        )

    def _collect(self, warning: ReadWarning) -> None:
        self._warnings[warning] = None

    def _files(self, family: str) -> tuple[str, ...]:
        return self.inventory.files[family]

    def _file(self, family: str) -> str | None:
        return next(iter(self._files(family)), None)

    def _with_classes(self) -> Source:
        self.classes()
        return self._source

    def _single(self, family: str, reader: Callable[[Source, str], Iterator[T]]) -> Iterator[T]:
        path = self._file(family)
        return self._section(family, reader(self._source, path) if path else ())

    def _section(self, family: str, records: Iterable[T]) -> Iterator[T]:
        """Read with the classes known, and remember when a family was read to its end."""
        self.classes()
        yield from records
        self._done.add(family)

    def _finish(self, *families: str) -> None:
        for family in families:
            if family not in self._done:
                for _ in _READERS[family](self):
                    pass


_READERS: dict[str, Callable[[PublishedData], Iterator[object]]] = {
    "search_results": PublishedData.candidates,
    "exclusions": PublishedData.exclusions,
    "hit_candidates": PublishedData.hit_candidates,
    "hits": PublishedData.hits,
    "hit_exclusions": PublishedData.hit_exclusions,
    "additional_images": PublishedData.additional_images,
    "neighbors": PublishedData.neighbors,
    "neighbors_test": lambda data: data.neighbors(test=True),
    "neighbor_reviews": PublishedData.neighbor_reviews,
    "near_duplicates": PublishedData.near_duplicates,
    "resolution_overrides": PublishedData.resolution_overrides,
    "revisions": PublishedData.revisions,
    "class_reviews": PublishedData.class_reviews,
}
_MENTIONING = tuple(family for family in _READERS if family not in ("hit_exclusions", "class_reviews"))
"""Families whose files mention images."""
