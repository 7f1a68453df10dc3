"""What is stored of each image: its variants, its problems, its opaque names."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import sqlalchemy as sa

from retest.records import ImageVariant, OpaqueName
from retest.store import schema
from retest.store.rows import TableGroup

_VARIANT_FIELDS = dataclasses.fields(ImageVariant)


class VariantTable(TableGroup):
    """The stored renditions of original images and candidates."""

    def put(self, variants: Iterable[ImageVariant], *, notes: Sequence[str] = ()) -> None:
        self.put_noted((variant, notes) for variant in variants)

    def put_noted(self, variants: Iterable[tuple[ImageVariant, Sequence[str]]]) -> None:
        """Variants of many images at once, each with what was noted on decoding."""
        self._put(schema.variants, ({**_plain(variant), "notes": list(notes)} for variant, notes in variants))

    def get(self, image_ids: Iterable[str], variant: str) -> dict[str, ImageVariant]:
        query = sa.select(schema.variants).where(schema.variants.c.variant == variant)
        return {row.image_id: _variant(row) for row in self._by_ids(query, schema.variants.c.image_id, image_ids)}

    def of_image(self, image_id: str) -> dict[str, ImageVariant]:
        """variant name -> what is stored of one image."""
        query = sa.select(schema.variants).where(schema.variants.c.image_id == image_id).order_by(schema.variants.c.variant)
        return {row.variant: _variant(row) for row in self._rows(query)}

    def of_images(self, image_ids: Iterable[str]) -> dict[str, dict[str, ImageVariant]]:
        """image id -> variant name -> what is stored, of those of these images of which something is."""
        found: dict[str, dict[str, ImageVariant]] = {}
        for row in self._by_ids(sa.select(schema.variants), schema.variants.c.image_id, image_ids):
            found.setdefault(row.image_id, {})[row.variant] = _variant(row)
        return found

    def page(self, variant: str, *, after: str = "", limit: int) -> list[ImageVariant]:
        """The next images in one rendition, by image id."""
        t = schema.variants
        query = sa.select(t).where(t.c.variant == variant, t.c.image_id > after).order_by(t.c.image_id).limit(limit)
        return [_variant(row) for row in self._connection.execute(query)]

    def all(self, variant: str | None = None) -> Iterator[ImageVariant]:
        """Every variant by image id and name, or all of one name."""
        table = schema.variants
        query = sa.select(table).order_by(table.c.image_id, table.c.variant)
        if variant is not None:
            query = query.where(table.c.variant == variant)
        return (_variant(row) for row in self._rows(query))

    def by_blob_key(self) -> Iterator[ImageVariant]:
        """Every variant in the order of where it lies."""
        t = schema.variants
        return (_variant(row) for row in self._rows(sa.select(t).order_by(t.c.blob_key)))

    def complete(self, names: Sequence[str], *, among: Iterable[str] | None = None) -> set[str]:
        """Ids of the images (of all, or among some) that have all of these variants."""
        t = schema.variants
        if among is not None:
            rows = self._by_ids(sa.select(t.c.image_id).where(t.c.variant.in_(names)), t.c.image_id, among)
            return {image for image, count in Counter(row.image_id for row in rows).items() if count == len(names)}
        return {row.image_id for row in self._rows(self._complete(names))}

    def count_complete(self, names: Sequence[str]) -> int:
        """How many images have all of these variants."""
        return int(self._connection.execute(sa.select(sa.func.count()).select_from(self._complete(names).subquery())).scalar_one())

    @staticmethod
    def _complete(names: Sequence[str]) -> sa.Select[tuple[str]]:
        t = schema.variants
        found = sa.select(t.c.image_id).where(t.c.variant.in_(names)).group_by(t.c.image_id)
        return found.having(sa.func.count() == len(names))

    def forget(self, image_ids: Iterable[str]) -> None:
        """Drop the record of variants (their blobs stay), so that they are made again."""
        for image_id in image_ids:
            self._change(schema.variants, sa.delete(schema.variants).where(schema.variants.c.image_id == image_id))

    def counts(self) -> dict[str, int]:
        return self._counts_by(schema.variants.c.variant)


def _plain(variant: ImageVariant) -> dict[str, object]:
    # dataclasses.asdict copies every value, which for a hundred thousand images is felt.
    return {field.name: getattr(variant, field.name) for field in _VARIANT_FIELDS}


def _variant(row: sa.Row[tuple[object, ...]]) -> ImageVariant:
    return ImageVariant(row.image_id, row.variant, row.blob_key, row.sha256, row.size_bytes, row.width, row.height)


class ProblemTable(TableGroup):
    """Images that could not be used, originals included, each with its reason."""

    def put(self, image_id: str, reason: str, detail: str) -> None:
        self._put(schema.image_problems, [{"image_id": image_id, "reason": reason, "detail": detail}])

    def all(self) -> dict[str, tuple[str, str]]:
        """image id -> (reason, detail)."""
        return {row.image_id: (row.reason, row.detail) for row in self._rows(sa.select(schema.image_problems))}

    def get(self, image_ids: Iterable[str]) -> dict[str, tuple[str, str]]:
        """image id -> (reason, detail) of those of these images that could not be used."""
        t = schema.image_problems
        return {row.image_id: (row.reason, row.detail) for row in self._by_ids(sa.select(t), t.c.image_id, image_ids)}

    def clear(self, image_ids: Iterable[str]) -> None:
        for image_id in image_ids:
            self._change(schema.image_problems, sa.delete(schema.image_problems).where(schema.image_problems.c.image_id == image_id))


class OpaqueNameTable(TableGroup):
    """Names under which annotators see images."""

    def add(self, names: Iterable[OpaqueName]) -> int:
        return self._add_new(schema.opaque_names, (dataclasses.asdict(name) for name in names))

    def all(self, key_version: int) -> dict[str, str]:
        """image id -> opaque name of one key version."""
        table = schema.opaque_names
        return {row.image_id: row.name for row in self._rows(sa.select(table).where(table.c.key_version == key_version))}

    def get(self, image_ids: Iterable[str], key_version: int) -> dict[str, str]:
        """image id -> opaque name of one key version, for those of these images that have one."""
        table = schema.opaque_names
        query = sa.select(table.c.image_id, table.c.name).where(table.c.key_version == key_version)
        return {row.image_id: row.name for row in self._by_ids(query, table.c.image_id, image_ids)}

    def page(self, key_version: int, *, after: str = "", limit: int) -> list[tuple[str, str]]:
        """(image id, opaque name) of the next images that have a name of a key version, by image id."""
        t = schema.opaque_names
        query = sa.select(t.c.image_id, t.c.name).where(t.c.key_version == key_version, t.c.image_id > after).order_by(t.c.image_id)
        return [(row.image_id, row.name) for row in self._connection.execute(query.limit(limit))]

    def of_images(self, image_ids: Iterable[str]) -> list[str]:
        """Every name of these images, of all key versions, sorted."""
        table = schema.opaque_names
        return sorted(row.name for row in self._by_ids(sa.select(table.c.name), table.c.image_id, image_ids))

    def count(self) -> int:
        return self._count(schema.opaque_names)
