"""Which connections are kept."""

from __future__ import annotations

import asyncio
import ssl

import httpcore

from retest.sources.connections import Connections

ANSWER = [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]


class Backend(httpcore.AsyncMockBackend):
    """Counts connections; each answers its requests one after the other."""

    def __init__(self, answer: list[bytes] = ANSWER, times: int = 5) -> None:
        super().__init__(answer * times)
        self.opened: list[str] = []

    async def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None):
        self.opened.append(host)
        return await super().connect_tcp(host, port)


async def ask(connections: Connections, host: str) -> bytes:
    url = httpcore.URL(f"http://{host}/a.jpg")
    connection = await connections.take(url)
    try:
        response = await connection.handle_async_request(httpcore.Request("GET", url, headers=[("Host", host)]))
        try:
            return b"".join([part async for part in response.aiter_stream()])
        finally:
            await response.aclose()
    finally:
        await connections.give_back(connection, url)


def pool(backend: Backend, **options) -> Connections:
    return Connections(backend=backend, ssl_context=ssl.create_default_context(), **{"most_idle": 2} | options)


def test_the_same_connection_serves_the_same_origin() -> None:
    backend = Backend()

    async def go() -> None:
        connections = pool(backend)
        for host in ("a", "b", "a", "b", "a"):
            assert await ask(connections, host) == b"ok"
        await connections.close()

    asyncio.run(go())
    assert backend.opened == ["a", "b"]


def test_the_longest_unused_connection_is_closed_first() -> None:
    backend = Backend()

    async def go() -> None:
        connections = pool(backend)
        for host in ("a", "b", "c", "b", "a"):
            await ask(connections, host)

    asyncio.run(go())
    assert backend.opened == ["a", "b", "c", "a"]


def test_an_answer_not_read_to_its_end_ends_the_connection() -> None:
    backend = Backend([b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n", b"x" * 1000, b"x" * 1000])

    async def go() -> None:
        connections = pool(backend)
        url = httpcore.URL("http://a/a.jpg")
        for _ in range(2):
            connection = await connections.take(url)
            response = await connection.handle_async_request(httpcore.Request("GET", url, headers=[("Host", "a")]))
            await response.aclose()
            await connections.give_back(connection, url)

    asyncio.run(go())
    assert backend.opened == ["a", "a"]


def test_a_connection_is_not_kept_for_ever() -> None:
    backend = Backend()

    async def go() -> None:
        connections = pool(backend, keep_s=0.0)
        await ask(connections, "a")
        await asyncio.sleep(0.01)
        await ask(connections, "a")

    asyncio.run(go())
    assert backend.opened == ["a", "a"]


def test_one_that_never_connected_is_not_kept() -> None:
    class Dead(Backend):
        async def connect_tcp(self, *args, **options):
            self.opened.append("dead")
            raise httpcore.ConnectError("down")

    backend = Dead()

    async def go() -> None:
        connections = pool(backend)
        for _ in range(2):
            try:
                await ask(connections, "a")
            except httpcore.ConnectError:
                continue

    asyncio.run(go())
    assert backend.opened == ["dead", "dead"]
