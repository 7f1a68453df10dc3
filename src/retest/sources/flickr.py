"""Flickr (``flickr.photos.search``): every published option, under the names that the service really knows.

A query is one term of one class. Only the first 4,000 results of a query are real, so a query that has more is cut into
windows of dates by bisection until each is comfortably small. Every returned photo is checked against the window asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NoReturn

import httpx

from retest.errors import ConfigError, SourceError
from retest.sources.api import ApiClient, ApiSource, Busy, Clock
from retest.sources.base import FoundPhoto, Page, Query, sift
from retest.sources.flickr_windows import PAGE_SIZE, WindowWalk
from retest.sources.licenses import FLICKR_LICENSES, accepts
from retest.sources.limits import RetryParameters, TokenBucket
from retest.sources.search import SearchParameters, date_bound

__all__ = ["URL_KINDS", "FlickrKey", "FlickrSource", "read_flickr_key"]

API_URL: Final = "https://api.flickr.com/services/rest/"
URL_KINDS: Final = ("url_o", "url_k", "url_h", "url_l", "url_c", "url_z", "url_m")
"""The sizes of a photo, best first: original, 2048, 1600, 1024, 800, 640, 500 pixels (method, section 1)."""

_EXTRAS: Final = ("license", "date_upload", "date_taken", "owner_name", "media", *URL_KINDS)
_BUSY_CODES: Final = {"10": "search is unavailable", "105": "the service is unavailable", "106": "the operation failed for now"}
_KEY_REMEDY: Final = "Set FLICKR_API_KEY, or give a key file that holds the JSON list [key, secret]; keys come from https://www.flickr.com/services/api/keys/"
_QUERIES_PER_S: Final = 3600 / 3600


@dataclass(frozen=True, slots=True)
class FlickrKey:
    """An API key; never shown. Searching public photos needs no signature, so the secret is only kept."""

    key: str = field(repr=False)
    secret: str = field(default="", repr=False)


def read_flickr_key(environment: Mapping[str, str], *, key_file: Path | str | None = None) -> FlickrKey:
    """The key from a file as the published tool took it (a JSON list ``[key, secret]``), else from the environment.

    Raises:
        ConfigError: there is none, or the file is not such a list; its content is never repeated.
    """
    if key_file is None:
        key = environment.get("FLICKR_API_KEY", "").strip()
        if not key:
            raise ConfigError("there is no key for Flickr", remedy=_KEY_REMEDY)
        return FlickrKey(key, environment.get("FLICKR_API_SECRET", "").strip())
    try:
        values = json.loads(Path(key_file).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"the key file cannot be read ({error.strerror})", item=str(key_file), remedy=_KEY_REMEDY) from None
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, list) or len(values) not in (1, 2) or not all(isinstance(v, str) and v for v in values):
        raise ConfigError("the key file is not a JSON list [key, secret]", item=str(key_file), remedy=_KEY_REMEDY)
    return FlickrKey(*values)


class FlickrSource(ApiSource):
    """Photos on Flickr; passes the source conformance suite against the shipped fake server.

    Args:
        key: see :func:`read_flickr_key`.
        parameters: the section ``[search]``.
        hand_terms: wnid -> terms that replace those of the class.
        url: another address of the service, for a proxy or the fake server.
    """

    name = "flickr"

    def __init__(
        self,
        key: FlickrKey,
        *,
        parameters: SearchParameters | None = None,
        hand_terms: Mapping[str, Sequence[str]] | None = None,
        url: str = API_URL,
        user_agent: str = "retest",
        retry: RetryParameters | None = None,
        clock: Clock | None = None,
        queries_per_s: float = _QUERIES_PER_S,
        timeout_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._key = key
        parameters = parameters or SearchParameters()
        self._window = _Window.of(parameters)
        self._licenses = _license_ids(parameters.licenses)
        client = ApiClient(
            service="Flickr",
            url=url,
            bucket=TokenBucket(rate_per_s=queries_per_s, burst=5),
            key_remedy=_KEY_REMEDY,
            user_agent=user_agent,
            secret_params={"api_key": key.key},
            retry=retry,
            clock=clock,
            timeout_s=timeout_s,
            transport=transport,
        )
        super().__init__(client, parameters=parameters, hand_terms=hand_terms)

    def page(self, query: Query, cursor: str | None) -> Page:
        """Ask for one page of one window.

        Raises:
            SourceError: Flickr refuses the key or the search, or stays unreachable.
        """
        by_taken = self._parameters.sort.startswith("date-taken")
        low, high = self._window.taken if by_taken else self._window.uploaded
        walk = WindowWalk.start(low, high) if cursor is None else WindowWalk.read(cursor, query=query)
        if query.limit is not None and walk.taken >= query.limit:
            return Page((), None, notes=("max_images leaves no results for this term",) if query.limit == 0 else ())
        answer = self._client.get(self._question(query, walk, by_taken=by_taken), lambda data: _Answer.of(data, query, self._key))
        step = walk.after(
            ids=[str(item.get("id")) for item in answer.items],
            total=answer.total,
            pages=answer.pages,
            limit=query.limit,
            descending=self._parameters.sort.endswith("desc"),
        )
        photos, skipped = sift(answer.items[: step.use], read=_photo, refuse=self._violation)
        if step.repeated:
            skipped["repeated"] = step.repeated
        notes = step.notes
        if step.cut and not self._parameters.sort.startswith("date-"):
            notes = (*notes, f"more results than one question may have: the order {self._parameters.sort} holds within date windows only")
        return Page(photos, step.cursor, dict(skipped), notes)

    def _question(self, query: Query, walk: WindowWalk, *, by_taken: bool) -> dict[str, str | int]:
        params: dict[str, str | int] = {
            "method": "flickr.photos.search",
            "format": "json",
            "nojsoncallback": 1,
            "text": query.term,
            "sort": self._parameters.sort,
            "media": "photos",
            "content_type": 1,
            "safe_search": 1 if self._parameters.safe_search else 3,
            "extras": ",".join(_EXTRAS),
            "per_page": PAGE_SIZE,
            "page": walk.page,
        }
        if self._licenses:
            params["license"] = ",".join(self._licenses)
        uploaded = walk.window if not by_taken else self._window.uploaded
        taken = walk.window if by_taken else self._window.taken
        for name, bound, is_taken in (
            ("min_upload_date", uploaded[0], False),
            ("max_upload_date", uploaded[1], False),
            ("min_taken_date", taken[0], True),
            ("max_taken_date", taken[1], True),
        ):
            if bound is not None:
                params[name] = f"{datetime.fromtimestamp(bound, UTC):%Y-%m-%d %H:%M:%S}" if is_taken else bound
        return params

    def _violation(self, item: Mapping[str, Any], found: FoundPhoto) -> str | None:
        return self._window.violation(item) or (None if accepts(self._parameters.licenses, found.license) else "license_not_wanted")


@dataclass(frozen=True, slots=True)
class _Window:
    """Bounds in seconds, both inclusive, None where open; taken dates count as if they were UTC."""

    uploaded: tuple[int | None, int | None]
    taken: tuple[int | None, int | None]

    @classmethod
    def of(cls, parameters: SearchParameters) -> _Window:
        def bounds(kind: str) -> tuple[int | None, int | None]:
            low = date_bound(getattr(parameters, f"min_date_{kind}"), item=f"min_date_{kind}")
            high = date_bound(getattr(parameters, f"max_date_{kind}"), item=f"max_date_{kind}", last=True)
            return (int(low.timestamp()) if low else None, int(high.timestamp()) if high else None)

        return cls(bounds("uploaded"), bounds("taken"))

    def violation(self, item: Mapping[str, Any]) -> str | None:
        """Why a returned photo does not belong to the window asked for; the service is not trusted with this."""
        if not _within(_integer(item.get("dateupload")), self.uploaded):
            return "outside_upload_window"
        return None if _within(_taken_s(item.get("datetaken")), self.taken) else "outside_taken_window"


def _within(value: int | None, bounds: tuple[int | None, int | None]) -> bool:
    low, high = bounds
    if value is None:
        return low is None and high is None
    return (low is None or value >= low) and (high is None or value <= high)


def _taken_s(text: Any) -> int | None:
    try:
        return int(datetime.fromisoformat(str(text)).replace(tzinfo=UTC).timestamp())
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class _Answer:
    """One page as Flickr sent it, with its numbers as numbers."""

    items: list[Mapping[str, Any]]
    total: int
    pages: int

    @classmethod
    def of(cls, data: Any, query: Query, key: FlickrKey) -> _Answer:
        if not isinstance(data, dict) or data.get("stat") != "ok":
            _refused(data if isinstance(data, dict) else {}, query, key)
        photos = data.get("photos")
        if not isinstance(photos, dict) or not isinstance(items := photos.get("photo"), list):
            raise Busy("an answer without photos")
        usable: list[Mapping[str, Any]] = [item for item in items if isinstance(item, dict) and item.get("id")]
        return cls(usable, _integer(photos.get("total")) or 0, _integer(photos.get("pages")) or 0)


def _refused(data: Mapping[str, Any], query: Query, key: FlickrKey) -> NoReturn:
    code, message = str(data.get("code", "")), str(data.get("message", "no message")).replace(key.key, "...")[:200]
    if code in _BUSY_CODES or not code:
        raise Busy(f"Flickr error {code or 'without a code'}: {_BUSY_CODES.get(code, message)}")
    if code == "100":
        raise SourceError("Flickr does not know this API key (error 100)", remedy=_KEY_REMEDY)
    raise SourceError(f"Flickr refuses the search (error {code}: {message})", item=f"{query.wnid} {query.term!r}", remedy="Check [search].")


def _photo(item: Mapping[str, Any]) -> FoundPhoto | None:
    kind = next((k for k in URL_KINDS if isinstance(item.get(k), str) and item[k].startswith(("https://", "http://"))), None)
    if kind is None:
        return None
    size = kind.removeprefix("url_")
    uploaded = _integer(item.get("dateupload"))
    owner = str(item.get("owner") or "")
    details = {"owner_id": owner} if owner else {}
    if str(item.get("datetakenunknown", "0")) == "1":
        details["date_taken_unknown"] = "1"
    license_id = item.get("license")
    return FoundPhoto(
        source="flickr",
        photo_id=str(item["id"]),
        url=item[kind],
        url_kind=kind,
        width=_integer(item.get(f"width_{size}")),
        height=_integer(item.get(f"height_{size}")),
        date_taken=str(item["datetaken"]) if item.get("datetaken") else None,
        date_uploaded=_moment(uploaded),
        license=None if license_id is None else FLICKR_LICENSES.get(str(license_id), f"flickr-{license_id}"),
        owner=str(item.get("ownername") or owner) or None,
        title=_text(item.get("title")),
        source_page=f"https://www.flickr.com/photos/{owner}/{item['id']}" if owner else None,
        details=details,
    )


def _moment(seconds: int | None) -> str | None:
    try:
        return None if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):  # no year has it
        return None


def _text(value: Any) -> str | None:
    if isinstance(value, dict):  # some formats wrap it
        value = value.get("_content")
    return str(value) if value else None


def _integer(value: Any) -> int | None:
    try:
        return int(str(value).replace(",", ""))
    except ValueError:
        return None


def _license_ids(names: Sequence[str]) -> tuple[str, ...]:
    ids = tuple(number for number, name in FLICKR_LICENSES.items() if names and accepts(names, name))
    if names and not ids:
        known = ", ".join(FLICKR_LICENSES.values())
        raise ConfigError(f"Flickr has none of {', '.join(names)}", item="licenses", remedy=f"Its licences are: {known}.")
    return ids
