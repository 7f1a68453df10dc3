"""Connections kept open between downloads: for each origin the last one used is used again first.

httpcore's own pool compares every waiting request with every connection, which at 64 downloads at once costs more than the
downloads. The number at once is limited elsewhere, so nothing waits here.
"""

from __future__ import annotations

import ssl
from collections import OrderedDict

import httpcore

__all__ = ["Connections"]


class Connections:
    """Connections of one event loop.

    Args:
        backend: opens the network streams.
        most_idle: how many are kept open without being used.
        keep_s: for how long.
    """

    def __init__(self, *, backend: httpcore.AsyncNetworkBackend, ssl_context: ssl.SSLContext, most_idle: int, keep_s: float = 15.0) -> None:
        self._backend = backend
        self._ssl_context = ssl_context
        self._most_idle = most_idle
        self._keep_s = keep_s
        self._idle: OrderedDict[httpcore.AsyncHTTPConnection, str] = OrderedDict()
        self._by_origin: dict[str, list[httpcore.AsyncHTTPConnection]] = {}

    async def take(self, url: httpcore.URL) -> httpcore.AsyncHTTPConnection:
        """A connection to the URL's origin, for one request."""
        key = str(url.origin)
        idle = self._by_origin.get(key, [])
        while idle:
            connection = idle.pop()
            del self._idle[connection]
            if connection.is_available() and not connection.has_expired():
                return connection
            await connection.aclose()
        return httpcore.AsyncHTTPConnection(
            origin=url.origin, ssl_context=self._ssl_context, keepalive_expiry=self._keep_s, network_backend=self._backend
        )

    async def give_back(self, connection: httpcore.AsyncHTTPConnection, url: httpcore.URL) -> None:
        """Keep a connection whose answer was read to its end; close any other."""
        if connection.is_closed() or not connection.is_idle():
            await connection.aclose()
            return
        key = str(url.origin)
        self._idle[connection] = key
        self._by_origin.setdefault(key, []).append(connection)
        while len(self._idle) > self._most_idle:
            oldest, origin = self._idle.popitem(last=False)
            self._forget(oldest, origin)
            await oldest.aclose()

    def _forget(self, connection: httpcore.AsyncHTTPConnection, origin: str) -> None:
        others = self._by_origin[origin]
        others.remove(connection)
        if not others:
            del self._by_origin[origin]

    async def close(self) -> None:
        """Close those that are idle."""
        for connection in self._idle:
            await connection.aclose()
        self._idle.clear()
        self._by_origin.clear()
