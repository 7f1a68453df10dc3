"""Where the server listens, under which address people reach it, and which secrets it holds. Secrets come from the environment."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from retest.crowd.workers import check_key
from retest.errors import ConfigError, UsageError
from retest.settings import plain_numbers

__all__ = [
    "KEY_ID_VARIABLE",
    "MAKE_A_KEY",
    "SECRET_VARIABLE",
    "WORKER_KEY_VARIABLE",
    "ServerOptions",
    "is_loopback",
    "keys_from_environment",
    "worker_key_from_environment",
]

KEY_ID_VARIABLE = "RETEST_SERVER_KEY_ID"
SECRET_VARIABLE = "RETEST_SERVER_SECRET_KEY"  # noqa: S105 name of a variable
WORKER_KEY_VARIABLE = "RETEST_WORKER_KEY"
MAKE_A_KEY = "Make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
_MIN_SECRET_LENGTH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
@plain_numbers
class ServerOptions:
    """Options of one run of the server.

    Args:
        host: the address it listens on.
        public_url: the address people use, without a final slash; empty: the loopback address and ``port``.
        port: the port it listens on.
        requester_keys: (access key id, secret); then every request of the protocol must be signed. None serves unsigned ones,
            which is allowed only where nobody but this machine can connect.
        worker_key: at least 16 bytes; turns Prolific ids into worker ids. None closes the way in by Prolific.
        open_workers: accept the worker id in a task's URL as it is. Right for rehearsals and trusted networks only.
        trusted_proxies: addresses or networks of web servers in front whose ``X-Forwarded-For`` is believed; from anybody else, and by
            default, the header counts for nothing: whoever could write it would try tokens under ever new addresses.

    Raises:
        ConfigError: if ``public_url`` is no http(s) address.
        UsageError: if others could reach an unsigned protocol, a key is too short, or a trusted proxy is no address.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    public_url: str = ""
    requester_keys: tuple[str, str] | None = field(default=None, repr=False)
    worker_key: bytes | None = field(default=None, repr=False)
    open_workers: bool = False
    trusted_proxies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for proxy in self.trusted_proxies:
            _check_proxy(proxy)
        if not self.public_url:
            if self.host in ("0.0.0.0", "::"):  # noqa: S104 refused here, not used
                raise UsageError(
                    "the server would listen on every address but does not know its own",
                    item="--host",
                    remedy="Give --public-url, the address that annotators open",
                )
            name = f"[{self.host}]" if ":" in self.host else self.host
            object.__setattr__(self, "public_url", f"http://{name}:{self.port}")
        object.__setattr__(self, "public_url", self.public_url.rstrip("/"))
        parts = urlsplit(self.public_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query or parts.fragment:
            raise ConfigError(
                f"{self.public_url!r} is not the http(s) address of a host",
                item="public_url",
                remedy="For example https://label.example.org, without a path",
            )
        if self.requester_keys is None and not self.is_local:
            raise UsageError(
                "others can reach this server, and without keys anybody could publish, approve and delete",
                item=self.public_url,
                remedy=f"Set {KEY_ID_VARIABLE} and {SECRET_VARIABLE} here and where HITs are submitted",
            )
        if self.worker_key is not None:
            _check_worker_key(self.worker_key)

    @property
    def is_local(self) -> bool:
        """Whether nobody but this machine can reach the server."""
        return is_loopback(self.host) and is_loopback(urlsplit(self.public_url).hostname or "")

    @property
    def hostnames(self) -> frozenset[str]:
        """Names under which the server answers: against pages elsewhere that make their name point here (DNS rebinding)."""
        names = {"127.0.0.1", "::1", "localhost", self.host, urlsplit(self.public_url).hostname or ""}
        return frozenset(name.lower() for name in names if name)


def _check_proxy(address: str) -> None:
    try:
        network = ipaddress.ip_network(address)
    except ValueError:
        network = None
    if network is None or network.prefixlen == 0:
        problem = "is no address or network of a web server in front" if network is None else "would believe everybody"
        raise UsageError(problem, item=f"--trusted-proxy {address}", remedy="For example 127.0.0.1 or 10.0.3.0/24")


def is_loopback(host: str) -> bool:
    """Whether an address or name means this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def keys_from_environment(environment: Mapping[str, str]) -> tuple[str, str] | None:
    """(access key id, secret key) for the requester protocol, or None where neither variable is set.

    Raises:
        UsageError: if only one is set, or the secret has fewer than 16 characters.
    """
    key_id, secret = environment.get(KEY_ID_VARIABLE, ""), environment.get(SECRET_VARIABLE, "")
    if not key_id and not secret:
        return None
    if not key_id or len(secret) < _MIN_SECRET_LENGTH:
        raise UsageError(
            f"both are needed, the secret with at least {_MIN_SECRET_LENGTH} characters",
            item=f"{KEY_ID_VARIABLE}, {SECRET_VARIABLE}",
            remedy="Make a secret with: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )
    return key_id, secret


def worker_key_from_environment(environment: Mapping[str, str]) -> bytes | None:
    """The key under which worker ids are hashed, or None where the variable is not set.

    Raises:
        UsageError: if it has fewer than 16 bytes.
    """
    key = environment.get(WORKER_KEY_VARIABLE, "").encode()
    if not key:
        return None
    _check_worker_key(key)
    return key


def _check_worker_key(key: bytes) -> None:
    check_key(key, item=WORKER_KEY_VARIABLE, remedy=MAKE_A_KEY)
