"""From the settings of a study to an open source; modules that use the network are imported only when asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from retest.errors import ConfigError, InputError
from retest.sources.base import Source
from retest.sources.folder import FolderSource
from retest.sources.search import SearchParameters
from retest.sources.table import TableSource

__all__ = ["SOURCE_KINDS", "open_source", "read_hand_terms"]

SOURCE_KINDS: Final = ("flickr", "openverse", "commons", "folder", "table")


def read_hand_terms(path: Path | str) -> dict[str, tuple[str, ...]]:
    """The hand-selected terms of some classes: a JSON object wnid -> list of terms.

    Raises:
        InputError: the file is not that.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot be read as JSON ({error})", item=str(path), remedy="Correct hand_terms in [search].") from error
    if not isinstance(data, dict):
        raise InputError("is not an object wnid -> [terms]", item=str(path), remedy='Write {"n01440764": ["tench", ...]}.')
    for wnid, terms in data.items():
        if not isinstance(terms, list) or not terms or not all(isinstance(term, str) and term.strip() for term in terms):
            raise InputError("the terms are not a list of texts", item=f"{path} {wnid}", remedy='Write {"n01440764": ["tench", ...]}.')
    return {wnid: tuple(terms) for wnid, terms in data.items()}


def open_source(
    kind: str,
    *,
    location: str = "",
    parameters: SearchParameters,
    environment: Mapping[str, str],
    hand_terms: Mapping[str, Sequence[str]] | None = None,
    key_file: Path | str | None = None,
) -> Source:
    """Open a source by its name; the caller closes it.

    Args:
        kind: one of :data:`SOURCE_KINDS`.
        location: the folder or the table; for a web service another address of it, empty for the real one.
        environment: where keys are looked for: FLICKR_API_KEY and FLICKR_API_SECRET, OPENVERSE_TOKEN, RETEST_CONTACT.
        key_file: a Flickr key file (JSON ``[key, secret]``), instead of the environment.

    Raises:
        ConfigError: the kind is unknown, or something that it needs is missing.
    """
    if kind in ("folder", "table"):
        if not location:
            raise ConfigError("there is no location", item=f"source {kind}", remedy="Name the folder or table in [source] location.")
        return FolderSource(location, parameters=parameters) if kind == "folder" else TableSource(location, parameters=parameters)
    if location and not location.startswith(("https://", "http://")):
        raise ConfigError(
            f"{location!r} is no web address", item=f"source {kind}", remedy="Leave [source] location empty for the real service."
        )
    contact = environment.get("RETEST_CONTACT", "").strip()
    options: dict[str, Any] = {"parameters": parameters, "hand_terms": hand_terms} | ({"url": location} if location else {})
    if kind == "flickr":
        from retest.sources.flickr import FlickrSource, read_flickr_key

        return FlickrSource(read_flickr_key(environment, key_file=key_file), user_agent=_agent(contact), **options)
    if kind == "openverse":
        from retest.sources.openverse import OpenverseSource

        return OpenverseSource(token=environment.get("OPENVERSE_TOKEN", "").strip(), user_agent=_agent(contact), **options)
    if kind == "commons":
        from retest.sources.commons import CommonsSource

        return CommonsSource(contact=contact, **options)
    raise ConfigError(f"there is no source {kind!r}", item="kind", remedy=f"Use one of: {', '.join(SOURCE_KINDS)}.")


def _agent(contact: str) -> str:
    return f"retest ({contact})" if contact and contact.isascii() and contact.isprintable() else "retest"
