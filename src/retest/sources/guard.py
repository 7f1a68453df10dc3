"""Which network addresses a download may reach, and connections that cannot be led elsewhere.

Image URLs come from outside; without a guard a table of URLs could make this machine read its own services or its cloud's
credentials. A host name is resolved once per connection, the addresses are checked, and the connection goes to a checked
address: a name that answers differently a moment later (DNS rebinding) changes nothing. Redirects pass the same check,
because every hop opens its connection here.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import httpcore

__all__ = ["AddressRefused", "GuardedBackend", "Resolver", "address_problem", "resolve"]

Resolver = Callable[[str, int], Awaitable[list[str]]]
"""host name, port -> numeric addresses, in the order of preference; raises OSError."""

_IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
# Public addresses on which a cloud answers its own machines (Azure's wire server).
_SERVICES: Final = frozenset({ipaddress.ip_address("168.63.129.16")})
# Private ranges that a study may allow on purpose: its own machine and network, never the link-local metadata services.
_OWN_NETWORKS: Final = tuple(
    ipaddress.ip_network(text) for text in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")
)
_AWS_METADATA_V6: Final = ipaddress.ip_address("fd00:ec2::254")
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
# Refused whatever a Python version calls global: shared, protocol, benchmark, old relay and site-local ranges.
_SPECIAL: Final = tuple(
    ipaddress.ip_network(text)
    for text in ("100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "fec0::/10", "64:ff9b:1::/48", "100::/64")
)


class AddressRefused(Exception):  # noqa: N818 - an outcome of a download, recorded and not raised to users
    """A URL leads to an address that must not be reached."""


def address_problem(address: str, *, allow_private: bool = False) -> str | None:
    """Why a numeric address must not be reached; None if it may.

    Refused are loopback, private, shared, link-local (cloud metadata), multicast, unspecified and reserved addresses, and IPv6
    forms that carry such an IPv4 address. ``allow_private`` admits loopback and private networks, nothing else.
    """
    try:
        parsed = _unwrap(ipaddress.ip_address(address.split("%", 1)[0]))
    except ValueError:
        return f"{address!r} is not a numeric address"
    if parsed in _SERVICES or parsed == _AWS_METADATA_V6 or parsed.is_link_local:
        return f"{parsed} belongs to the machine's own link or cloud"
    if any(parsed in network for network in _OWN_NETWORKS):
        return None if allow_private else f"{parsed} is a loopback or private address"
    special = any(parsed in network for network in _SPECIAL)
    if special or not parsed.is_global or parsed.is_multicast or parsed.is_reserved or parsed.is_unspecified:
        return f"{parsed} is not a public address"
    return None


def _unwrap(address: _IPAddress) -> _IPAddress:
    """The IPv4 address that an IPv6 form carries (mapped, 6to4, Teredo, NAT64), else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address


async def resolve(host: str, port: int) -> list[str]:
    """The system's resolver, off the event loop."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens TCP connections to checked addresses only; TLS still verifies the host name of the URL."""

    def __init__(
        self, *, allow_private: bool = False, resolver: Resolver = resolve, inner: httpcore.AsyncNetworkBackend | None = None
    ) -> None:
        self._allow_private = allow_private
        self._resolver = resolver
        self._inner = inner or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve, check and connect; the addresses are tried in turn.

        Raises:
            AddressRefused: no address of the host may be reached.
            httpcore.ConnectError: the name is unknown, or no address answers.
        """
        last: Exception | None = None
        for address in await self._allowed(host, port):
            try:
                return await self._inner.connect_tcp(
                    address, port, timeout=timeout, local_address=local_address, socket_options=socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last = error
        raise last or httpcore.ConnectError(f"{host} has no address")

    async def connect_unix_socket(self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None) -> Any:
        """Never."""
        raise AddressRefused("a local socket is no web address")

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)

    async def _allowed(self, host: str, port: int) -> list[str]:
        try:
            addresses = await self._resolver(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"the name {host} cannot be resolved") from error
        problems = {address: address_problem(address, allow_private=self._allow_private) for address in addresses}
        allowed = [address for address in addresses if problems[address] is None]
        if addresses and not allowed:
            raise AddressRefused(f"{host}: {problems[addresses[0]]}")
        return allowed
