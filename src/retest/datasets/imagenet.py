"""The benchmark that a study replicates: its classes and its original images."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from retest.benchmarks.layouts import available_splits, list_split
from retest.datasets._base import Fresh, StudyView, looked_up, not_found
from retest.errors import NotFoundError, UsageError
from retest.records import ClassInfo, OriginalImage, Split
from retest.store import Tables
from retest.study import Study

_NOUN_SYNSET = re.compile(r"n(\d{8})")
_WORDNET = "http://wordnet-rdf.princeton.edu/pwn30/{}-n"


@dataclass(frozen=True, slots=True)
class _Classes:
    by_wnid: dict[str, ClassInfo]
    by_index: dict[int, ClassInfo]


class ImageNetData(StudyView):
    """Classes and original images of the benchmark (the published project's class of this name).

    Images are those that the study knows. With ``root``, the folder where one has the benchmark, they are those of the folder
    (layouts as in :class:`retest.benchmarks.ImageFolder`; class folders lying directly in it are taken as the validation split),
    and an image that the study knows by name only gets the path of its file.

    Args:
        study: an open study.
        root: folder with the benchmark's images; read when it is first needed.
        labels_file: label file of a flat validation folder (see :mod:`retest.benchmarks.labelfiles`), where none lies in ``root``.
    """

    def __init__(self, study: Study, *, root: Path | str | None = None, labels_file: Path | str | None = None) -> None:
        super().__init__(study)
        self.root = None if root is None else Path(root)
        self.labels_file = None if labels_file is None else Path(labels_file)
        self._classes = Fresh(("classes",), _load_classes)

    def classes(self) -> tuple[ClassInfo, ...]:
        """All classes, by class index."""
        return tuple(self._index().by_index.values())

    def class_info(self, wnid: str) -> ClassInfo:
        """The class with a WordNet id (or whatever names the benchmark's classes).

        Raises:
            NotFoundError: there is none; the message names the most similar one.
        """
        known = self._index().by_wnid
        if wnid not in known:
            raise not_found("the benchmark has no such class", wnid, known=known, remedy="Find it with search_classes(term)")
        return known[wnid]

    def class_by_index(self, cid: int) -> ClassInfo:
        """The class with an index, the number that models predict.

        Raises:
            NotFoundError: there is none.
        """
        known = self._index().by_index
        if cid not in known:
            remedy = f"Class indices go from {min(known)} to {max(known)}" if known else "Register the benchmark first"
            raise NotFoundError("the benchmark has no class with this index", item=str(cid), remedy=remedy)
        return known[cid]

    def search_classes(self, term: str) -> list[ClassInfo]:
        """The classes that have a term in a synonym or in their gloss, whatever the case; a wnid finds its class alone.

        Best first: the term is a synonym, is a whole word of one, is part of one, is a whole word of the gloss, is part of it;
        equally good ones by class index. An underscore counts as a blank.

        Raises:
            UsageError: the term is empty.
        """
        wanted = _plain(term)
        if not wanted:
            raise UsageError("the search term is empty", item="term", remedy="Give a word or a wnid")
        index = self._index()
        if term in index.by_wnid:
            return [index.by_wnid[term]]
        ranked = [(rank, info.cid, info) for info in index.by_index.values() if (rank := _rank(info, wanted)) is not None]
        return [info for _, _, info in sorted(ranked, key=lambda entry: entry[:2])]

    def similar_classes(self, wnid: str, *, count: int = 5) -> list[ClassInfo]:
        """The ``count`` most similar other classes, most similar first; the first gives the negative controls (method, section 4).

        Raises:
            NotFoundError: there is no such class.
        """
        index = self._index().by_wnid
        others = [other for other in self.class_info(wnid).most_similar if other != wnid]
        return [index[other] for other in others[:count] if other in index]

    def wordnet_url(self, wnid: str) -> str:
        """The page of a class in the RDF edition of WordNet 3.0.

        Raises:
            NotFoundError: there is no such class.
            UsageError: its name is no WordNet id of a noun, as with benchmarks other than ImageNet.
        """
        match = _NOUN_SYNSET.fullmatch(self.class_info(wnid).wnid)
        if match is None:
            raise UsageError("is no WordNet id, so it has no page there", item=wnid, remedy="Only ids such as n01440764 have one")
        return _WORDNET.format(match[1])

    def images(self, split: Split | str | None = None, *, wnid: str | None = None) -> list[OriginalImage]:
        """The images of a split (None: of all) and of a class (None: of all), by id.

        Raises:
            UsageError: there is no such split.
            NotFoundError: there is no such class.
            InputError: with ``root``: the folder is not in a known layout, or has classes that the benchmark has not.
        """
        part = _split(split)
        if wnid is not None:
            self.class_info(wnid)
        if self.root is None:
            with self._read() as tables:
                return list(tables.originals.all(split=part, wnid=wnid))
        found = (image for one in self._folder.splits if part in (None, one) for image in self._folder.listing(one).values())
        return sorted((image for image in found if wnid in (None, image.wnid)), key=lambda image: image.id)

    def image_ids(self, split: Split | str | None = None, *, wnid: str | None = None) -> list[str]:
        """Ids of :meth:`images`."""
        part = _split(split)
        if self.root is not None:
            return [image.id for image in self.images(part, wnid=wnid)]
        if wnid is not None:
            self.class_info(wnid)
        with self._read() as tables:
            return tables.originals.ids(split=part, wnid=wnid)

    def counts(self) -> dict[str, int]:
        """Split -> number of images."""
        if self.root is not None:
            return {one.value: len(self._folder.listing(one)) for one in self._folder.splits}
        with self._read() as tables:
            known = tables.originals.counts()
        return {one.value: known[one.value] for one in Split if one.value in known}

    def image(self, image_id: str) -> OriginalImage:
        """An original image by id.

        Raises:
            NotFoundError: no original image has this id.
        """
        found = self.get_images([image_id])
        return looked_up(found, image_id, "is not the id of an original image", remedy="List them with image_ids()")

    def get_images(self, image_ids: Iterable[str]) -> dict[str, OriginalImage]:
        """Those of these ids that are original images."""
        wanted = list(image_ids)
        with self._read() as tables:
            known = tables.originals.get(wanted)
        return known if self.root is None else self._folder.located(wanted, known)

    def wnid_of(self, image_id: str) -> str | None:
        """The class of an original image; None where it is unknown, as for ImageNet's test images.

        Raises:
            NotFoundError: no original image has this id.
        """
        return self.image(image_id).wnid

    def split_of(self, image_id: str) -> Split:
        """The split of an original image.

        Raises:
            NotFoundError: no original image has this id.
        """
        return self.image(image_id).split

    def __contains__(self, image_id: object) -> bool:
        return isinstance(image_id, str) and bool(self.get_images([image_id]))

    def _index(self) -> _Classes:
        with self._read() as tables:
            return self._classes.get(tables)

    @cached_property
    def _folder(self) -> _Folder:
        return _Folder(self.root or Path(), self.classes(), self.labels_file)


class _Folder:
    """The images of a folder, split by split; a split is listed when it is first asked for."""

    def __init__(self, root: Path, classes: tuple[ClassInfo, ...], labels_file: Path | None) -> None:
        self._root, self._classes, self._labels_file = root, classes or None, labels_file
        self.splits = available_splits(root) or (Split.VAL,)
        self._listed: dict[Split, dict[str, OriginalImage]] = {}

    def listing(self, split: Split) -> dict[str, OriginalImage]:
        if split not in self._listed:
            labels = self._labels_file if split is Split.VAL else None
            found = list_split(self._root, split, classes=self._classes, labels_file=labels)
            self._listed[split] = {image.id: image for image in found}
        return self._listed[split]

    def located(self, ids: Iterable[str], known: dict[str, OriginalImage]) -> dict[str, OriginalImage]:
        """These images as the folder or else the study knows them; the folder is asked only about those without a location."""
        found = {}
        for image_id in ids:
            image = known.get(image_id)
            if image is None or image.location is None:
                here = self._find(image_id, image)
                if here is not None:
                    image = here if image is None else replace(image, wnid=image.wnid or here.wnid, location=here.location)
            if image is not None:
                found[image_id] = image
        return found

    def _find(self, image_id: str, known: OriginalImage | None) -> OriginalImage | None:
        # The training split is by far the largest: it is listed only when the image can be in no other.
        order = [known.split] if known is not None else [Split.VAL, Split.TEST, Split.TRAIN]
        return next((self.listing(s)[image_id] for s in order if s in self.splits and image_id in self.listing(s)), None)


def _load_classes(tables: Tables) -> _Classes:
    classes = sorted(tables.classes.all(), key=lambda info: info.cid)
    return _Classes({info.wnid: info for info in classes}, {info.cid: info for info in classes})


def _split(split: Split | str | None) -> Split | None:
    if split is None:
        return None
    try:
        return Split(split)
    except ValueError as error:
        raise UsageError("there is no such split", item=str(split), remedy="Use train, val or test") from error


def _plain(text: str) -> str:
    return " ".join(text.replace("_", " ").lower().split())


def _rank(info: ClassInfo, term: str) -> int | None:
    synonyms = [_plain(synonym) for synonym in info.synset]
    word = re.compile(rf"(?<!\w){re.escape(term)}(?!\w)")
    gloss = _plain(info.gloss)
    tests = (
        term in synonyms,
        any(word.search(synonym) for synonym in synonyms),
        any(term in synonym for synonym in synonyms),
        word.search(gloss) is not None,
        term in gloss,
    )
    return next((rank for rank, holds in enumerate(tests) if holds), None)
