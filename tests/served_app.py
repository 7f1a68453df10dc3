"""An application over real HTTP from a thread of this process: up and gone within milliseconds."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import uvicorn


class _PromptServer(uvicorn.Server):
    """uvicorn looks ten times a second whether it shall stop, and waits as long for each step of stopping. Hundreds of tests start one."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None

    async def main_loop(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        await self.on_tick(0)
        self.up.set()
        while not self._ended.is_set():
            try:
                await asyncio.wait_for(self._ended.wait(), 1.0)
            except TimeoutError:
                await self.on_tick(0)  # the header Date

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        state, patience_s = self.server_state, self.config.timeout_graceful_shutdown or 30
        until = time.monotonic() + patience_s
        while (state.connections or state.tasks) and time.monotonic() < until:
            await asyncio.sleep(0.002)
        for task in state.tasks:
            task.cancel(msg="the server stops")
        await self.lifespan.shutdown()

    def end(self) -> None:
        """Stop, told from another thread."""
        assert self._loop is not None
        assert self._ended is not None
        self._loop.call_soon_threadsafe(self._ended.set)


class ServedApp:
    """Serves what ``config`` says on the listening socket until :meth:`stop`, which closes the socket as well."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket) -> None:
        self._server = _PromptServer(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]}, daemon=True)
        self._thread.start()
        assert self._server.up.wait(60), "the application does not start"

    def stop(self) -> None:
        """Ends as uvicorn does: connections that are idle are closed, requests are answered, the application closes what it has open."""
        self._server.end()
        self._thread.join(30)
        assert not self._thread.is_alive(), "the application does not stop"


def listen(port: int = 0) -> socket.socket:
    """A socket of this machine at a port of its own, or at one that was used before."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    return listener
