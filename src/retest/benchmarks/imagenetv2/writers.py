"""Records -> the published JSON objects: the inverse of the readers. Pure functions without I/O.

Reading what these write gives equal records back. What the published formats cannot hold is written under further keys,
which the published project's own code ignores: an exclusion's user and time, a candidate's licence, parent terms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from retest.benchmarks.imagenetv2.mturk import HASHED, RESERVED_HIT_FILE
from retest.benchmarks.imagenetv2.records import (
    REFERENCE_SOURCE,
    AdditionalImages,
    HitExclusion,
    PublishedReview,
    is_candidate_id,
)
from retest.benchmarks.imagenetv2.search import CANDIDATE_KEYS, EXTRA_KEYS, FIRST_FILE, LAST_FILE, UNKNOWN_DATE
from retest.records import Assignment, Candidate, ClassInfo, ClassReview, DuplicateOccurrence, Exclusion, Hit, Revision

__all__ = [
    "additional_images_json",
    "assignments_json",
    "class_info_json",
    "class_reviews_json",
    "exclusions_json",
    "hit_exclusions_json",
    "hits_json",
    "near_duplicates_json",
    "neighbor_reviews_json",
    "revision_json",
    "search_results_json",
    "similar_classes_json",
    "wikipedia_pages_json",
]

Json = dict[str, Any]

_DATES = ("date_upload_our_db", "date_taken", "date_upload_search_engine")
_ALWAYS = frozenset({*CANDIDATE_KEYS} - {"url_type"})
_SAMPLES_OF_ORIGINALS = "sample_val_"
# The order of the published files; every key that is not here comes before time_string, in its own order.
_REVISION_START = (
    "target_size",
    "selection_frequency_threshold",
    "histogram_bins",
    "min_num_annotations",
    "min_num_annotations_candidates",
    "min_num_annotations_val",
    "min_num_val_images_per_wnid",
    "near_duplicate_review_targets",
)


def class_info_json(classes: Iterable[ClassInfo]) -> list[Json]:
    """``class_info.json``, ordered by class index."""
    rows: list[Json] = []
    for info in sorted(classes, key=lambda info: info.cid):
        row: Json = {"cid": info.cid, "wnid": info.wnid, "synset": list(info.synset), "gloss": info.gloss}
        if info.parent_terms:
            row["parent_terms"] = list(info.parent_terms)
        rows.append(row)
    return rows


def similar_classes_json(classes: Iterable[ClassInfo]) -> dict[str, list[str]]:
    """``wnid_to_most_similar_wnids.json``; classes without similar classes are left out."""
    return {info.wnid: list(info.most_similar) for info in sorted(classes, key=lambda info: info.cid) if info.most_similar}


def wikipedia_pages_json(classes: Iterable[ClassInfo]) -> dict[str, list[str]]:
    """``wikipedia_pages.json``; classes without pages are left out."""
    return {info.wnid: list(info.wikipedia_pages) for info in sorted(classes, key=lambda info: info.cid) if info.wikipedia_pages}


def exclusions_json(exclusions: Iterable[Exclusion]) -> dict[str, str | dict[str, str]]:
    """``candidate_blacklist.json``: the reason as a text, or an object where there is more to say."""
    result: dict[str, str | dict[str, str]] = {}
    for row in sorted(exclusions, key=lambda row: row.candidate_id):
        extra = {key: value for key, value in (("detail", row.detail), ("user", row.user), ("time", row.time)) if value}
        result[row.candidate_id] = {"reason": row.reason, **extra} if extra else row.reason
    return result


def search_results_json(candidates: Iterable[Candidate], occurrences: Iterable[DuplicateOccurrence] = ()) -> dict[str, list[Json]]:
    """File name -> list of records for ``search_results/``.

    Each record goes to the file it came from. Candidates that came from no such file are written to a file that sorts
    first, duplicate occurrences to one that sorts last, so that on reading the candidate comes first. Candidates that are
    only known by reference are not written.
    """
    files: dict[str, list[Json]] = {}
    for candidate in candidates:
        if candidate.source != REFERENCE_SOURCE:
            file = candidate.query.get("file")
            files.setdefault(file if isinstance(file, str) else FIRST_FILE, []).append(_candidate_json(candidate))
    for occurrence in occurrences:
        files.setdefault(occurrence.file or LAST_FILE, []).append(_occurrence_json(occurrence))
    return dict(sorted(files.items()))


def hits_json(hits: Iterable[Hit]) -> dict[str, list[Json]]:
    """File name -> list of HITs for ``mturk/hit_data_live/``; HITs of no file go to one of their own."""
    files: dict[str, list[Json]] = {}
    for hit in hits:
        row = {
            "wnid": hit.wnid,
            "images_to_label": list(hit.images_to_label),
            "images_pos_control": list(hit.images_pos_control),
            "images_neg_control": list(hit.images_neg_control),
            "images_all": list(hit.images_all),
            "user": hit.user,
            "uuid": hit.uuid,
            "time": hit.time,
            "submitted": hit.submitted,
            "hit_id": hit.hit_id,
            "hit_type_id": hit.hit_type_id,
        }
        files.setdefault(hit.file or RESERVED_HIT_FILE, []).append(row)
    return dict(sorted(files.items()))


def hit_exclusions_json(exclusions: Iterable[HitExclusion]) -> dict[str, str]:
    """``hit_blacklist_live.json``. Leave out HITs of ignored files, which reading excludes by their file."""
    return {row.hit_uuid: row.reason for row in exclusions}


def assignments_json(assignments: Iterable[Assignment]) -> Json:
    """``mturk/results/*.json``, marked so that the hashed worker names are not hashed again on reading."""
    by_hit: dict[str, Json] = {}
    for row in assignments:
        by_hit.setdefault(row.hit_uuid, {})[row.id] = {
            "WorkerId": row.worker,
            "AssignmentStatus": row.status.value,
            "AcceptTime": row.accept_time,
            "SubmitTime": row.submit_time,
            "Answer": list(row.selected),
        }
    return {"worker_ids": HASHED, "assignments": by_hit}


def additional_images_json(plans: Iterable[AdditionalImages]) -> dict[str, dict[str, list[str]]]:
    """``additional_pos_val_images_for_20_per_wnid.json``."""
    return {
        plan.wnid: {"pos_control": list(plan.pos_control), "candidates": list(plan.candidates), "neg_control": list(plan.neg_control)}
        for plan in plans
    }


def near_duplicates_json(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """``near_duplicates.json``, sorted. A pair listed from the original image is turned round: the published keys are candidates."""
    lists: dict[str, dict[str, None]] = {}
    for first, second in pairs:
        if not is_candidate_id(first) and is_candidate_id(second):
            first, second = second, first
        lists.setdefault(first, {})[second] = None
    return {first: list(lists[first]) for first in sorted(lists)}


def neighbor_reviews_json(reviews: Iterable[PublishedReview]) -> dict[str, Json]:
    """``nearest_neighbor_reviews_v2.json``. Near-duplicates among the references are in :func:`near_duplicates_json`."""
    result: dict[str, Json] = {}
    for published in reviews:
        review = published.review
        entry: Json = {"reviewer": review.reviewer, "date": review.time, "references": list(review.references)}
        if published.threshold is not None:
            entry["threshold"] = published.threshold
        result.setdefault(review.candidate_id, {})[review.metric] = entry
    return result


def revision_json(revision: Revision) -> Json:
    """``datasets/<name>.json``, keys in the published order."""
    parameters = dict(revision.parameters)
    output = {"output_filename": parameters.pop("output_filename")} if "output_filename" in parameters else {}
    upward = {"allow_upward_sampling": parameters.pop("allow_upward_sampling")} if "allow_upward_sampling" in parameters else {}
    thresholds = {"wnid_thresholds": parameters.pop("wnid_thresholds")} if "wnid_thresholds" in parameters else {}
    start = {key: parameters.pop(key) for key in _REVISION_START if key in parameters}
    result: Json = {"sampling_function": revision.sampling_function, **start, **parameters}
    result.update(time_string=revision.time, username=revision.user, seed=revision.seed)
    result["image_filenames"] = [[image, wnid] for image, wnid in revision.images]
    if not (revision.is_valid and revision.sampling_function.startswith(_SAMPLES_OF_ORIGINALS)):
        result["is_valid"] = revision.is_valid
    result.update(upward)
    if revision.starting_from is not None:
        result["starting_from"] = f"{revision.starting_from}.json"
    return {**result, **thresholds, **output}


def class_reviews_json(reviews: Iterable[ClassReview]) -> dict[str, dict[str, dict[str, bool]]]:
    """Revision name -> content of ``dataset_reviews/<name>_review.json``."""
    result: dict[str, dict[str, dict[str, bool]]] = {}
    for row in reviews:
        result.setdefault(row.revision, {})[row.wnid] = {"problematic": row.problematic, "reviewed": row.reviewed}
    return result


def _candidate_json(candidate: Candidate) -> Json:
    row: Json = {}
    for key, name in CANDIDATE_KEYS.items():
        value = getattr(candidate, name)
        if value is None and key in _DATES:
            value = f"{UNKNOWN_DATE} 00:00:00"
        if value is not None or key in _ALWAYS:
            row[key] = value
    query, nested = _split_query(candidate.query)
    row.update(query)
    if nested:
        row["query"] = nested
    row.update({key: value for key in EXTRA_KEYS if (value := getattr(candidate, key)) is not None})
    return row


def _split_query(query: Mapping[str, Any]) -> tuple[Json, Json]:
    """Search parameters as published (flat), and those whose names would hide another key."""
    taken = {*CANDIDATE_KEYS, *EXTRA_KEYS, "query"}
    # A file name that is no text would not be read back from where the record lies.
    flat = {key: value for key, value in query.items() if key not in taken and not (key == "file" and isinstance(value, str))}
    nested = {key: value for key, value in query.items() if key in taken}
    return flat, nested


def _occurrence_json(occurrence: DuplicateOccurrence) -> Json:
    return {
        "id_ours": occurrence.candidate_id,
        "id_search_engine": occurrence.photo_id,
        "url": "",
        "wnid": occurrence.wnid,
        "search_key": occurrence.search_key,
        "search_engine": occurrence.source,
    }
