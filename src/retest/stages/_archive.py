"""The form of a backup: pieces under the SHA-256 of their content, and one list per snapshot that names them.

A piece is written once and never changed, so a stopped backup goes on, and a second one adds only what is new. A snapshot exists when its
list does, and the list is written last::

    objects/3f/3fd0...        a blob, or up to 32 MiB of the database or of another file
    snapshots/20260131T090000Z-1c9f2b7a.json
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from retest.errors import InputError, NotFoundError
from retest.store import BlobStore

__all__ = ["Archive", "Piece", "Snapshot"]

_FORMAT = "retest-backup-1"
_PIECE_BYTES = 32 * 1024 * 1024
_NAME = re.compile(r"snapshots/([0-9]{8}T[0-9]{6}Z-[0-9a-f]{8})\.json")


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a backup: their SHA-256 and how many."""

    sha256: str
    size_bytes: int

    @property
    def key(self) -> str:
        return f"objects/{self.sha256[:2]}/{self.sha256}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One moment of a study. ``database``, ``blob_list`` and every file are pieces in order; the blob list is lines of JSON."""

    format: str = _FORMAT
    retest: str
    study: str
    user: str
    time: str
    rows: Mapping[str, int]
    database: tuple[Piece, ...]
    files: Mapping[str, tuple[Piece, ...]] = field(default_factory=dict)
    blob_list: tuple[Piece, ...] = ()
    blobs: int = 0
    blob_bytes: int = 0

    def text(self) -> str:
        """JSON with a checksum of everything else in it."""
        body = asdict(self)
        return json.dumps({**body, "sha256": _checksum(body)}, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _checksum(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class Archive:
    """Backups in a blob store."""

    def __init__(self, blobs: BlobStore) -> None:
        self.blobs = blobs

    def names(self) -> list[str]:
        """Names of the snapshots, oldest first."""
        return sorted(match[1] for key, _ in self.blobs.list("snapshots") if (match := _NAME.fullmatch(key)))

    def read(self, name: str | None = None) -> tuple[str, Snapshot]:
        """A snapshot by name, or the newest.

        Raises:
            NotFoundError: there is none.
            InputError: the list of the snapshot is damaged.
        """
        names = self.names()
        if name is None and names:
            name = names[-1]
        if name not in names:
            known = ", ".join(names) or "none: make one with retest study backup"
            raise NotFoundError("there is no such snapshot", item=name or self.blobs.location("snapshots"), remedy=f"Snapshots: {known}")
        return str(name), _parsed(self.blobs.get(f"snapshots/{name}.json"), str(name))

    def write(self, snapshot: Snapshot) -> str:
        """Let a snapshot exist; returns its name, made of time and content."""
        text = snapshot.text()
        moment = re.sub(r"[^0-9T]", "", snapshot.time[:19])
        name = f"{moment}Z-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        self.blobs.put_new(f"snapshots/{name}.json", text.encode())
        return name

    def has(self, piece: Piece) -> bool:
        """Whether a piece is there with its size; what is in it is checked when it is read."""
        return self.blobs.size(piece.key) == piece.size_bytes

    def add(self, data: bytes) -> tuple[Piece, bool]:
        """Keep bytes; True when they were not there."""
        piece = Piece(hashlib.sha256(data).hexdigest(), len(data))
        if self.has(piece):
            return piece, False
        self.blobs.put(piece.key, data)
        return piece, True

    def get(self, piece: Piece) -> bytes:
        """The bytes of a piece.

        Raises:
            NotFoundError: they are gone.
            InputError: they are not what was stored.
        """
        data = self.blobs.get(piece.key)
        if len(data) != piece.size_bytes or hashlib.sha256(data).hexdigest() != piece.sha256:
            raise InputError("this piece of the backup is damaged", item=piece.key, remedy="Make a new backup while the study is there")
        return data

    def add_file(self, path: Path) -> tuple[Piece, ...]:
        """Keep a file in pieces."""
        pieces = []
        with path.open("rb") as file:
            while data := file.read(_PIECE_BYTES):
                pieces.append(self.add(data)[0])
        return tuple(pieces)

    def lines(self, pieces: tuple[Piece, ...]) -> Iterator[Any]:
        """The values of a file of JSON lines."""
        rest = b""
        for piece in pieces:
            *whole, rest = (rest + self.get(piece)).split(b"\n")
            yield from (json.loads(line) for line in whole if line)

    def entries(self, snapshot: Snapshot) -> Iterator[tuple[str, Piece]]:
        """(key, content) of every blob of a snapshot."""
        for key, sha256, size in self.lines(snapshot.blob_list):
            yield key, Piece(sha256, size)


def _parsed(data: bytes, name: str) -> Snapshot:
    remedy = "Restore another snapshot; see retest study backup --list"
    try:
        body = json.loads(data)
        checksum = body.pop("sha256")
        if body.get("format") != _FORMAT:
            raise InputError(f"has the unknown form {body.get('format')!r}", item=name, remedy="Update retest")
        snapshot = TypeAdapter(Snapshot).validate_python(body)
    except (ValueError, ValidationError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise InputError("the list of this snapshot is damaged", item=name, remedy=remedy) from error
    if checksum != _checksum(body):
        raise InputError("the list of this snapshot does not have its checksum", item=name, remedy=remedy)
    return snapshot
