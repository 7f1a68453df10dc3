"""Versions of the key that makes opaque names: which one is current, which are still accepted, which are retired.

Rotation (method, section 3): a new version is added and its copies are written beside the old ones; then it is the current one, under
which images are shown from now on, while pages that are open go on with the old one; then the old one is retired and its copies go.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from retest.errors import ConflictError
from retest.store import Tables

__all__ = ["KEY_VARIABLE", "KeyVersions", "current_key_version", "environment_key", "key_fingerprint"]

KEY_VARIABLE = "RETEST_OPAQUE_KEY"
_SETTING = "opaque_keys"


@dataclass(frozen=True, slots=True)
class KeyVersions:
    """``current`` is the version under which images are shown; ``fingerprints`` tell by which key a version's names were made."""

    current: int = 1
    retired: tuple[int, ...] = ()
    fingerprints: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, tables: Tables) -> KeyVersions:
        """What the study knows; version 1 is current where nothing was ever rotated."""
        value: dict[str, Any] = tables.settings.get(_SETTING) or {}
        return cls(value.get("current", 1), tuple(value.get("retired", ())), value.get("fingerprints", {}))

    def write(self, tables: Tables) -> None:
        """Keep this."""
        tables.settings.put(_SETTING, {**asdict(self), "retired": sorted(self.retired)})

    @property
    def accepted(self) -> tuple[int, ...]:
        """Versions whose copies must be there: the current one and older ones that are not retired."""
        return tuple(version for version in range(1, self.current + 1) if version not in self.retired)

    def with_key(self, version: int, key: bytes | None) -> KeyVersions:
        """The same, with the key of a version on record.

        Raises:
            ConflictError: other names of this version were made with another key, or without one.
        """
        mark = key_fingerprint(key)
        known = self.fingerprints.get(str(version), mark)
        if known != mark:
            how = "without a key" if not known else "with another key"
            raise ConflictError(
                f"the names of this key version were made {how}",
                item=f"key version {version}",
                remedy=f"Set {variable_of(version)} as it was then, or make all names new with: "
                f"retest publish --key-version {self.current + 1}",
            )
        return KeyVersions(self.current, self.retired, {**self.fingerprints, str(version): mark})


def key_fingerprint(key: bytes | None) -> str:
    """A short text by which a key is recognised but not found; empty for no key."""
    return hmac.new(key, b"retest fingerprint of an opaque key", hashlib.sha256).hexdigest()[:16] if key else ""


def variable_of(version: int) -> str:
    """The environment variable that holds the key of a version."""
    return KEY_VARIABLE if version == 1 else f"{KEY_VARIABLE}_{version}"


def environment_key(environment: Mapping[str, str], version: int) -> bytes | None:
    """The key of a version: RETEST_OPAQUE_KEY for version 1, RETEST_OPAQUE_KEY_2 for version 2, and so on; None where it is not set."""
    return environment.get(variable_of(version), "").encode() or None


def current_key_version(tables: Tables) -> int:
    """The version under which images are shown."""
    return KeyVersions.read(tables).current
