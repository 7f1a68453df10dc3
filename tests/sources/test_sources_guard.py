"""The address guard: every way to name an inner address, and names that change their mind."""

from __future__ import annotations

import asyncio
import ipaddress

import httpcore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retest.sources.guard import AddressRefused, GuardedBackend, address_problem

NEVER = [
    "169.254.169.254",
    "169.254.0.1",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "ff02::1",
    "240.0.0.1",
    "255.255.255.255",
    "198.18.0.1",
    "203.0.113.5",
    "2001:db8::1",
    "fec0::1",
    "::ffff:169.254.169.254",
    "2002:a9fe:a9fe::1",
    "64:ff9b::a9fe:a9fe",
    "::127.0.0.1",
    "localhost",
    "",
]
OWN = [
    "127.0.0.1",
    "127.9.9.9",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "::1",
    "fd12::1",
    "::ffff:127.0.0.1",
    "2002:7f00:1::",
    "64:ff9b::7f00:1",
]
PUBLIC = ["8.8.8.8", "151.101.1.140", "172.32.0.1", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", NEVER)
def test_some_addresses_are_never_reached(address: str) -> None:
    assert address_problem(address) is not None
    assert address_problem(address, allow_private=True) is not None


@pytest.mark.parametrize("address", OWN)
def test_own_networks_are_reached_only_when_the_study_allows_it(address: str) -> None:
    assert address_problem(address) is not None
    assert address_problem(address, allow_private=True) is None


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_reached(address: str) -> None:
    assert address_problem(address) is None


@given(st.ip_addresses())
def test_nothing_that_python_calls_private_is_reached(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """6to4 leads to the IPv4 address within: before 3.11.4 Python called all of it private, whatever was in it."""
    meant = getattr(address, "sixtofour", None) or address
    if meant.is_private or meant.is_loopback or meant.is_link_local or meant.is_multicast:
        assert address_problem(str(address)) is not None


class Inner(httpcore.AsyncMockBackend):
    def __init__(self, *, dead: tuple[str, ...] = ()) -> None:
        super().__init__([])
        self.connected: list[str] = []
        self.dead = dead

    async def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None):
        self.connected.append(host)
        if host in self.dead:
            raise httpcore.ConnectError("down")
        return await super().connect_tcp(host, port)


def connect(addresses: list[list[str]], *, times: int = 1, **options) -> Inner:
    """Connect with a resolver that gives the next list of addresses each time it is asked."""
    inner = options.pop("inner", None) or Inner()
    answers = iter(addresses)

    async def resolver(host: str, port: int) -> list[str]:
        return next(answers)

    async def go() -> None:
        backend = GuardedBackend(resolver=resolver, inner=inner, **options)
        for _ in range(times):
            await backend.connect_tcp("photos.example", 443)

    asyncio.run(go())
    return inner


def test_the_connection_goes_to_the_checked_address_and_not_to_the_name() -> None:
    assert connect([["8.8.8.8"]]).connected == ["8.8.8.8"]


def test_a_name_that_changes_its_mind_is_checked_each_time() -> None:
    inner = Inner()
    with pytest.raises(AddressRefused, match=r"photos\.example: 10\.0\.0\.1 is a loopback or private address"):
        connect([["8.8.8.8"], ["10.0.0.1"]], times=2, inner=inner)
    assert inner.connected == ["8.8.8.8"]


def test_of_several_addresses_only_public_ones_are_tried_in_turn() -> None:
    inner = Inner(dead=("8.8.8.8",))
    connect([["192.168.0.1", "8.8.8.8", "8.8.4.4"]], inner=inner)
    assert inner.connected == ["8.8.8.8", "8.8.4.4"]


def test_a_name_without_addresses_cannot_be_connected_to() -> None:
    with pytest.raises(httpcore.ConnectError, match=r"photos\.example has no address"):
        connect([[]])


def test_a_resolver_that_fails_is_a_failed_connection() -> None:
    async def resolver(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    async def go() -> None:
        await GuardedBackend(resolver=resolver, inner=Inner()).connect_tcp("photos.example", 80)

    with pytest.raises(httpcore.ConnectError, match="cannot be resolved"):
        asyncio.run(go())


def test_local_sockets_are_no_web_addresses() -> None:
    with pytest.raises(AddressRefused):
        asyncio.run(GuardedBackend().connect_unix_socket("/run/docker.sock"))
