"""Rows of studies of any size, table after table: see :mod:`retest.testing.scale`."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from PIL import Image

from retest.images import content_hash, variant_names
from retest.stages._common import image_blob_key
from retest.store import schema
from retest.store.rows import chunks
from retest.study import Study

if TYPE_CHECKING:
    from retest.testing.scale import ScaleParameters

ROWS = 20_000
_LISTS_AT_ONCE = 5_000
_SEARCH_TERMS = 7
_PICTURES = 16
TIME = "2026-01-01T00:00:00+00:00"
Row = Sequence[Any]


@dataclass(slots=True)
class Writer:
    """Inserts rows in transactions of bounded size, by the database's own parameters rather than by records."""

    study: Study
    _written: set[str] = field(default_factory=set)

    def insert(self, table: sa.Table, columns: Sequence[str], rows: Iterable[Row]) -> int:
        """Insert rows whose JSON columns are texts already; returns how many."""
        quoted = ", ".join(f'"{name}"' for name in columns)
        mark = "%s" if self.study.database.engine.dialect.name == "postgresql" else "?"
        statement = f'INSERT INTO "{table.name}" ({quoted}) VALUES ({", ".join([mark] * len(columns))})'  # noqa: S608 names of the schema
        count = 0
        for block in chunks(rows, ROWS):
            with self.study.database.write() as tables:
                tables.connection.exec_driver_sql(statement, [tuple(row) for row in block])
            count += len(block)
        self._written.add(table.name)
        return count

    def finish(self) -> None:
        """Note that tables have changed, let numbers go on behind those given, let the database look at what it has."""
        with self.study.database.write() as tables:
            known = tables.generations.of(*self._written)
            changed = schema.generations
            tables.connection.execute(sa.delete(changed).where(changed.c.name.in_(known)))
            tables.connection.execute(sa.insert(changed), [{"name": name, "number": number + 1} for name, number in known.items()])
            if tables.connection.dialect.name == "postgresql":
                tables.connection.exec_driver_sql("SELECT setval(pg_get_serial_sequence('hits', 'no'), (SELECT max(no) FROM hits))")


@dataclass(frozen=True)
class Layout:
    """Who is who: candidates are numbered class by class, original validation images behind them.

    ``ids`` is bytes (n,), ``excluded``, ``labelled`` and ``marked`` are bool (candidates,), ``appeal`` is float32 (n,): how likely
    an annotator selects the image.
    """

    wnids: tuple[str, ...]
    first: NDArray[np.int64]  # (classes + 1,): where the candidates of each class begin
    val_per_class: int
    ids: NDArray[np.bytes_]
    appeal: NDArray[np.float32]
    excluded: NDArray[np.bool_]
    labelled: NDArray[np.bool_]
    marked: NDArray[np.bool_]
    seed: int

    @classmethod
    def of(cls, p: ScaleParameters, seed: int) -> Layout:
        """Draw the images of a study."""
        rng = np.random.default_rng([seed, 0])
        n, val = p.candidates, p.classes * p.val_per_class
        ids = np.empty(n + val, dtype="S40")
        for number in range(n):
            ids[number] = hashlib.sha1(f"{seed}:{number}:flickr".encode(), usedforsecurity=False).hexdigest().encode()
        ids[n:] = [f"ILSVRC2012_val_{number + 1:08}.JPEG".encode() for number in range(val)]
        return cls(
            wnids=tuple(f"n{1_000_000 + 97 * number:08}" for number in range(p.classes)),
            first=np.arange(p.classes + 1) * n // p.classes,
            val_per_class=p.val_per_class,
            ids=ids,
            appeal=np.concatenate([rng.beta(2, 1, n), rng.beta(6, 1, val)]).astype(np.float32),
            excluded=(excluded := rng.random(n) < p.excluded),
            labelled=~excluded & (rng.random(n) >= p.unlabelled),
            marked=~excluded & (rng.random(n) < p.near_duplicates),
            seed=seed,
        )

    @property
    def candidates(self) -> int:
        """How many."""
        return len(self.excluded)

    @cached_property
    def stored(self) -> NDArray[np.int64]:
        """Numbers of the images that are stored, ascending: candidates that are not excluded, and validation images."""
        return np.concatenate([np.flatnonzero(~self.excluded), np.arange(self.candidates, len(self.ids))])

    def rng(self, *what: int) -> np.random.Generator:
        """A generator for one part of the study, whatever was drawn for others."""
        return np.random.default_rng([self.seed, *what])

    def names(self, numbers: Iterable[int] | NDArray[np.int64]) -> list[str]:
        """Ids of some images."""
        found: list[str] = self.ids[np.asarray(numbers)].astype("U40").tolist()
        return found

    def validation(self, class_number: int) -> NDArray[np.int64]:
        """Numbers of the validation images of a class (after the last one the first again)."""
        start = self.candidates + (class_number % len(self.wnids)) * self.val_per_class
        return np.arange(start, start + self.val_per_class)


def insert_images(writer: Writer, layout: Layout, p: ScaleParameters) -> None:
    """Classes, original images, candidates, exclusions, stored variants and opaque names."""
    wnids = layout.wnids
    similar = (json.dumps([wnids[(c + step) % len(wnids)] for step in range(min(5, len(wnids)))]) for c in range(len(wnids)))
    columns: tuple[str, ...] = ("wnid", "cid", "synset", "gloss", "parent_terms", "wikipedia_pages", "most_similar")
    infos = ((w, c, json.dumps([f"class {c}"]), "", "[]", "[]", near) for c, (w, near) in enumerate(zip(wnids, similar, strict=True)))
    writer.insert(schema.classes, columns, infos)
    val = layout.names(np.arange(layout.candidates, len(layout.ids)))
    writer.insert(schema.originals, ("id", "split", "wnid"), ((i, "val", wnids[n // p.val_per_class]) for n, i in enumerate(val)))
    train = ((f"{w}_{n}.JPEG", "train", w) for w in wnids for n in range(p.train_per_class))
    writer.insert(schema.originals, ("id", "split", "wnid"), train)
    columns = ("key", "wnid", "pages", "found", "finished", "notes")
    terms = ((f"{w}/term {t}", w, 1, p.candidates // p.classes, True, "[]") for w in wnids for t in range(_SEARCH_TERMS))
    writer.insert(schema.search_queries, columns, terms)
    names = ("id", "wnid", "source", "photo_id", "url", "search_key", "uploader", "date_taken", "date_uploaded", "license", "query")
    writer.insert(schema.candidates, names, _candidates(layout))
    left_out = layout.names(np.flatnonzero(layout.excluded))
    writer.insert(schema.image_problems, ("image_id", "reason", "detail"), ((i, "undecodable", "made up") for i in left_out))
    exclusions = ((i, "undecodable", "made up", "scale", TIME) for i in left_out)
    writer.insert(schema.exclusions, ("candidate_id", "reason", "detail", "user", "time"), exclusions)
    columns = ("image_id", "variant", "blob_key", "sha256", "size_bytes", "width", "height", "notes")
    writer.insert(schema.variants, columns, _variants(writer.study, layout))
    opaque = ((i, 1, hashlib.blake2b(i.encode(), digest_size=16).hexdigest()) for i in layout.names(layout.stored))
    writer.insert(schema.opaque_names, ("image_id", "key_version", "name"), opaque)


def _candidates(layout: Layout) -> Iterator[Row]:
    for number, wnid in enumerate(layout.wnids):
        members = np.arange(layout.first[number], layout.first[number + 1])
        for at, image in zip(members.tolist(), layout.names(members), strict=True):
            day = f"{2012 + at % 3}-{1 + at % 12:02}-{1 + at % 28:02}"
            url = f"https://example.org/{at}.jpg"
            yield image, wnid, "flickr", str(at), url, f"term {at % _SEARCH_TERMS}", f"user {at % 9973}", day, day, "4", "{}"


def _variants(study: Study, layout: Layout) -> Iterator[Row]:
    pictures = [list(_picture(study, number)) for number in range(_PICTURES)]
    shown = layout.stored[np.argsort(layout.ids[layout.stored])]
    for number, image in zip(shown.tolist(), layout.names(shown), strict=True):
        for values in pictures[number % _PICTURES]:
            yield image, *values, "[]"


def _picture(study: Study, number: int) -> Iterator[Row]:
    """One plain colour, stored as its three variants: what many images of the study show."""
    sides = ((1024, 768), (500, 375), (study.config.images.compare_side,) * 2)
    for variant, side in zip(variant_names(study.config.images), sides, strict=True):
        file = io.BytesIO()
        Image.new("RGB", side, (16 * number, 128, 255 - 16 * number)).save(file, "JPEG", quality=study.config.images.jpeg_quality)
        key = image_blob_key(f"made-up-{number}", variant, study.config.images)
        study.blobs.put(key, file.getvalue())
        yield variant, key, content_hash(file.getvalue()), len(file.getvalue()), *side


def insert_nearness(writer: Writer, layout: Layout, p: ScaleParameters) -> dict[str, int]:
    """Neighbour lists, what was reviewed of them, pairs, and the history of the reviews; counts of what was written.

    One candidate in twenty, and each near-duplicate, has neighbours within the review target; the others' are all beyond it.
    """
    metrics = writer.study.config.review.targets
    shown = np.flatnonzero(~layout.excluded)
    order = shown[np.argsort(layout.ids[shown])]
    partner = _partners(layout)
    near = layout.rng(3).integers(1, 4, layout.candidates) * (layout.marked | (layout.rng(4).random(layout.candidates) < 0.05))
    looked_at = layout.rng(5).random(layout.candidates) < p.reviewed
    counts = dict.fromkeys(("neighbor_lists", "reviewed_neighbors", "near_duplicate_pairs"), 0)
    for number, (metric, target) in enumerate(metrics.items()):
        for start in range(0, len(order), _LISTS_AT_ONCE):
            part = order[start : start + _LISTS_AT_ONCE]
            made = _lists(layout, part, partner, near, p.neighbors, target, layout.rng(6, number, start))
            whole = (json.dumps([*map(list, zip(*one, strict=True))]) for one in made)
            rows = ((metric, image, text) for image, text in zip(layout.names(part), whole, strict=True))
            counts["neighbor_lists"] += writer.insert(schema.neighbors, ("metric", "query_id", "neighbors"), rows)
            seen = [(at, made[at][0][: near[i]]) for at, i in enumerate(part.tolist()) if near[i] and looked_at[i]]
            counts["reviewed_neighbors"] += _add_reviews(writer, layout, metric, part, seen)
    both = [i for i in order.tolist() if layout.marked[i] and looked_at[i]]
    pairs = ((first, second, "reviewer 1", TIME) for first, second in zip(layout.names(both), layout.names(partner[both]), strict=True))
    counts["near_duplicate_pairs"] = writer.insert(schema.near_duplicate_pairs, ("first", "second", "user", "time"), pairs) if both else 0
    return counts


def _partners(layout: Layout) -> NDArray[np.int64]:
    """What each candidate is a near-duplicate of if it is one: a validation image of its class, or the class's next candidate."""
    numbers = np.arange(layout.candidates)
    classes = np.searchsorted(layout.first, numbers, side="right") - 1
    original = layout.candidates + classes * layout.val_per_class + numbers % layout.val_per_class
    following = np.where(numbers + 1 < layout.first[classes + 1], numbers + 1, layout.first[classes])
    return np.where((numbers % 2 == 0) | layout.excluded[following], original, following)


def _lists(
    layout: Layout,
    part: NDArray[np.int64],
    partner: NDArray[np.int64],
    near: NDArray[np.int64],
    k: int,
    target: float,
    rng: np.random.Generator,
) -> list[tuple[list[str], list[float]]]:
    """(references, distances ascending) of some candidates: steps of one size through all images, which meets none twice."""
    stored = layout.stored
    k = min(k, len(stored) - 2)
    step = rng.integers(1, max(2, (len(stored) - 1) // (k + 2)), len(part))
    references = stored[(np.searchsorted(stored, part)[:, None] + step[:, None] * np.arange(1, k + 1)) % len(stored)]
    first = partner[part]
    met = (references == first[:, None]).any(axis=1)
    references[:, 0] = np.where(layout.marked[part] & ~met, first, references[:, 0])
    away = np.cumsum(rng.random((len(part), k)), axis=1)
    inside = np.arange(k) < near[part][:, None]
    distances = np.where(inside, target * away / k / 2, target * (1.01 + away / k))
    if target > 1000:
        distances = np.round(distances)  # squared pixel distances are whole
    names = layout.ids[references].astype("U40")
    return [(names[at].tolist(), distances[at].tolist()) for at in range(len(part))]


def _add_reviews(writer: Writer, layout: Layout, metric: str, part: NDArray[np.int64], seen: list[tuple[int, list[str]]]) -> int:
    reviewed: list[Row] = []
    history: list[Row] = []
    ids = layout.names(part)
    for at, references in seen:
        pair = references[:1] if layout.marked[part[at]] else []
        who = f"reviewer {int(part[at]) % 5}"
        reviewed += ((ids[at], metric, reference, reference in pair, who, TIME) for reference in references)
        after = json.dumps({"references": sorted(references), "near_duplicates": pair})
        history.append((TIME, who, "near_duplicate_review", f"{ids[at]}/{metric}", "null", after))
    columns = ("candidate_id", "metric", "reference", "near_duplicate", "reviewer", "time")
    count = writer.insert(schema.reviewed_neighbors, columns, reviewed)
    writer.insert(schema.decisions, ("time", "user", "kind", "item", "before", "after"), history)
    return count
