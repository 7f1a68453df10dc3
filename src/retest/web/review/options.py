"""Options of the review pages, and the key that signs sessions."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from retest.crowd.workers import MIN_KEY_BYTES, check_key
from retest.errors import StoreError, UsageError
from retest.settings import plain_numbers
from retest.web.options import MAKE_A_KEY

__all__ = ["IMAGE_URLS", "KEY_FILE", "KEY_VARIABLE", "ReviewOptions", "session_key"]

ImageUrls = Literal["proxied", "signed", "cached"]
IMAGE_URLS: tuple[ImageUrls, ...] = ("proxied", "signed", "cached")
MAX_IMAGE_URL_S = 7 * 24 * 3600
KEY_VARIABLE = "RETEST_REVIEW_KEY"
KEY_FILE = "review.key"


@dataclass(frozen=True, slots=True, kw_only=True)
@plain_numbers
class ReviewOptions:
    """How the review pages run.

    Args:
        key: signs sessions; whoever has it can be anybody.
        read_only: everybody may look, nobody may decide.
        local_admin: name under which whoever opens the link that the server prints is an admin; None makes no such link. Only for a
            server that nobody but this machine can reach.
        predictions: folders of ``retest evaluate --out`` that reviewers can look at beside the study's own predictions.
        image_cache: folder in which images of a remote blob store are kept, in the layout of ``retest download --local-cache``.
        image_urls: ``proxied``: this server reads images and sends them on; ``signed``: browsers fetch them from the blob store, at
            addresses that are signed and expire; ``cached``: only what lies in ``image_cache`` is shown, the store is never asked.
        image_url_s: seconds until a signed address expires, 60 to 604,800.
    """

    key: bytes = field(repr=False)
    read_only: bool = False
    local_admin: str | None = None
    image_cache: Path | None = None
    image_urls: ImageUrls = "proxied"
    image_url_s: int = 3600
    predictions: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if self.image_urls not in IMAGE_URLS:
            raise UsageError(f"{self.image_urls!r} is not known", item="image_urls", remedy=f"Use one of: {', '.join(IMAGE_URLS)}")
        if not 60 <= self.image_url_s <= MAX_IMAGE_URL_S:
            raise UsageError(
                f"must be 60 to {MAX_IMAGE_URL_S} seconds, is {self.image_url_s}", item="image_url_s", remedy="An hour is the default"
            )
        if self.image_urls == "cached" and self.image_cache is None:
            raise UsageError("there is no cache of images", item="image_urls=cached", remedy="Name its folder with --image-cache")
        if self.image_urls == "signed" and self.image_cache is not None:
            raise UsageError(
                "with signed addresses no image passes through this server, so none is kept",
                item="image_cache",
                remedy="Leave --image-cache out, or serve images proxied",
            )


def session_key(folder: Path, environment: Mapping[str, str]) -> bytes:
    """The key from RETEST_REVIEW_KEY, or from the study's file ``review.key``, which is made when it is missing (mode 0600).

    Raises:
        UsageError: the variable has fewer than 16 bytes.
        StoreError: the file cannot be read or written.
    """
    given = environment.get(KEY_VARIABLE, "").encode()
    if given:
        check_key(given, item=KEY_VARIABLE, remedy=MAKE_A_KEY)
        return given
    path = folder / KEY_FILE
    try:
        return _made_or_read(path)
    except OSError as error:
        raise StoreError(
            f"the key of the sessions cannot be kept ({error.strerror or error})", item=str(path), remedy=f"Set {KEY_VARIABLE} instead"
        ) from error


def _made_or_read(path: Path) -> bytes:
    if not path.exists():
        # Written aside and linked into place: of two servers that start at once, both read the same whole key.
        aside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_urlsafe(32).encode())
            with suppress(FileExistsError):
                os.link(aside, path)
        finally:
            aside.unlink()
    key = path.read_bytes().strip()
    if len(key) < MIN_KEY_BYTES:
        raise OSError(f"it holds only {len(key)} bytes; delete it, and everybody signs in anew")
    return key
