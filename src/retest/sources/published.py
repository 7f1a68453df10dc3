"""Candidates in the form of the published search-result files, both ways: names of keys only, no files (see ``table``)."""

from __future__ import annotations

from typing import Any, Final

from retest.records import Candidate

__all__ = ["COLUMNS", "DETAIL_COLUMNS", "published_record"]

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "url": ("url", "image_url"),
    "wnid": ("wnid", "class", "label"),
    "photo_id": ("id_search_engine", "photo_id"),
    "source": ("search_engine", "source"),
    "candidate_id": ("id_ours", "candidate_id"),
    "url_kind": ("url_type", "url_kind"),
    "width": ("width",),
    "height": ("height",),
    "date_taken": ("date_taken",),
    "date_uploaded": ("date_upload_search_engine", "date_uploaded"),
    "license": ("license",),
    "owner": ("owner",),
    "title": ("title",),
    "source_page": ("source_page",),
    "search_key": ("search_key",),
    "found_by": ("uploader", "found_by"),
    "date_found": ("date_upload_our_db", "date_found"),
}
"""Field of a found photo -> the column names it is read from, the published name first."""

DETAIL_COLUMNS: Final = (
    "min_taken_date",
    "max_taken_date",
    "min_uploaded_date",
    "max_uploaded_date",
    "search_sort",
    "max_images",
    "batch",
    "source_filename",
    "owner_id",
    "date_taken_unknown",
    "provider",
    "collection",
    "attribution",
    "license_url",
    "file_sha1",
    "original_url",
)
"""Columns that describe the search, or what only some sources know; they are kept in a candidate's ``query`` under these names."""

_NEW: Final = ("license", "owner", "title", "source_page")


def published_record(candidate: Candidate) -> dict[str, Any]:
    """A candidate as one record of a published search-result file.

    Licence, owner, title and source page follow under their own names where known; the published study did not keep them.
    """
    record: dict[str, Any] = {
        "id_ours": candidate.id,
        "id_search_engine": candidate.photo_id,
        "url": candidate.url,
        "wnid": candidate.wnid,
        "search_key": candidate.search_key,
        "search_engine": candidate.source,
        "uploader": candidate.uploader,
        "date_upload_our_db": candidate.date_found,
        "date_taken": candidate.date_taken,
        "date_upload_search_engine": candidate.date_uploaded,
        "width": candidate.width,
        "height": candidate.height,
    }
    if candidate.url_kind is not None:
        record["url_type"] = candidate.url_kind
    record.update(candidate.query)
    record.update({name: getattr(candidate, name) for name in _NEW if getattr(candidate, name) is not None})
    return record
