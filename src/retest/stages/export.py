"""Stage: write a revision as a folder of images with a manifest (checksums, attribution, how the set was made)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retest.errors import ConflictError, NotFoundError
from retest.images import content_hash, variant_names
from retest.records import ImageVariant, Revision
from retest.stages._common import Progress, silent
from retest.study import Study, remove_leftovers, write_atomic

MANIFEST = "manifest.json"
_LONGEST_NAME = 160


@dataclass(frozen=True, slots=True)
class ExportCounts:
    """Where the set lies, how many images it holds, and how many were written now."""

    folder: Path
    images: int
    written: int


def export_imagefolder(study: Study, name: str, out: Path, *, by_index: bool = False, progress: Progress = silent) -> ExportCounts:
    """Write ``out/<class>/<image id>.jpg`` for every image of a revision, and ``out/manifest.json`` last.

    Class folders are named by wnid, or with ``by_index`` by class index padded with zeros, so that sorting names as strings gives
    the class order. An interrupted export goes on; a finished one is left alone.

    Raises:
        NotFoundError: there is no such revision, or an image is not stored.
        ConflictError: the folder holds another set.
    """
    with study.database.read() as tables:
        revision = tables.revisions.get(name)
        folders = _folders({info.wnid: info.cid for info in tables.classes.all()}, by_index=by_index)
        stored = tables.variants.get((image for image, _ in revision.images), variant_names(study.config.images)[0])
        candidates = tables.candidates.get(image for image, _ in revision.images)
    names = _file_names(revision.images)
    _refuse_other(out, revision)
    out.mkdir(parents=True, exist_ok=True)
    entries: list[dict[str, Any]] = []
    written = 0
    with progress(f"Export {name}", total=len(revision.images)) as advance:
        for image, wnid in revision.images:
            if image not in stored:
                raise NotFoundError("the image is not stored", item=image, remedy="Run: retest check --study STUDY")
            file = f"{folders.get(wnid, wnid)}/{names[image, wnid]}"
            written += _write_image(study, stored[image], out / file)
            entry: dict[str, Any] = {"id": image, "wnid": wnid, "file": file, "sha256": stored[image].sha256}
            if image in candidates:
                found = candidates[image]
                attribution = {"source": found.source, "photo_id": found.photo_id, "license": found.license, "owner": found.owner}
                entry |= attribution | {"source_page": found.source_page, "url": found.url}
            entries.append(entry)
            advance(1)
    manifest = {"format": "retest-imagefolder-1", "revision": _describe(revision), "classes": folders, "images": entries}
    _finish(out, json.dumps(manifest, indent=1, ensure_ascii=False).encode())
    return ExportCounts(out, len(entries), written)


def _finish(out: Path, manifest: bytes) -> None:
    remove_leftovers(out)
    path = out / MANIFEST
    if not path.exists() or path.read_bytes() != manifest:
        write_atomic(path, manifest)


def _folders(cids: dict[str, int], *, by_index: bool) -> dict[str, str]:
    width = len(str(max(cids.values(), default=0)))
    return {wnid: f"{cid:0{width}d}" if by_index else wnid for wnid, cid in cids.items()}


def _file_names(images: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """A file name per (image id, class); ids that would share one within a class, or make too long a one, get a part of their hash."""
    plain = {(image, wnid): image.replace("/", "_").replace("\\", "_") for image, wnid in images}
    shared = Counter((name.lower(), wnid) for (_, wnid), name in plain.items())
    result = {}
    for (image, wnid), name in plain.items():
        if shared[name.lower(), wnid] > 1 or len(name.encode()) > _LONGEST_NAME:
            name = f"{name.encode()[:_LONGEST_NAME].decode(errors='ignore')}-{content_hash(image.encode())[:16]}"
        result[image, wnid] = name if name.lower().endswith((".jpg", ".jpeg")) else f"{name}.jpg"
    return result


def _write_image(study: Study, variant: ImageVariant, path: Path) -> bool:
    if path.exists() and content_hash(path.read_bytes()) == variant.sha256:
        return False
    path.parent.mkdir(exist_ok=True)
    write_atomic(path, study.blobs.get(variant.blob_key))
    return True


def _describe(revision: Revision) -> dict[str, Any]:
    return {
        "name": revision.name,
        "sampling_function": revision.sampling_function,
        "seed": revision.seed,
        "is_valid": revision.is_valid,
        "starting_from": revision.starting_from,
        "parameters": dict(revision.parameters),
        "user": revision.user,
        "time": revision.time,
        "images_per_class": dict(sorted(Counter(wnid for _, wnid in revision.images).items())),
    }


def _refuse_other(out: Path, revision: Revision) -> None:
    manifest = out / MANIFEST
    if not manifest.exists():
        return
    try:
        known = json.loads(manifest.read_bytes())["revision"]["name"]
    except (ValueError, KeyError, TypeError):
        known = "something else"
    if known != revision.name:
        raise ConflictError(f"the folder holds {known} already", item=str(out), remedy="Choose another --out")
