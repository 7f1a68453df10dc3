"""HITs in the published JSON form (``mturk/hit_data_live/*.json``), read and written without loss.

A file is a list of objects with eleven keys, in the order of :data:`PUBLISHED_KEYS`. What is read and written again is
equal byte by byte to the published files (indent 2, no final newline).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from retest.errors import InputError
from retest.files import write_atomic
from retest.records import Hit

__all__ = ["PUBLISHED_KEYS", "hit_from_json", "hit_to_json", "hits_from_json", "hits_to_json", "read_hit_file", "write_hit_file"]

PUBLISHED_KEYS = (
    "wnid",
    "images_to_label",
    "images_pos_control",
    "images_neg_control",
    "images_all",
    "user",
    "uuid",
    "time",
    "submitted",
    "hit_id",
    "hit_type_id",
)
_LISTS = ("images_to_label", "images_pos_control", "images_neg_control", "images_all")
_OPTIONAL = ("hit_id", "hit_type_id")


def hit_from_json(data: object, *, item: str, file: str | None = None) -> Hit:
    """Read one published HIT.

    Raises:
        InputError: if a key is missing, unknown or of the wrong type; ``item`` says where.
    """
    if not isinstance(data, Mapping):
        raise InputError("a HIT is a JSON object", item=item, remedy="Compare it with the published files")
    unknown, missing = set(data) - set(PUBLISHED_KEYS), set(PUBLISHED_KEYS) - set(data) - set(_OPTIONAL)
    if unknown or missing:
        words = [f"{word} {', '.join(sorted(names))}" for word, names in (("missing keys:", missing), ("unknown keys:", unknown)) if names]
        raise InputError("; ".join(words), item=item, remedy=f"A published HIT has: {', '.join(PUBLISHED_KEYS)}")
    values: dict[str, Any] = {}
    for key in PUBLISHED_KEYS:
        value = data.get(key)
        if not (_fits(key, value) or (value is None and key in _OPTIONAL)):
            expected = "a list of strings" if key in _LISTS else "true or false" if key == "submitted" else "a string"
            raise InputError(f"{key} is {value!r}", item=item, remedy=f"Expected {expected}")
        values[key] = tuple(value) if isinstance(value, list) else value
    return Hit(**values, file=file)


def _fits(key: str, value: object) -> bool:
    if key in _LISTS:
        return isinstance(value, list) and all(isinstance(image, str) for image in value)
    return isinstance(value, bool if key == "submitted" else str)


def hit_to_json(hit: Hit) -> dict[str, Any]:
    """The published form of one HIT; ``file`` is not part of it."""
    return {key: list(getattr(hit, key)) if key in _LISTS else getattr(hit, key) for key in PUBLISHED_KEYS}


def hits_from_json(text: str, *, file: str) -> list[Hit]:
    """Read a published list of HITs; ``file`` (a name) is kept with every HIT and named in errors.

    Raises:
        InputError: if the text is not such a list.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not JSON ({error})", item=file, remedy="Fetch the file again") from None
    if not isinstance(data, list):
        raise InputError("is not a list of HITs", item=file, remedy="Compare it with the published files")
    return [hit_from_json(entry, item=f"{file}, HIT {number}", file=file) for number, entry in enumerate(data)]


def hits_to_json(hits: Iterable[Hit]) -> str:
    """Write HITs in the published form."""
    return json.dumps([hit_to_json(hit) for hit in hits], indent=2)


def read_hit_file(path: str | Path) -> list[Hit]:
    """Read a file of HITs. Raises :class:`InputError` if it cannot be read."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read ({error})", item=str(path), remedy="Check the path") from error
    return hits_from_json(text, file=Path(path).name)


def write_hit_file(path: str | Path, hits: Iterable[Hit]) -> None:
    """Write a file of HITs; an interrupted write leaves the former file.

    Raises:
        StoreError: the file cannot be written.
    """
    write_atomic(Path(path), hits_to_json(hits).encode())
