"""The study's blobs: image variants, opaque copies, prediction files, partial results.

One seam over obstore: a local folder, S3 (and whatever else obstore reaches), or memory for tests. Keys are relative,
``/``-separated names without control characters; the last part must not end in ``#`` and digits (local folders name unfinished
files so), and no key is the folder of another. :meth:`BlobStore.put_new` never overwrites and is atomic: after a crash a key
holds all of its bytes or does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, MemoryStore, from_url

from retest.errors import NotFoundError, StoreError, UsageError


class BlobStore(Protocol):
    """Contract of the blob seam; ``retest.testing.blobs`` is its conformance suite.

    Every method raises :class:`UsageError` for what is no key, and :class:`StoreError` when the store fails.
    """

    def put_new(self, key: str, data: bytes) -> bool:
        """Store bytes unless the key exists. True when stored, False when the key was there (its bytes stay)."""

    def put(self, key: str, data: bytes) -> None:
        """Store bytes, replacing what the key held; readers see the old or the new bytes, never a mixture."""

    def get(self, key: str) -> bytes:
        """The bytes of a key; NotFoundError when there are none."""

    def exists(self, key: str) -> bool:
        """Whether the key holds bytes."""

    def size(self, key: str) -> int | None:
        """Number of bytes, or None when the key does not exist."""

    def mark(self, key: str) -> str | None:
        """A short text that another content of the key does not have (for a folder: another file or time), or None without the key.

        What was once found out about the content still holds while the mark is the same. It costs no more than :meth:`size`.
        """

    def list(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """(key, size in bytes) of every key below a folder-like prefix (``a`` holds ``a/b``, not ``ab``), sorted by key."""

    def delete(self, key: str) -> None:
        """Remove a key; removing one that does not exist is no error."""

    def location(self, key: str) -> str:
        """Where a person finds the blob (a path or a URL)."""

    def signed_url(self, key: str, *, seconds: int) -> str | None:
        """An address at which anybody may read the key for so long (S3: up to seven days); None for stores without (folders, memory).

        The store is not asked: whether the key exists is not known.
        """


class ObjectStore:
    """A :class:`BlobStore` over any obstore back end."""

    def __init__(self, store: Any, *, root: str) -> None:
        self._store = store
        self._root = root.rstrip("/")

    def put_new(self, key: str, data: bytes) -> bool:
        try:
            obstore.put(self._store, _checked(key), data, mode="create")
        except AlreadyExistsError:
            return False
        except (BaseError, OSError) as error:
            raise self._explained(key, error) from error
        return True

    def put(self, key: str, data: bytes) -> None:
        try:
            obstore.put(self._store, _checked(key), data)
        except (BaseError, OSError) as error:
            raise self._explained(key, error) from error

    def get(self, key: str) -> bytes:
        try:
            return bytes(obstore.get(self._store, _checked(key)).bytes())
        except (BaseError, OSError) as error:
            if _says_absent(error):
                raise NotFoundError("the blob store holds no such key", item=key, remedy="Run retest check --repair") from error
            raise self._explained(key, error) from error

    def exists(self, key: str) -> bool:
        return self.size(key) is not None

    def size(self, key: str) -> int | None:
        found = self._head(key)
        return None if found is None else int(found["size"])

    def mark(self, key: str) -> str | None:
        found = self._head(key)
        if found is None:
            return None
        # Every store that obstore knows tells an ETag; without one nothing may be remembered for longer than its time says.
        return f"{found['size']}-{found['e_tag'] or found['last_modified'].isoformat()}"

    def _head(self, key: str) -> Any:
        try:
            return obstore.head(self._store, _checked(key))
        except (BaseError, OSError) as error:
            if _says_absent(error):
                return None
            raise self._explained(key, error) from error

    def list(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        folder = _checked(prefix.removesuffix("/")) if prefix else None
        try:
            found = [(meta["path"], int(meta["size"])) for batch in obstore.list(self._store, prefix=folder) for meta in batch]
        except (BaseError, OSError) as error:
            if not _says_absent(error):
                raise self._explained(prefix or self._root, error) from error
            found = []
        yield from sorted(found)

    def delete(self, key: str) -> None:
        try:
            obstore.delete(self._store, _checked(key))
        except (BaseError, OSError) as error:
            if not _says_absent(error):
                raise self._explained(key, error) from error

    def location(self, key: str) -> str:
        return f"{self._root}/{_checked(key)}"

    def signed_url(self, key: str, *, seconds: int) -> str | None:
        checked = _checked(key)
        if isinstance(self._store, (LocalStore, MemoryStore)):
            return None
        try:
            return str(obstore.sign(self._store, "GET", checked, timedelta(seconds=seconds)))
        except ValueError:  # a back end that obstore cannot sign for
            return None
        except (BaseError, OSError) as error:
            raise self._explained(key, error) from error

    def _explained(self, key: str, error: Exception) -> StoreError:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        full = "No space left" in str(error) or getattr(error, "errno", None) == 28
        remedy = "Free some space and run the same command again" if full else "Check the store's address, credentials and permissions"
        return StoreError(f"the blob store failed ({first_line[:200]})", item=key, remedy=remedy)


def _says_absent(error: Exception) -> bool:
    # Local folders say so of a/b/c where a/b is a file.
    return isinstance(error, FileNotFoundError) or "Not a directory" in str(error)


def _checked(key: str) -> str:
    parts = key.split("/")
    strange = any(part in {"", ".", ".."} for part in parts) or "\\" in key or re.search(r"[\x00-\x1f\x7f]|#[0-9]+\Z", key)
    if strange:
        raise UsageError("not a valid blob key", item=key, remedy="Keys are relative names such as images/original/ID.jpg")
    return key


def open_blobs(location: str, *, base: Path | str) -> BlobStore:
    """Open the blob store at ``location``: ``memory://``, a URL such as ``s3://bucket/prefix``, or a folder (relative to ``base``).

    S3 end-point, region and credentials come from the usual ``AWS_*`` environment variables.

    Raises:
        StoreError: the address is of no known kind, or the folder cannot be made.
    """
    if location == "memory://":
        return ObjectStore(MemoryStore(), root=location)
    if "://" in location:
        try:
            return ObjectStore(from_url(location), root=location)
        except (BaseError, ValueError) as error:
            raise StoreError("cannot open the blob store", item=location, remedy=str(error).splitlines()[0]) from error
    folder = (Path(base) / location).resolve()
    try:
        return ObjectStore(LocalStore(folder, mkdir=True), root=str(folder))
    except (BaseError, OSError) as error:
        remedy = "Check the path and the permissions of its folder"
        raise StoreError(f"cannot make the folder of the blob store ({error})", item=str(folder), remedy=remedy) from error
