"""The data files of an export: image folders, WebDataset shards, Parquet shards.

A file either is there whole or not at all (it gets its name when it is complete), so that a killed export goes on file by file.
Files are written as their images are read: memory holds one image of an archive, or one row group of a table. Equal sets give
equal bytes: archives hold no clock and no user.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from retest.files import file_hash, open_atomic, write_atomic
from retest.images import content_hash
from retest.stages._export_set import COLUMNS, ExportImage, ExportSet
from retest.study import Study

CHECKSUMS = "SHA256SUMS"
SHARD_IMAGES = 1000
"""Images per tar or Parquet file: a shard of full-size photos is some hundred megabytes."""
_ROW_GROUP = 100
"""Rows read at once: readers that shuffle or look at a few images need not read a whole shard."""

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Written:
    """Where each image lies (a path, or ``shard#key``), every data file with its checksum, and how many images were written now."""

    places: tuple[str, ...]
    files: dict[str, str]
    written: int


def write_images(study: Study, content: ExportSet, out: Path, folders: dict[str, str], advance: Advance, *, below: str = "") -> Written:
    """``out/<below><class>/<file>`` for every image; a file with the right bytes is left alone."""
    places = tuple(f"{below}{folders[image.wnid]}/{image.name}" for image in content.images)
    written = 0
    for image, place in zip(content.images, places, strict=True):
        path = out / place
        if not path.exists() or content_hash(path.read_bytes()) != image.variant.sha256:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, study.blobs.get(image.variant.blob_key))
            written += 1
        advance(1)
    return Written(places, {place: image.variant.sha256 for place, image in zip(places, content.images, strict=True)}, written)


def write_webdataset(study: Study, content: ExportSet, out: Path, advance: Advance) -> Written:
    """``<revision>-test-000000.tar``: per image ``<key>.jpg``, ``<key>.cls`` (class index) and ``<key>.json``, in the revision's order."""

    def write(file: BinaryIO, images: tuple[tuple[int, ExportImage], ...], name: str) -> None:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for position, image in images:
                key = f"{position:08d}"
                row = json.dumps(image.row(f"{name}#{key}.jpg"), ensure_ascii=False)
                parts = {"cls": str(image.label).encode(), "jpg": study.blobs.get(image.variant.blob_key), "json": row.encode()}
                for suffix, data in parts.items():
                    info = tarfile.TarInfo(f"{key}.{suffix}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))

    stem = _safe(content.revision.name)
    return _shards(
        content, out, lambda number, _count: f"{stem}-test-{number:06d}.tar", write, advance, lambda name, p: f"{name}#{p:08d}.jpg"
    )


def write_parquet(study: Study, content: ExportSet, out: Path, advance: Advance) -> Written:
    """``data/test-00000-of-00001.parquet``: image {bytes, path}, label and the metadata columns, in the revision's order.

    The schema carries the features in the form that Hugging Face ``datasets`` reads, so that it decodes images by itself.
    """
    schema = _schema(content)

    def full_row(image: ExportImage) -> dict[str, object]:
        row = image.row(image.name)
        picture = {"bytes": study.blobs.get(image.variant.blob_key), "path": image.name}
        return {"image": picture, **{column: row[column] for column in COLUMNS}}

    def write(file: BinaryIO, images: tuple[tuple[int, ExportImage], ...], name: str) -> None:
        with pq.ParquetWriter(file, schema) as table:
            for start in range(0, len(images), _ROW_GROUP):
                rows = [full_row(image) for _, image in images[start : start + _ROW_GROUP]]
                table.write_table(pa.Table.from_pylist(rows, schema=schema), row_group_size=_ROW_GROUP)

    def named(number: int, count: int) -> str:
        return f"data/test-{number:05d}-of-{count:05d}.parquet"

    return _shards(content, out, named, write, advance, lambda name, _p: name)


def _shards(
    content: ExportSet,
    out: Path,
    named: Callable[[int, int], str],
    write: Callable[[BinaryIO, tuple[tuple[int, ExportImage], ...], str], None],
    advance: Advance,
    place: Callable[[str, int], str],
) -> Written:
    blocks, known = list(_blocks(content.images)), _checksums(out)
    places: list[str] = []
    files: dict[str, str] = {}
    written = 0
    for number, block in enumerate(blocks):
        name = named(number, len(blocks))
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # A shard of an unfinished export has its name, so it is whole; of a finished one the checksum tells.
        digest = file_hash(path) if path.exists() else None
        if digest is None or digest != known.get(name, digest):
            with open_atomic(path) as file:
                write(file, block, name)
            written += len(block)
            digest = file_hash(path)
        files[name] = digest
        places += [place(name, position) for position, _ in block]
        advance(len(block))
    return Written(tuple(places), files, written)


def _blocks(images: tuple[ExportImage, ...]) -> Iterator[tuple[tuple[int, ExportImage], ...]]:
    numbered = tuple(enumerate(images))
    for start in range(0, len(numbered), SHARD_IMAGES):
        yield numbered[start : start + SHARD_IMAGES]


def _checksums(out: Path) -> dict[str, str]:
    path = out / CHECKSUMS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)


def _schema(content: ExportSet) -> pa.Schema:
    kinds = {
        "label": pa.int64(),
        "num_assignments": pa.int64(),
        "width": pa.int64(),
        "height": pa.int64(),
        "selection_frequency": pa.float64(),
    }
    fields = [pa.field("image", pa.struct({"bytes": pa.binary(), "path": pa.string()}))]
    fields += [pa.field(column, kinds.get(column, pa.string())) for column in COLUMNS]
    plain = {"int64": "int64", "double": "float64", "string": "string"}
    features: dict[str, object] = {"image": {"_type": "Image"}}
    features |= {field.name: {"dtype": plain[str(field.type)], "_type": "Value"} for field in fields[1:]}
    ordered = sorted(content.cids, key=lambda wnid: content.cids[wnid])
    if ordered and [content.cids[wnid] for wnid in ordered] == list(range(len(ordered))):
        features["label"] = {"names": ordered, "_type": "ClassLabel"}
    return pa.schema(fields, metadata={b"huggingface": json.dumps({"info": {"features": features}}).encode()})
