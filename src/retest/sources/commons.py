"""Wikimedia Commons: files that a full-text search finds, with licence, author and dates. No key, but a contact is required."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any, Final

import httpx

from retest.errors import ConfigError, SourceError
from retest.sources.api import ApiClient, ApiSource, Busy, Clock
from retest.sources.base import FoundPhoto, Page, Query, decode_cursor, encode_cursor, sift
from retest.sources.licenses import accepts, creative_commons
from retest.sources.limits import RetryParameters, TokenBucket
from retest.sources.search import SearchParameters, date_bound

__all__ = ["CommonsSource"]

API_URL: Final = "https://commons.wikimedia.org/w/api.php"
THUMB_WIDTH: Final = 1280
"""One of the standard widths; the service answers 429 to others."""
_PAGE_SIZE: Final = 50
_MIMES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp", "image/tiff"})
_SORT: Final = {"date-posted-asc": "create_timestamp_asc", "date-posted-desc": "create_timestamp_desc", "relevance": "relevance"}
_BUSY_CODES: Final = frozenset(
    {"maxlag", "ratelimited", "readonly", "internal_api_error_DBQueryError", "search-error", "cirrussearch-backend-error"}
)
_CONTACT_REMEDY: Final = "Set RETEST_CONTACT to an e-mail address or page where the operators of Wikimedia can reach you."


class CommonsSource(ApiSource):
    """Photos on Wikimedia Commons; the engine's own id is the page id.

    Files wider than 1280 pixels are taken at that standard width (url kind ``thumb_1280``), others as they are
    (``original``). Dates of upload and, where stated, of taking are checked against the windows of ``[search]``; with a
    window of dates taken, files that state none are skipped and counted.

    Args:
        contact: an e-mail address or page of the person who searches; goes into the User-Agent as the service demands.

    Raises:
        ConfigError: there is no contact.
    """

    name = "commons"

    def __init__(
        self,
        *,
        contact: str,
        parameters: SearchParameters | None = None,
        hand_terms: Mapping[str, Sequence[str]] | None = None,
        url: str = API_URL,
        retry: RetryParameters | None = None,
        clock: Clock | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        if not contact.strip() or not contact.isprintable() or not contact.isascii():
            raise ConfigError("Wikimedia Commons requires a contact", remedy=_CONTACT_REMEDY)
        client = ApiClient(
            service="Wikimedia Commons",
            url=url,
            bucket=TokenBucket(rate_per_s=1.0, burst=2),
            key_remedy=_CONTACT_REMEDY,
            user_agent=f"retest ({contact.strip()})",
            retry=retry,
            clock=clock,
            transport=transport,
        )
        super().__init__(client, parameters=parameters, hand_terms=hand_terms)

    def page(self, query: Query, cursor: str | None) -> Page:
        """Ask for one page.

        Raises:
            SourceError: Commons refuses the search, or stays unreachable.
        """
        state: dict[str, Any] = {"continue": {}, "taken": 0}
        if cursor is not None:
            state = decode_cursor(cursor, query=query, kinds={"continue": dict, "taken": int})
        if query.limit is not None and state["taken"] >= query.limit:
            return Page((), None)
        answer = self._client.get(self._question(query, state["continue"]), _checked)
        items = _files(answer)
        use = items if query.limit is None else items[: query.limit - state["taken"]]
        photos, skipped = sift(use, read=_photo, refuse=self._violation)
        taken = state["taken"] + len(use)
        following = answer.get("continue")
        more = isinstance(following, dict) and bool(following) and (query.limit is None or taken < query.limit)
        next_cursor = encode_cursor(**{"continue": following, "taken": taken}) if more else None
        return Page(photos, next_cursor, dict(skipped), self._notes() if cursor is None else ())

    def _question(self, query: Query, going_on: Mapping[str, str | int]) -> dict[str, str | int]:
        return {
            "action": "query",
            "format": "json",
            "formatversion": 2,
            "maxlag": 5,
            "generator": "search",
            "gsrsearch": f"{query.term} filetype:bitmap",
            "gsrnamespace": 6,
            "gsrlimit": _PAGE_SIZE,
            "gsrsort": _SORT.get(self._parameters.sort, "relevance"),
            "prop": "imageinfo",
            "iiprop": "timestamp|user|url|size|mime|sha1|extmetadata",
            "iiextmetadatafilter": "DateTimeOriginal|LicenseShortName|License|LicenseUrl|Artist|ObjectName",
            "iiurlwidth": THUMB_WIDTH,
            **going_on,
        }

    def _violation(self, item: Mapping[str, Any], found: FoundPhoto) -> str | None:
        p = self._parameters
        if str(item["imageinfo"][0].get("mime")) not in _MIMES:
            return "not_a_photo_type"
        if not _within(found.date_uploaded, p.min_date_uploaded, p.max_date_uploaded):
            return "outside_upload_window"
        if not _within(found.date_taken, p.min_date_taken, p.max_date_taken):
            return "no_taken_date" if found.date_taken is None else "outside_taken_window"
        return None if accepts(p.licenses, found.license) else "license_not_wanted"

    def _notes(self) -> tuple[str, ...]:
        if self._parameters.sort in _SORT:
            return ()
        return (f"Wikimedia Commons cannot sort by {self._parameters.sort}: sorted by relevance",)


def _checked(data: Any) -> Mapping[str, Any]:
    if not isinstance(data, dict):
        raise Busy("an answer that is not an object")
    error = data.get("error")
    if isinstance(error, dict):
        code = str(error.get("code", ""))
        if code in _BUSY_CODES:
            raise Busy(f"Wikimedia error {code}")
        raise SourceError(f"Wikimedia Commons refuses the search ({code}: {str(error.get('info', ''))[:200]})", remedy="Check [search].")
    return data


def _files(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The files of an answer in the order of the search; the service returns them unordered, each with its rank."""
    query = answer.get("query")
    pages = query.get("pages") if isinstance(query, dict) else None
    items = [page for page in pages if _is_file(page)] if isinstance(pages, list) else []
    return sorted(items, key=lambda page: (page.get("index", 0), page["pageid"]))


def _is_file(page: Any) -> bool:
    if not isinstance(page, dict) or type(page.get("pageid")) is not int or type(page.get("index", 0)) is not int:
        return False
    info = page.get("imageinfo")
    return isinstance(info, list) and bool(info) and isinstance(info[0], dict)


def _photo(item: Mapping[str, Any]) -> FoundPhoto | None:
    info: Mapping[str, Any] = item["imageinfo"][0]
    width, height = info.get("width"), info.get("height")
    url, kind = info.get("url"), "original"
    if isinstance(width, int) and width > THUMB_WIDTH and info.get("thumburl"):
        url, width, height, kind = info["thumburl"], info.get("thumbwidth"), info.get("thumbheight"), f"thumb_{THUMB_WIDTH}"
    if not isinstance(url, str) or not url.startswith("https://"):
        return None
    described = info.get("extmetadata")
    described = described if isinstance(described, dict) else {}
    said = {name: _plain(value.get("value")) for name, value in described.items() if isinstance(value, dict)}
    details = {
        "file_sha1": info.get("sha1"),
        "original_url": info.get("url") if kind != "original" else None,
        "license_url": said.get("LicenseUrl"),
    }
    name = said.get("LicenseShortName") or said.get("License")
    return FoundPhoto(
        source="commons",
        photo_id=str(item["pageid"]),
        url=url,
        url_kind=kind,
        width=width if isinstance(width, int) else None,
        height=height if isinstance(height, int) else None,
        date_taken=_date(said.get("DateTimeOriginal")),
        date_uploaded=_date(str(info.get("timestamp", "")).replace("T", " ").removesuffix("Z")),
        license=creative_commons(name) if name else None,
        owner=said.get("Artist") or (str(info["user"]) if info.get("user") else None),
        title=said.get("ObjectName") or str(item.get("title", "")).removeprefix("File:") or None,
        source_page=str(info["descriptionurl"]) if info.get("descriptionurl") else None,
        details={key: value for key, value in details.items() if value},
    )


def _within(date: str | None, low: str, high: str) -> bool:
    start, end = date_bound(low, item="min"), date_bound(high, item="max", last=True)
    if start is None and end is None:
        return True
    if date is None:
        return False
    moment = datetime.fromisoformat(date).replace(tzinfo=UTC)
    return (start is None or moment >= start) and (end is None or moment <= end)


def _date(text: str | None) -> str | None:
    """``YYYY-MM-DD HH:MM:SS`` if the text begins with a date (cameras write many forms); None if it does not."""
    if not text:
        return None
    for length in (19, 10):
        head = text[:length]
        try:
            return f"{datetime.fromisoformat(head.replace(':', '-', 2) if head[4:5] == ':' else head):%Y-%m-%d %H:%M:%S}"
        except ValueError:
            continue
    return None


class _TextOf(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def _plain(html: Any) -> str | None:
    """The text of a fragment of HTML."""
    parser = _TextOf()
    parser.feed(str(html or ""))
    parser.close()
    return " ".join("".join(parser.parts).split()) or None
