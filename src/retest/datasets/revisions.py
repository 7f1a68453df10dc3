"""The revisions of a study by name: which images, of which classes, in which order."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retest.datasets._base import StudyView, not_found
from retest.records import ClassReview, Revision
from retest.sampling import RevisionDiff, diff_revisions, revision_to_published
from retest.store import RevisionSummary
from retest.study import Study

_REVISIONS_KEPT = 16


@dataclass(frozen=True, slots=True)
class RevisionPlace:
    """A place of an image: the revision, the position in its order (from 0) and the class under which it stands there."""

    revision: str
    position: int
    wnid: str


class DatasetCache(StudyView):
    """Revisions by name, each read once (the published project's class of this name). Revisions never change, so neither does a copy.

    Args:
        study: an open study.
    """

    def __init__(self, study: Study) -> None:
        super().__init__(study)
        self._revisions: OrderedDict[str, Revision] = OrderedDict()

    def names(self) -> list[str]:
        """Names of all revisions, sorted."""
        with self._read() as tables:
            return tables.revisions.names()

    def summaries(self) -> list[RevisionSummary]:
        """Every revision by name, without its images: how it was made, how many images, valid or not."""
        with self._read() as tables:
            return tables.revisions.summaries()

    def revision(self, name: str) -> Revision:
        """A revision by name.

        Raises:
            NotFoundError: the study has none of this name; the message names the most similar one.
        """
        if name not in self._revisions:
            with self._read() as tables:
                known = tables.revisions.names()
                if name not in known:
                    raise not_found("the study has no revision of this name", name, known=known, remedy="List them with names()")
                self._revisions[name] = tables.revisions.get(name)
            if len(self._revisions) > _REVISIONS_KEPT:
                self._revisions.popitem(last=False)
        self._revisions.move_to_end(name)
        return self._revisions[name]

    def images(self, name: str) -> tuple[tuple[str, str], ...]:
        """(image id, wnid) in the revision's order, which rows of prediction files follow. Raises as :meth:`revision`."""
        return self.revision(name).images

    def size(self, name: str) -> int:
        """Number of images. Raises as :meth:`revision`."""
        return len(self.images(name))

    def images_by_class(self, name: str) -> dict[str, tuple[str, ...]]:
        """wnid -> its images in the revision's order, classes sorted. Raises as :meth:`revision`."""
        groups: dict[str, list[str]] = {}
        for image, wnid in self.images(name):
            groups.setdefault(wnid, []).append(image)
        return {wnid: tuple(groups[wnid]) for wnid in sorted(groups)}

    def labels(self, name: str) -> NDArray[np.int64]:
        """The class index of each image, int64 (n,), in the revision's order; -1 where the study does not know the class."""
        with self._read() as tables:
            cids = {info.wnid: info.cid for info in tables.classes.all()}
        return np.array([cids.get(wnid, -1) for _, wnid in self.images(name)], np.int64)

    def reviews(self, name: str) -> dict[str, ClassReview]:
        """wnid -> state of the class-by-class review. Raises as :meth:`revision`."""
        self.revision(name)
        with self._read() as tables:
            return tables.revisions.reviews(name)

    def places_of(self, image_id: str) -> list[RevisionPlace]:
        """Where an image stands, over all revisions."""
        with self._read() as tables:
            return [RevisionPlace(*found) for found in tables.revisions.containing(image_id)]

    def chain(self, name: str) -> list[str]:
        """The revision and those that it started from, newest first, as far as the study has them. Raises as :meth:`revision`."""
        self.revision(name)
        origins = {found.name: found.starting_from for found in self.summaries()}
        found = [name]
        while (origin := origins[found[-1]]) in origins and origin not in found:
            found.append(str(origin))
        return found

    def diff(self, old: str, new: str) -> RevisionDiff:
        """What changed from one revision to another, class by class. Raises as :meth:`revision`."""
        return diff_revisions(self.revision(old), self.revision(new))

    def published(self, name: str) -> dict[str, Any]:
        """The revision in the published JSON form: ``image_filenames`` in order, ``is_valid``, the function's parameters and so on.

        Raises as :meth:`revision`.
        """
        return revision_to_published(self.revision(name))
