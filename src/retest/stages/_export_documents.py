"""The documents that every export carries: metadata and attribution tables, datasheet, Croissant description, dataset card."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from retest.images import JPEG_SUFFIXES
from retest.records import Revision
from retest.stages._export_set import COLUMNS, ExportSet

METADATA = "metadata.csv"
ATTRIBUTION = "ATTRIBUTION.csv"
DATASHEET = "DATASHEET.md"
CROISSANT = "croissant.json"

_ATTRIBUTION_COLUMNS = ("file_name", "image_id", "title", "owner", "license", "source", "photo_id", "source_page", "url")
_KINDS = {
    "label": "sc:Integer",
    "num_assignments": "sc:Integer",
    "width": "sc:Integer",
    "height": "sc:Integer",
    "selection_frequency": "sc:Float",
}
_UNKNOWN = "not known"


def metadata_csv(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """One row per image in the order of the revision; columns :data:`COLUMNS`."""
    return _csv(COLUMNS, rows)


def attribution_csv(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Where each image comes from and to whom it belongs."""
    return _csv(_ATTRIBUTION_COLUMNS, rows)


def _csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([row[column] for column in columns] for row in rows)
    return text.getvalue().encode()


def licenses(content: ExportSet) -> dict[str, int]:
    """licence -> number of images, most frequent first."""
    counts = Counter((image.candidate.license if image.candidate else None) or _UNKNOWN for image in content.images)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def datasheet(content: ExportSet, form: str) -> bytes:
    """A datasheet in the sections of Gebru et al., "Datasheets for Datasets" (2021), filled from the study."""
    facts = content.facts
    made = f"A new test set for {facts.benchmark}, made by replicating how its test set was made (study {facts.study})."
    one_label = "Each image has one label, its class index; `metadata.csv` has one row per image in the order of the revision."
    sections = {
        "Motivation": [made],
        "Composition": [*_table(_composition(content, form)), "", one_label],
        "Collection process": _table(_collection(content)),
        "Sampling": _table(_sampling(content)),
        "Preprocessing": ["Images were decoded, turned upright by their EXIF orientation, converted to RGB and stored as JPEG."],
        "Uses": ["Measuring classifiers that were trained on the benchmark's training set. Do not train on it."],
        "Distribution": [
            "The images belong to their owners; `ATTRIBUTION.csv` names source, owner and licence of each.",
            "",
            *_table({f"licence: {name}": count for name, count in licenses(content).items()}),
            "",
            "`SHA256SUMS` holds a checksum of every file (`sha256sum -c SHA256SUMS`).",
        ],
    }
    lines = [f"# Datasheet of {content.revision.name}", ""]
    for title, body in sections.items():
        lines += [f"## {title}", "", *body, ""]
    return "\n".join(lines).encode()


def _composition(content: ExportSet, form: str) -> dict[str, Any]:
    revision = content.revision
    per_class = Counter(wnid for _, wnid in revision.images)
    sizes = sorted(set(per_class.values()))
    return {
        "images": len(revision.images),
        "classes": len(per_class),
        "images per class": str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}" if sizes else "0",
        "complete (is_valid)": "yes" if revision.is_valid else "no",
        "form": form,
        "photos taken": _span(image.candidate.date_taken for image in content.images if image.candidate),
        "photos uploaded": _span(image.candidate.date_uploaded for image in content.images if image.candidate),
    }


def _collection(content: ExportSet) -> dict[str, Any]:
    facts = content.facts
    return {
        **{f"candidates from {source}": count for source, count in facts.candidates.items()},
        "the same photo found again": facts.duplicate_occurrences,
        "candidates excluded": sum(facts.exclusions.values()),
        **{f"excluded: {reason}": count for reason, count in facts.exclusions.items()},
        "HITs (labelling tasks)": facts.hits,
        "HITs that count nowhere": facts.excluded_hits,
        "HITs made": " to ".join(dict.fromkeys(facts.hit_days)) if facts.hit_days else _UNKNOWN,
        "answers": sum(facts.answers.values()),
        **{f"answers {status.lower()}": count for status, count in facts.answers.items()},
        "annotators": facts.annotators,
        "neighbours reviewed": facts.reviewed_neighbors,
        "near-duplicate pairs": facts.near_duplicate_pairs,
        "candidates left out as near-duplicates": facts.near_duplicates,
    }


def _sampling(content: ExportSet) -> dict[str, Any]:
    revision, facts = content.revision, content.facts
    settings = {key: value for key, value in sorted(revision.parameters.items()) if isinstance(value, (str, int, float, bool, list))}
    return {
        "function": revision.sampling_function,
        "seed": revision.seed,
        "starting from": revision.starting_from or "nothing",
        "made": f"{revision.time or _UNKNOWN} by {revision.user or _UNKNOWN}",
        "classes reviewed": f"{facts.classes_reviewed} of {len({wnid for _, wnid in revision.images})}",
        "classes marked problematic": facts.classes_problematic,
        **settings,
    }


def _table(values: Mapping[str, Any]) -> list[str]:
    return ["| what | value |", "| --- | --- |", *(f"| {_cell(name)} | {_cell(value)} |" for name, value in values.items())]


def _cell(value: Any) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def _span(dates: Iterable[str | None]) -> str:
    days = sorted({date[:10] for date in dates if date})
    return _UNKNOWN if not days else " to ".join(dict.fromkeys((days[0], days[-1])))


def croissant(content: ExportSet, form: str, files: Sequence[tuple[str, str, int]]) -> bytes:
    """Croissant 1.0 (JSON-LD): every file with its checksum, and the metadata table as a record set.

    Args:
        content: the set.
        form: the form of the export.
        files: (path, sha256, size in bytes) of the files to describe; image files are described as a file set.
    """
    revision = content.revision
    images = [path for path, _, _ in files if path.lower().endswith(JPEG_SUFFIXES)]
    document: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": revision.name,
        "description": (
            f"{len(revision.images)} images of {len({w for _, w in revision.images})} classes: "
            f"a new test set for {content.facts.benchmark}, sampled by {revision.sampling_function} with seed {revision.seed}."
        ),
        "license": [name for name in licenses(content) if name != _UNKNOWN] or "See ATTRIBUTION.csv",
        "url": _first_page(content),
        "version": "1.0.0",
        "citeAs": f"{revision.name}, study {content.facts.study}",
        "creator": {"@type": "sc:Organization", "name": revision.user or content.facts.study},
        **({"datePublished": revision.time[:10]} if _is_day(revision.time[:10]) else {}),
        "distribution": [_file_object(path, digest, size) for path, digest, size in files if path not in set(images)],
        "recordSet": [_metadata_records()],
    }
    if images:
        document["distribution"].append(
            {
                "@type": "cr:FileSet",
                "@id": "image-files",
                "name": "image-files",
                "description": "The images.",
                "encodingFormat": "image/jpeg",
                "includes": sorted({_pattern(path) for path in images}),
            }
        )
        document["recordSet"].append(_image_records())
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"


def _pattern(path: str) -> str:
    return "/".join(["*"] * path.count("/") + [f"*.{path.rpartition('.')[2]}"])


def _file_object(path: str, digest: str, size: int) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": path,
        "contentUrl": path,
        "contentSize": f"{size} B",
        "encodingFormat": _ENCODINGS[path.rpartition(".")[2]],
        "sha256": digest,
    }


def _metadata_records() -> dict[str, Any]:
    def field(column: str) -> dict[str, Any]:
        source = {"fileObject": {"@id": METADATA}, "extract": {"column": column}}
        return {"@type": "cr:Field", "@id": f"images/{column}", "name": column, "dataType": _KINDS.get(column, "sc:Text"), "source": source}

    return {
        "@type": "cr:RecordSet",
        "@id": "images",
        "name": "images",
        "description": "One record per image, in the order of the revision: rows of prediction files follow it.",
        "key": {"@id": "images/file_name"},
        "field": [field(column) for column in COLUMNS],
    }


def _image_records() -> dict[str, Any]:
    def field(name: str, kind: str, source: str) -> dict[str, Any]:
        place = {"fileSet": {"@id": "image-files"}, "extract": {"fileProperty": source}}
        return {"@type": "cr:Field", "@id": f"pixels/{name}", "name": name, "dataType": kind, "source": place}

    return {
        "@type": "cr:RecordSet",
        "@id": "pixels",
        "name": "pixels",
        "description": "The images themselves, by file.",
        "field": [field("file_path", "sc:Text", "fullpath"), field("image", "sc:ImageObject", "content")],
    }


def _first_page(content: ExportSet) -> str:
    pages = (image.candidate.source_page for image in content.images if image.candidate and image.candidate.source_page)
    return next(pages, "https://example.org/")


def _is_day(text: str) -> bool:
    return len(text) == 10 and text.replace("-", "").isdigit()


def dataset_card(content: ExportSet) -> bytes:
    """README.md with the YAML head that Hugging Face ``datasets`` reads."""
    revision = content.revision
    size = next((name for limit, name in _SIZES if len(revision.images) < limit), "1M<n<10M")
    known = list(licenses(content))
    head = ["---", f"pretty_name: {json.dumps(revision.name)}", "license: other", f"license_name: {json.dumps(', '.join(known))}"]
    head += ["task_categories:", "- image-classification", "size_categories:", f"- {size}", "configs:", "- config_name: default"]
    head += ["  data_files:", "  - split: test", '    path: "test/**"', "---", ""]
    body = [f"# {revision.name}", "", f"{len(revision.images)} images: a new test set for {content.facts.benchmark}.", ""]
    body += ["```python", "from datasets import load_dataset", 'test = load_dataset("PATH", split="test")', "```", ""]
    body += ["`label` is the class index. [DATASHEET.md](DATASHEET.md) says how the set was made, [ATTRIBUTION.csv](ATTRIBUTION.csv) whose"]
    body += ["the images are.", ""]
    return "\n".join(head + body).encode()


def describe(revision: Revision) -> dict[str, Any]:
    """How the revision was made, for the manifest."""
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


_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_ENCODINGS = {
    "csv": "text/csv",
    "tar": "application/x-tar",
    "parquet": "application/x-parquet",
    "json": "application/json",
    "md": "text/markdown",
}
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
