"""What the files say about images that they only mention: candidates without a search record, original images, classes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from retest.benchmarks.imagenetv2.records import ReferencedCandidate, is_candidate_id, original_of
from retest.records import OriginalImage, Split

__all__ = ["References"]

_FILE_NAME = re.compile(r"[./]")


@dataclass(slots=True)
class References:
    """Collects mentions while the files are read.

    A candidate's class is taken from a revision, else from a HIT, else from the additional-image lists; within one kind
    the first mention counts. ``conflicts`` are (image, class taken, other class, where). ``unexpected`` maps ids that are neither a
    candidate's nor the name of a known original image to where they are mentioned first: those that could be file names may be
    originals of another benchmark, the others are spelling mistakes and become nothing.
    """

    searched: dict[str, str] = field(default_factory=dict)
    classes: dict[str, dict[str, str]] = field(default_factory=lambda: {"revision": {}, "hit": {}, "additional": {}})
    mentioned: dict[str, str] = field(default_factory=dict)
    originals: dict[str, tuple[Split, str | None]] = field(default_factory=dict)
    unexpected: dict[str, str] = field(default_factory=dict)
    conflicts: set[tuple[str, str, str, str]] = field(default_factory=set)

    def candidate_of_class(self, kind: str, image_id: str, wnid: str) -> None:
        """An image to label or to test on, mentioned together with its class; ``kind`` is a key of ``classes``."""
        if not is_candidate_id(image_id):
            # An original image shown for labelling is asked about a class, which need not be its own.
            self.original(image_id, wnid if kind == "revision" else None, kind)
            return
        taken = self.classes[kind].setdefault(image_id, wnid)
        if taken != wnid:
            self.conflicts.add((image_id, taken, wnid, kind))

    def image(self, image_id: str, where: str) -> None:
        """Any image mentioned without a class."""
        if is_candidate_id(image_id):
            self.mentioned.setdefault(image_id, where)
        else:
            self.original(image_id, None, where)

    def images(self, image_ids: Iterable[str], where: str) -> None:
        """Several of them."""
        for image_id in image_ids:
            self.image(image_id, where)

    def original(self, image_id: str, wnid: str | None, where: str) -> None:
        """An original image; ``wnid`` where the mention tells its true class (None: it does not).

        A candidate in its place, as a control of a plan made by hand may be, is one that is mentioned.
        """
        if is_candidate_id(image_id):
            self.mentioned.setdefault(image_id, where)
            return
        named = original_of(image_id)
        if named is None:
            self.unexpected.setdefault(image_id, where)
            if not _FILE_NAME.search(image_id):
                return
        split, own = named or (Split.VAL, None)
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
        for image_id in sorted(self.originals.keys() - self.searched.keys()):
            split, wnid = self.originals[image_id]
            yield OriginalImage(image_id, split, wnid)

    def strangers(self) -> Iterator[tuple[str, str]]:
        """(image id, what is odd about it), sorted: ids that stand for no image, and file names unlike those of the other originals."""
        usual = bool(self.originals.keys() - self.unexpected.keys())
        for image_id in sorted(self.unexpected.keys() - self.searched.keys()):
            where = self.unexpected[image_id]
            if image_id not in self.originals:
                yield image_id, f"is neither a candidate's id (40 digits 0 to 9, a to f) nor a file name ({where}); it stands for no image"
            elif usual:
                yield image_id, f"is not named like the other original images ({where}); taken as one of the validation set"

    def searched_elsewhere(self) -> Iterator[tuple[str, str, str, str]]:
        """(candidate, class of its search, other class, where): candidates used under another class than they were searched for."""
        for kind, known in self.classes.items():
            for image_id, wnid in known.items():
                searched = self.searched.get(image_id, wnid)
                if searched != wnid:
                    yield image_id, searched, wnid, kind
