"""What the files say about images that they only mention: candidates without a search record, original images, classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from retest.benchmarks.imagenetv2.records import ReferencedCandidate, is_candidate_id, original_of
from retest.records import OriginalImage, Split

__all__ = ["References"]


@dataclass(slots=True)
class References:
    """Collects mentions while the files are read.

    A candidate's class is taken from a revision, else from a HIT, else from the additional-image lists; within one kind
    the first mention counts. ``conflicts`` are (image, class taken, other class, where).
    """

    searched: dict[str, str] = field(default_factory=dict)
    classes: dict[str, dict[str, str]] = field(default_factory=lambda: {"revision": {}, "hit": {}, "additional": {}})
    mentioned: dict[str, str] = field(default_factory=dict)
    originals: dict[str, tuple[Split, str | None]] = field(default_factory=dict)
    conflicts: set[tuple[str, str, str, str]] = field(default_factory=set)

    def candidate_of_class(self, kind: str, image_id: str, wnid: str) -> None:
        """An image to label or to test on, mentioned together with its class; ``kind`` is a key of ``classes``."""
        if not is_candidate_id(image_id):
            # An original image shown for labelling is asked about a class, which need not be its own.
            self.original(image_id, wnid if kind == "revision" else None)
            return
        taken = self.classes[kind].setdefault(image_id, wnid)
        if taken != wnid:
            self.conflicts.add((image_id, taken, wnid, kind))

    def image(self, image_id: str, where: str) -> None:
        """Any image mentioned without a class."""
        if is_candidate_id(image_id):
            self.mentioned.setdefault(image_id, where)
        else:
            self.original(image_id, None)

    def images(self, image_ids: Iterable[str], where: str) -> None:
        """Several of them."""
        for image_id in image_ids:
            self.image(image_id, where)

    def original(self, image_id: str, wnid: str | None) -> None:
        """An original image; ``wnid`` where the mention tells its true class (None: it does not)."""
        split, own = original_of(image_id) or (Split.VAL, None)
        before = self.originals.get(image_id)
        known = before[1] if before else own
        if known is not None and wnid is not None and known != wnid:
            self.conflicts.add((image_id, known, wnid, "original"))
        if before is None or (before[1] is None and wnid is not None):
            self.originals[image_id] = (split, known if known is not None else wnid)

    def candidates(self) -> Iterator[ReferencedCandidate]:
        """Candidates known by reference, sorted by id."""
        everywhere = {*self.mentioned, *(image for known in self.classes.values() for image in known)}
        for image_id in sorted(everywhere - self.searched.keys()):
            for kind, known in self.classes.items():
                if image_id in known:
                    yield ReferencedCandidate(image_id, known[image_id], kind)
                    break
            else:
                yield ReferencedCandidate(image_id, None, self.mentioned[image_id])

    def original_images(self) -> Iterator[OriginalImage]:
        """Original images that some file mentions, sorted by name."""
        for image_id in sorted(self.originals):
            split, wnid = self.originals[image_id]
            yield OriginalImage(image_id, split, wnid)

    def searched_elsewhere(self) -> Iterator[tuple[str, str, str, str]]:
        """(candidate, class of its search, other class, where): candidates used under another class than they were searched for."""
        for kind, known in self.classes.items():
            for image_id, wnid in known.items():
                searched = self.searched.get(image_id, wnid)
                if searched != wnid:
                    yield image_id, searched, wnid, kind
