"""One loader for every image of a study, original or candidate, in any variant and form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retest.datasets._base import StudyView
from retest.datasets.features import FeatureStore
from retest.datasets.imagenet import ImageNetData
from retest.errors import InputError, NotFoundError, UsageError
from retest.images import decode_image, make_variants, variant_names
from retest.records import ImageVariant
from retest.study import Study

Form = Literal["bytes", "pillow", "numpy"]
_FORMS = ("bytes", "pillow", "numpy")
_ROLES = ("original", "display", "compare")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an image's bytes come from: a stored variant, or the file that variants are made of."""

    image_id: str
    stored: ImageVariant | None = None
    file: Path | None = None


class ImageLoader(StudyView):
    """Loads images and features by id (the published project's class of this name).

    A variant is named as it is stored (``original``, ``scaled_500``, ``scaled_256`` with the published sizes) or by its role:
    ``original`` (full size), ``display`` (what annotators see), ``compare`` (what near-duplicate search reads). Stored variants are
    JPEG files. An original image that is not stored is read from its file, and the variant is made in memory exactly as
    ``retest download`` would store it.

    Args:
        study: an open study.
        imagenet: where original images are looked up; give ``ImageNetData(study, root=FOLDER)`` when the study does not know
            their files.
    """

    def __init__(self, study: Study, *, imagenet: ImageNetData | None = None) -> None:
        super().__init__(study)
        self._originals = ImageNetData(study) if imagenet is None else imagenet
        self._features = FeatureStore(study)

    @property
    def variants(self) -> tuple[str, str, str]:
        """Names of the variants: full size, what annotators see, what near-duplicate search reads."""
        return variant_names(self.study.config.images)

    def load_bytes(self, image_id: str, variant: str = "original") -> bytes:
        """An image as the bytes of a JPEG file.

        Raises:
            UsageError: there is no such variant.
            NotFoundError: no image has this id, or it is not stored; says why and what to do.
            InputError: an original image's file cannot be read or is no image.
        """
        name = self._variant(variant)
        return self._read_bytes(self._places([image_id], name)[0], name)

    def load_image(self, image_id: str, variant: str = "original") -> Image.Image:
        """An image as a Pillow image: upright, RGB, 8 bits per channel. Raises as :meth:`load_bytes`."""
        return decode_image(self.load_bytes(image_id, variant), item=image_id, parameters=self.study.config.images).image

    def load_array(self, image_id: str, variant: str = "original") -> NDArray[np.uint8]:
        """An image as an array of shape (height, width, 3), dtype uint8, RGB. Raises as :meth:`load_bytes`."""
        return np.asarray(self.load_image(image_id, variant), dtype=np.uint8).copy()

    @overload
    def load_many(
        self, image_ids: Iterable[str], variant: str = ..., *, form: Literal["bytes"], threads: int = ...
    ) -> Iterator[tuple[str, bytes]]: ...

    @overload
    def load_many(
        self, image_ids: Iterable[str], variant: str = ..., *, form: Literal["pillow"], threads: int = ...
    ) -> Iterator[tuple[str, Image.Image]]: ...

    @overload
    def load_many(
        self, image_ids: Iterable[str], variant: str = ..., *, form: Literal["numpy"] = ..., threads: int = ...
    ) -> Iterator[tuple[str, NDArray[np.uint8]]]: ...

    def load_many(
        self, image_ids: Iterable[str], variant: str = "original", *, form: Form = "numpy", threads: int = 4
    ) -> Iterator[tuple[str, Any]]:
        """(id, image) of many images in their order, read by several threads with bounded memory.

        Args:
            image_ids: originals and candidates in any mixture.
            variant: which rendition.
            form: ``bytes``, ``pillow`` or ``numpy``, as the three methods above give.
            threads: how many images are read at the same time.

        Raises:
            UsageError: unknown variant or form, or no threads.
            NotFoundError: as :meth:`load_bytes`, at the latest when the iteration reaches the image.
        """
        if form not in _FORMS:
            raise UsageError("there is no such form", item=str(form), remedy=f"Use one of: {', '.join(_FORMS)}")
        if threads < 1:
            raise UsageError(f"must be at least 1, is {threads}", item="threads", remedy="Use the number of cores")
        return self._stream(iter(image_ids), self._variant(variant), form, threads)

    def _stream(self, image_ids: Iterator[str], name: str, form: Form, threads: int) -> Iterator[tuple[str, Any]]:
        convert = self._converter(form)
        with ThreadPoolExecutor(threads) as pool:
            while block := list(islice(image_ids, 16 * threads)):
                places = self._places(block, name)
                yield from zip(block, pool.map(lambda place: convert(self._read_bytes(place, name), place.image_id), places), strict=True)

    def _converter(self, form: Form) -> Callable[[bytes, str], Any]:
        parameters = self.study.config.images
        if form == "bytes":
            return lambda data, _: data
        if form == "pillow":
            return lambda data, item: decode_image(data, item=item, parameters=parameters).image
        return lambda data, item: np.asarray(decode_image(data, item=item, parameters=parameters).image, dtype=np.uint8).copy()

    def stored_variants(self, image_id: str) -> dict[str, ImageVariant]:
        """Variant name -> what is stored of an image: key of the blob, SHA-256, size in bytes and pixels. Empty when nothing is.

        Raises:
            NotFoundError: no image has this id.
        """
        with self._read() as tables:
            found = tables.variants.of_image(image_id)
        if not found:
            self.wnid_of(image_id)
        return found

    def location(self, image_id: str, variant: str = "original") -> str:
        """The path or URL where a person finds a stored variant (or the file of an original image that is not stored).

        Raises as :meth:`load_bytes`.
        """
        place = self._places([image_id], self._variant(variant))[0]
        return str(place.file) if place.stored is None else self.study.blobs.location(place.stored.blob_key)

    def kind_of(self, image_id: str) -> Literal["original", "candidate"]:
        """Whether an id is that of an original image or of a candidate.

        Raises:
            NotFoundError: neither.
        """
        if image_id in self._originals:
            return "original"
        with self._read() as tables:
            known = tables.candidates.photos([image_id])
        if not known:
            raise _unknown(image_id)
        return "candidate"

    def wnid_of(self, image_id: str) -> str | None:
        """The class of an original image or of a candidate; None where it is unknown.

        Raises:
            NotFoundError: no image has this id.
        """
        if self.kind_of(image_id) == "original":
            return self._originals.wnid_of(image_id)
        with self._read() as tables:
            return tables.candidates.get([image_id])[image_id].wnid or None

    def featurisers(self) -> list[str]:
        """Names of the featurisers whose features of this study's images are stored; a name pins weights and preprocessing."""
        with self._read() as tables:
            return self._features.names(tables)

    def load_features(self, image_id: str, featuriser: str | None = None) -> NDArray[np.float32]:
        """The features of an image, float32 (d,). Raises as :meth:`load_features_many`."""
        row: NDArray[np.float32] = self.load_features_many([image_id], featuriser)[0]
        return row

    def load_features_many(self, image_ids: Sequence[str], featuriser: str | None = None) -> NDArray[np.float32]:
        """The features of some images, float32 (n, d), in their order.

        Args:
            image_ids: originals and candidates in any mixture.
            featuriser: one of :meth:`featurisers`; may be left out when there is only one.

        Raises:
            NotFoundError: there are no features of this featuriser, or none of some image.
            UsageError: none is named and there are several.
        """
        with self._read() as tables:
            return self._features.load(tables, image_ids, featuriser)

    def _variant(self, name: str) -> str:
        names = self.variants
        if name in names:
            return name
        if name in _ROLES:
            return names[_ROLES.index(name)]
        raise UsageError("there is no such variant", item=name, remedy=f"Use one of: {', '.join(dict.fromkeys((*names, *_ROLES)))}")

    def _places(self, image_ids: Sequence[str], variant: str) -> list[_Place]:
        with self._read() as tables:
            stored = tables.variants.get(image_ids, variant)
        waiting = [image for image in image_ids if image not in stored]
        files = {image: found.location for image, found in self._originals.get_images(waiting).items()} if waiting else {}
        places = []
        for image in image_ids:
            location = files.get(image)
            if image not in stored and location is None:
                raise self._absent(image, is_original=image in files)
            places.append(_Place(image, stored.get(image), None if location is None else Path(location)))
        return places

    def _read_bytes(self, place: _Place, variant: str) -> bytes:
        if place.stored is not None:
            return self.study.blobs.get(place.stored.blob_key)
        file = Path(str(place.file))
        try:
            data = file.read_bytes()
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror})", item=str(file), remedy="Restore the file") from error
        return make_variants(data, item=place.image_id, parameters=self.study.config.images)[variant].data

    def _absent(self, image_id: str, *, is_original: bool) -> NotFoundError:
        """Why there is no image, in words."""
        with self._read() as tables:
            problem = tables.problems.get([image_id]).get(image_id)
            candidate = tables.candidates.get([image_id]).get(image_id)
        if problem is not None:
            reason, detail = problem
            return NotFoundError(f"the image could not be used ({reason}): {detail.removeprefix(f'{image_id}: ')}", item=image_id)
        if is_original:
            remedy = "Give the folder that has its file: ImageLoader(study, imagenet=ImageNetData(study, root=FOLDER))"
            return NotFoundError("the study knows this original image by name only", item=image_id, remedy=remedy)
        if candidate is None:
            return _unknown(image_id)
        if not candidate.url:
            return NotFoundError("this candidate is known by reference only: nothing tells where its photo is", item=image_id)
        return NotFoundError("the image is not stored", item=image_id, remedy="Run: retest download --study STUDY")


def _unknown(image_id: str) -> NotFoundError:
    return NotFoundError("is the id of no original image and of no candidate", item=image_id, remedy="Check the id")
