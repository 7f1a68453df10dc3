"""Openverse: openly licensed images of many collections, without a key (slowly) or with a token.

Its terms ask for politeness, and a limit of results per question keeps deep searches out: use many precise terms rather
than a large ``max_images``. Openverse tells no dates, so the windows of ``[search]`` cannot be kept; every first page says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx

from retest.errors import SourceError
from retest.sources.api import ApiClient, ApiSource, Busy, Clock
from retest.sources.base import FoundPhoto, Page, Query, decode_cursor, encode_cursor, sift
from retest.sources.licenses import accepts
from retest.sources.limits import RetryParameters, TokenBucket
from retest.sources.search import SearchParameters

__all__ = ["OpenverseSource"]

API_URL: Final = "https://api.openverse.org/v1/images/"
_ANONYMOUS: Final = (20, 20 / 60)
_WITH_TOKEN: Final = (500, 100 / 60)
_REMEDY: Final = "Unset OPENVERSE_TOKEN to search without one, or get a new one: https://api.openverse.org/v1/#tag/auth"


class OpenverseSource(ApiSource):
    """Images known to Openverse; the engine's own id is its UUID.

    Args:
        parameters: the section ``[search]``; dates and sort order do not apply.
        hand_terms: wnid -> terms that replace those of the class.
        token: an OAuth access token, never shown; it allows larger pages and a faster pace.
    """

    name = "openverse"

    def __init__(
        self,
        *,
        parameters: SearchParameters | None = None,
        hand_terms: Mapping[str, Sequence[str]] | None = None,
        token: str = "",
        url: str = API_URL,
        user_agent: str = "retest",
        retry: RetryParameters | None = None,
        clock: Clock | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        # Part of the cursor's meaning: pages of another size start elsewhere.
        self._page_size, pace = _WITH_TOKEN if token else _ANONYMOUS
        client = ApiClient(
            service="Openverse",
            url=url,
            bucket=TokenBucket(rate_per_s=pace, burst=2),
            key_remedy=_REMEDY,
            user_agent=user_agent,
            secret_headers={"Authorization": f"Bearer {token}"} if token else None,
            retry=retry,
            clock=clock,
            transport=transport,
        )
        super().__init__(client, parameters=parameters, hand_terms=hand_terms)

    def page(self, query: Query, cursor: str | None) -> Page:
        """Ask for one page.

        Raises:
            SourceError: Openverse refuses the search, or stays unreachable.
        """
        state = {"page": 1, "size": self._page_size, "taken": 0}
        if cursor is not None:
            state = decode_cursor(cursor, query=query, kinds={"page": int, "size": int, "taken": int})
        if state["size"] > self._page_size:
            raise SourceError("this search was begun with a token", item=query.key, remedy="Set OPENVERSE_TOKEN again to continue it.")
        if query.limit is not None and state["taken"] >= query.limit:
            return Page((), None)
        results, pages = self._client.get(self._question(query, state), _results)
        use = results if query.limit is None else results[: query.limit - state["taken"]]
        photos, skipped = sift(use, read=_photo, refuse=self._violation)
        taken = state["taken"] + len(use)
        more = bool(results) and state["page"] < pages and (query.limit is None or taken < query.limit)
        following = encode_cursor(page=state["page"] + 1, size=state["size"], taken=taken) if more else None
        return Page(photos, following, dict(skipped), self._notes() if cursor is None else ())

    def _question(self, query: Query, state: Mapping[str, int]) -> dict[str, str | int]:
        params: dict[str, str | int] = {"q": query.term, "page": state["page"], "page_size": state["size"]}
        if not self._parameters.safe_search:
            params["mature"] = "true"
        if kinds := sorted({_kind(name) for name in self._parameters.licenses}):
            params["license"] = ",".join(kinds)
        return params

    def _violation(self, _item: Mapping[str, Any], found: FoundPhoto) -> str | None:
        return None if accepts(self._parameters.licenses, found.license) else "license_not_wanted"

    def _notes(self) -> tuple[str, ...]:
        p = self._parameters
        dated = any((p.min_date_taken, p.max_date_taken, p.min_date_uploaded, p.max_date_uploaded))
        return ("Openverse tells no dates: the date window of [search] is not applied",) if dated else ()


def _results(data: Any) -> tuple[list[Mapping[str, Any]], int]:
    if not isinstance(data, dict) or not isinstance(data.get("results"), list):
        raise Busy("an answer without results")
    results: list[Mapping[str, Any]] = [item for item in data["results"] if isinstance(item, dict) and item.get("id")]
    pages = data.get("page_count")
    return results, pages if isinstance(pages, int) else 0


def _photo(item: Mapping[str, Any]) -> FoundPhoto | None:
    url = item.get("url")
    if not isinstance(url, str) or not url.startswith(("https://", "http://")):
        return None
    kind, version = str(item.get("license") or "").lower(), str(item.get("license_version") or "")
    said = {"provider": "provider", "source": "collection", "attribution": "attribution", "license_url": "license_url"}
    details = {name: str(item[key]) for key, name in said.items() if item.get(key)}
    return FoundPhoto(
        source="openverse",
        photo_id=str(item["id"]),
        url=url,
        url_kind="original",
        width=item["width"] if isinstance(item.get("width"), int) else None,
        height=item["height"] if isinstance(item.get("height"), int) else None,
        license=_license(kind, version),
        owner=str(item["creator"]) if item.get("creator") else None,
        title=str(item["title"]) if item.get("title") else None,
        source_page=str(item["foreign_landing_url"]) if item.get("foreign_landing_url") else None,
        details=details,
    )


def _license(kind: str, version: str) -> str | None:
    if not kind:
        return None
    return f"{kind}-1.0" if kind in ("cc0", "pdm") else f"cc-{kind}-{version}".rstrip("-")


def _kind(name: str) -> str:
    """Openverse's own name of a licence: ``cc-by-sa-4.0`` -> ``by-sa``."""
    parts = [part for part in name.split("-") if not part[:1].isdigit()]
    return "-".join(parts[1:] if parts[0] == "cc" and len(parts) > 1 else parts)
