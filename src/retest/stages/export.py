"""Stage: write a revision as image folder, WebDataset, Parquet or Hugging Face folder, each with all that describes it.

Every form carries ``metadata.csv`` (one row per image in the revision's order), ``ATTRIBUTION.csv``, ``DATASHEET.md``,
``croissant.json``, ``SHA256SUMS`` and, written last, ``manifest.json``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retest.errors import ConflictError, UsageError
from retest.files import remove_leftovers, write_atomic
from retest.images import content_hash
from retest.stages import _export_documents as documents
from retest.stages._common import Progress, silent
from retest.stages._export_forms import CHECKSUMS, Advance, Written, write_images, write_parquet, write_webdataset
from retest.stages._export_set import ExportSet, load_set
from retest.stages._folder_lock import locked_folder
from retest.stages._frequencies import refresh_frequencies
from retest.study import Study

MANIFEST = "manifest.json"
FORMS = ("imagefolder", "webdataset", "parquet", "huggingface", "croissant")
_STARTED = ".export.json"


@dataclass(frozen=True, slots=True)
class ExportCounts:
    """Where the set lies, how many images it holds, and how many were written now."""

    folder: Path
    images: int
    written: int


def export_imagefolder(study: Study, name: str, out: Path, *, by_index: bool = False, progress: Progress = silent) -> ExportCounts:
    """:func:`export_revision` in the form ``imagefolder``."""
    return export_revision(study, name, out, form="imagefolder", by_index=by_index, progress=progress)


def export_revision(
    study: Study, name: str, out: Path, *, form: str = "imagefolder", by_index: bool = False, progress: Progress = silent
) -> ExportCounts:
    """Write a revision into the folder ``out`` in one of :data:`FORMS`.

    ``imagefolder`` (and ``croissant``, which is the same): ``<class>/<image id>.jpg``; class folders are named by wnid, or with
    ``by_index`` by class index padded with zeros, so that sorting names as strings gives the class order. ``webdataset``: tar
    shards. ``parquet``: Parquet shards with the images' bytes. ``huggingface``: a folder that ``datasets.load_dataset`` takes,
    with a card. An interrupted export goes on; a finished one is left alone.

    Raises:
        UsageError: unknown form, or ``by_index`` with a form that has no class folders.
        NotFoundError: there is no such revision, or an image is not stored.
        ConflictError: the folder holds another set, or the same in another form, or another process is writing it.
    """
    if form not in FORMS:
        raise UsageError("unknown form of export", item=form, remedy=f"Use one of: {', '.join(FORMS)}")
    if by_index and form in ("webdataset", "parquet"):
        raise UsageError("this form has no class folders to name", item=form, remedy="Leave --by-index out")
    form = "imagefolder" if form == "croissant" else form
    with study.database.write() as tables:
        refresh_frequencies(tables)
    with study.database.read() as tables:
        content = load_set(study, tables, name)
    folders = _folders(content, by_index=by_index)
    with locked_folder(out):
        _begin(out, content, form, by_index=by_index)
        with progress(f"Export {name}", total=len(content.images)) as advance:
            data = _writers(study, content, out, folders, advance)[form]()
        _finish(out, content, form, folders, data)
    return ExportCounts(out, len(content.images), data.written)


def _writers(study: Study, content: ExportSet, out: Path, folders: dict[str, str], advance: Advance) -> dict[str, Callable[[], Written]]:
    return {
        "imagefolder": lambda: write_images(study, content, out, folders, advance),
        "huggingface": lambda: write_images(study, content, out, folders, advance, below="test/"),
        "webdataset": lambda: write_webdataset(study, content, out, advance),
        "parquet": lambda: write_parquet(study, content, out, advance),
    }


def _folders(content: ExportSet, *, by_index: bool) -> dict[str, str]:
    width = len(str(max(content.cids.values(), default=0)))
    numbers = {wnid: f"{cid:0{width}d}" for wnid, cid in content.cids.items()} if by_index else {}
    return {**content.folders, **numbers}


def _begin(out: Path, content: ExportSet, form: str, *, by_index: bool) -> None:
    """Refuse a folder with another export, finished or not; leave a note of what is going to be here."""
    note = {"revision": content.revision.name, "form": form, "fingerprint": content.fingerprint(f"{form} {by_index}")}
    for name in (MANIFEST, _STARTED):
        if (out / name).exists():
            _refuse_other(out, _note_in(out / name), note)
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / _STARTED, json.dumps(note).encode())


def _note_in(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
        note = found.get("export", found)
        return note if isinstance(note, dict) else {}
    except (ValueError, AttributeError):
        return {}


def _refuse_other(out: Path, known: dict[str, Any], wanted: dict[str, Any]) -> None:
    if known == wanted:
        return
    if known.get("revision") == wanted["revision"] and known.get("form") == wanted["form"]:
        raise ConflictError("the folder holds this set with other images or names", item=str(out), remedy="Choose another --out")
    what = known.get("revision")
    held = f"{what} ({known.get('form', 'an unknown form')})" if isinstance(what, str) else "something else"
    raise ConflictError(f"the folder holds {held} already", item=str(out), remedy="Choose another --out")


def _finish(out: Path, content: ExportSet, form: str, folders: dict[str, str], data: Written) -> None:
    """Write the documents, their checksums, and the manifest last."""
    for folder in (out, out / "test"):
        remove_leftovers(folder)
    rows = [image.row(place) for image, place in zip(content.images, data.places, strict=True)]
    digests, sizes = dict(data.files), {path: (out / path).stat().st_size for path in data.files}

    def put(path: str, text: bytes) -> None:
        _write_new(out / path, text)
        digests[path], sizes[path] = content_hash(text), len(text)

    put(documents.METADATA, documents.metadata_csv(rows))
    put(documents.ATTRIBUTION, documents.attribution_csv(rows))
    put(documents.DATASHEET, documents.datasheet(content, form))
    if form == "huggingface":
        # The library looks for the table beside the images, with paths relative to it.
        beside = [{**row, "file_name": str(row["file_name"]).removeprefix("test/")} for row in rows]
        put(f"test/{documents.METADATA}", documents.metadata_csv(beside))
        put("README.md", documents.dataset_card(content))
    described = [(path, digests[path], sizes[path]) for path in sorted(digests)]
    put(documents.CROISSANT, documents.croissant(content, form, described))
    _write_new(out / CHECKSUMS, "".join(f"{digests[path]}  {path}\n" for path in sorted(digests)).encode())
    images = [
        {"id": image.id, "wnid": image.wnid, "file": place, "sha256": image.variant.sha256, **_attribution(row)}
        for image, place, row in zip(content.images, data.places, rows, strict=True)
        for row in [row if image.candidate else {}]
    ]
    note = json.loads((out / _STARTED).read_bytes())
    head = {"format": f"retest-{note['form']}-1", "export": note, "revision": documents.describe(content.revision)}
    manifest = {**head, "classes": folders, "images": images}
    _write_new(out / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False).encode())
    (out / _STARTED).unlink()


def _attribution(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("source", "photo_id", "license", "owner", "source_page", "url") if row}


def _write_new(path: Path, text: bytes) -> None:
    if not path.exists() or path.read_bytes() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text)
