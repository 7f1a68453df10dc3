"""Licence names, the same for all sources: ``cc-by-sa-2.0``, ``cc0-1.0``, ``pdm-1.0``, ``all-rights-reserved`` ... Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

__all__ = ["FLICKR_LICENSES", "accepts", "creative_commons"]

FLICKR_LICENSES: Final = {
    "0": "all-rights-reserved",
    "1": "cc-by-nc-sa-2.0",
    "2": "cc-by-nc-2.0",
    "3": "cc-by-nc-nd-2.0",
    "4": "cc-by-2.0",
    "5": "cc-by-sa-2.0",
    "6": "cc-by-nd-2.0",
    "7": "no-known-copyright-restrictions",
    "8": "us-government-work",
    "9": "cc0-1.0",
    "10": "pdm-1.0",
    "11": "cc-by-4.0",
    "12": "cc-by-sa-4.0",
    "13": "cc-by-nd-4.0",
    "14": "cc-by-nc-4.0",
    "15": "cc-by-nc-sa-4.0",
    "16": "cc-by-nc-nd-4.0",
}
"""Flickr's numbers, as ``flickr.photos.licenses.getInfo`` answered on 19 June 2025 (11 to 16 were new then).

A number that is not among them stays what it is: ``flickr-N``."""

_CC: Final = re.compile(r"cc[ -]?(by(?:[ -](?:nc|nd|sa))*|0|zero)(?:[ -](\d(?:\.\d)?))?(?:[ -][a-z-]+)?")


def accepts(wanted: Iterable[str], license_name: str | None) -> bool:
    """Whether a licence is among those wanted; nothing wanted means any. ``cc-by`` stands for all its versions."""
    names = tuple(wanted)
    if not names:
        return True
    if license_name is None:
        return False
    return any(license_name == name or re.fullmatch(re.escape(name) + r"-\d[\d.]*", license_name) for name in names)


def creative_commons(text: str) -> str:
    """The common name of a licence that a service spells its own way (``CC BY-SA 4.0``, ``cc0``, ``pd`` ...)."""
    name = " ".join(text.lower().split())
    if match := _CC.fullmatch(name):
        kind, version = match.group(1).replace(" ", "-"), match.group(2)
        if kind in ("0", "zero"):
            return "cc0-1.0"
        return f"cc-{kind}-{version}" if version else f"cc-{kind}"
    if name in ("pd", "public domain", "pdm"):
        return "public-domain"
    return re.sub(r"[^a-z0-9.]+", "-", name).strip("-") or "unknown"
