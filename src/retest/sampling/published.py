"""Revisions and class reviews in the published JSON form, read and written without loss (formats, ``datasets/``)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from retest.errors import InputError
from retest.records import LARGEST_INTEGER, ClassReview, Revision

_ORDER = (
    "sampling_function",
    "target_size",
    "selection_frequency_threshold",
    "min_num_annotations",
    "histogram_bins",
    "min_num_annotations_candidates",
    "min_num_annotations_val",
    "min_num_val_images_per_wnid",
    "near_duplicate_review_targets",
    "time_string",
    "username",
    "seed",
    "image_filenames",
    "is_valid",
    "allow_upward_sampling",
    "starting_from",
    "wnid_thresholds",
    "output_filename",
)
_RECORD_KEYS = frozenset(
    {"sampling_function", "time_string", "username", "seed", "image_filenames", "is_valid", "starting_from", "output_filename"}
)
_FORM = "published_form"
"""Parameter that remembers how a file that was read differs from what :func:`revision_to_published` writes on its own."""

_PUBLISHED_TIME = re.compile(r"(\d{4}-\d{2}-\d{2})_(\d{2}:\d{2}:\d{2})_UTC")
_ISO_TIME = re.compile(r"(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2}:\d{2})\+00:00")


def revision_from_published(document: Mapping[str, Any], *, name: str | None = None) -> Revision:
    """A revision from the published JSON form.

    ``time_string`` becomes ISO-8601; ``.json`` is cut from ``starting_from``. What a file lacks or writes otherwise than
    :func:`revision_to_published` would is kept in ``parameters["published_form"]``, so that writing it again gives an equal
    document. A set without ``is_valid`` (the published sets of original images) is valid.

    Args:
        document: the parsed JSON.
        name: the revision's name, where ``output_filename`` is missing or the file was renamed.

    Raises:
        InputError: the document has no images or no name, or a field has the wrong type.
    """
    if not isinstance(document, Mapping):
        raise InputError("is no revision: an object with image_filenames is expected", item=name, remedy="Check that it is the right file")
    if name is None:
        if not isinstance(document.get("output_filename"), str):
            raise InputError("the revision has no output_filename", remedy="Pass the name, which is the file's name without .json")
        name = document["output_filename"].removesuffix(".json")
    started = document.get("starting_from")
    plain = Revision(
        name=name,
        sampling_function=_text(document, "sampling_function", name),
        images=_images(document, name),
        is_valid=_typed(document, "is_valid", bool, True, name),
        seed=_seed(document, name),
        parameters={key: value for key, value in document.items() if key not in _RECORD_KEYS},
        starting_from=started.removesuffix(".json") if isinstance(started, str) else None,
        user=_text(document, "username", name),
        time=_PUBLISHED_TIME.sub(r"\1T\2+00:00", _text(document, "time_string", name)),
    )
    written = revision_to_published(plain)
    form: dict[str, Any] = {}
    absent = [key for key in written if key not in document]
    literal = {key: document[key] for key in written if key in document and not _equal(document[key], written[key])}
    if absent:
        form["absent"] = absent
    if literal:
        form["literal"] = literal
    if not form:
        return plain
    return replace(plain, parameters={**plain.parameters, _FORM: form})


def revision_to_published(revision: Revision) -> dict[str, Any]:
    """The published JSON form of a revision, keys in the published order; further parameters follow.

    ``json.dumps(..., indent=2)`` of it reproduces the published files byte for byte.
    """
    parameters = dict(revision.parameters)
    form = parameters.pop(_FORM, {})
    values: dict[str, Any] = {
        **parameters,
        "sampling_function": revision.sampling_function,
        "time_string": _ISO_TIME.sub(r"\1_\2_UTC", revision.time),
        "username": revision.user,
        "seed": revision.seed,
        "image_filenames": [list(pair) for pair in revision.images],
        "is_valid": revision.is_valid,
        "starting_from": f"{revision.starting_from}.json" if revision.starting_from else None,
        "output_filename": f"{revision.name}.json",
        **form.get("literal", {}),
    }
    absent = set(form.get("absent", ()))
    keys = [*_ORDER, *(key for key in values if key not in _ORDER)]
    return {key: values[key] for key in keys if key in values and key not in absent}


def revision_text(revision: Revision) -> str:
    """The published file's text, as :func:`json.dumps` with two blanks of indentation."""
    return json.dumps(revision_to_published(revision), indent=2)


def reviews_from_published(revision: str, document: Mapping[str, Any]) -> list[ClassReview]:
    """Class reviews of a revision, sorted by class, from ``{wnid: {"problematic": bool, "reviewed": bool}}``.

    Raises:
        InputError: an entry is not such a pair of flags.
    """
    if not isinstance(document, Mapping):
        raise InputError("is no object of class reviews", item=revision, remedy="Check that it is the right file")
    result = []
    for wnid in sorted(document):
        state = document[wnid]
        if not isinstance(state, Mapping) or not all(isinstance(state.get(key), bool) for key in ("reviewed", "problematic")):
            raise InputError(
                f"the review of class {wnid} is {state!r}, not the flags reviewed and problematic",
                item=revision,
                remedy="Correct the entry in the review file",
            )
        result.append(ClassReview(revision, wnid, reviewed=state["reviewed"], problematic=state["problematic"]))
    return result


def reviews_to_published(reviews: Iterable[ClassReview]) -> dict[str, dict[str, bool]]:
    """The published form of class reviews, sorted by class."""
    ordered = sorted(reviews, key=lambda review: review.wnid)
    return {review.wnid: {"problematic": review.problematic, "reviewed": review.reviewed} for review in ordered}


def _images(document: Mapping[str, Any], name: str) -> tuple[tuple[str, str], ...]:
    pairs = document.get("image_filenames")
    if not isinstance(pairs, list):
        raise InputError("the revision has no list image_filenames", item=name, remedy="Pass a file of the published form")
    for pair in pairs:
        if not (isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(part, str) for part in pair)):
            raise InputError(f"image_filenames holds {pair!r}, not a pair of image and class", item=name, remedy="Correct the file")
    return tuple((image, wnid) for image, wnid in pairs)


def _typed(document: Mapping[str, Any], key: str, kind: type, default: Any, name: str) -> Any:
    value = document.get(key, default)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InputError(f"{key} is {value!r}, not of type {kind.__name__}", item=name, remedy="Correct the file")
    return value


def _seed(document: Mapping[str, Any], name: str) -> int:
    seed: int = _typed(document, "seed", int, 0, name)
    if abs(seed) > LARGEST_INTEGER:
        raise InputError(f"seed is {seed}, which takes more than 64 bits", item=name, remedy="Correct the file")
    return seed


def _text(document: Mapping[str, Any], key: str, name: str) -> str:
    return str(_typed(document, key, str, "", name))


def _equal(one: Any, other: Any) -> bool:
    """Equal as JSON, where true is not 1 and 1 is not 1.0."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
