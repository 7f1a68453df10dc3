"""Planted secrets and a search for them in whatever form they may have been written."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

PLANTED = {
    "FLICKR_API_KEY": "flickrkey00a1b2c3d4e5f60718293a4b",
    "FLICKR_API_SECRET": "flickr5ecret9f8e",
    "OPENVERSE_TOKEN": "openverse/Token+with=odd&signs?",
    "AWS_ACCESS_KEY_ID": "AKIAPLANTEDKEYID0042",
    "AWS_SECRET_ACCESS_KEY": "aws/Secret+Key=wJalrXUtnFEMIK7MDENG",
    "AWS_SESSION_TOKEN": "aws-session//Token+IQoJb3JpZ2lu==",
    "RETEST_OPAQUE_KEY": "opaque key \"of\" names / one + two",
    "RETEST_WORKER_KEY": "worker key with <odd> & signs, 32b",
    "RETEST_SERVER_KEY_ID": "planted-requester",
    "RETEST_SERVER_SECRET_KEY": "requester/secret+of=the&server%41",
    "RETEST_REVIEW_KEY": "review key ' that signs sessions ;",
    "PGPASSWORD": "database p@ss/word&of=planted",
}  # fmt: skip
IDENTIFIERS = frozenset({"AWS_ACCESS_KEY_ID", "RETEST_SERVER_KEY_ID"})
"""These say who, as a user name does; services send them back in their answers."""
PROLIFIC_PID = "5f00c0ffee00c0ffee00c0de"


def forms(secret: str) -> Iterator[bytes]:
    """A secret as it may stand in a text: plain, quoted for an address, escaped for JSON or HTML, in base64 or hexadecimal digits."""
    raw = secret.encode()
    texts = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]}
    texts |= {quote(secret, safe="").lower(), secret.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"), repr(secret)[1:-1]}
    yield from (text.encode() for text in texts)
    yield raw.hex().encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for offset in range(3):  # wherever it stands in what was encoded, these digits are the same
            encoded = encode(b"\0" * offset + raw)
            yield encoded[(0, 2, 3)[offset] : len(encoded) - (0, 4, 3)[(offset + len(raw)) % 3] or None]


def found_in(data: bytes, secrets: Mapping[str, str]) -> list[str]:
    """Names of the secrets that bytes hold in any form, compressed ones as well."""
    views = [data]
    for unpack in (zlib.decompress, gzip.decompress):
        try:
            views.append(unpack(data))
        except (zlib.error, OSError, EOFError):
            continue
    return [name for name, secret in secrets.items() if any(form in view for form in forms(secret) for view in views)]


def found_below(folder: Path, secrets: Mapping[str, str], *, but: frozenset[str] = frozenset()) -> dict[str, list[str]]:
    """File -> names of secrets in it or in its name; ``but`` names files that are left out."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in but]
    found = {str(path.relative_to(folder)): found_in(str(path).encode() + b"\n" + path.read_bytes(), secrets) for path in files}
    packed = {str(path.relative_to(folder)): found_in(path.read_bytes(), secrets) for path in files}
    return {name: sorted({*names, *packed[name]}) for name, names in found.items() if names or packed[name]}
