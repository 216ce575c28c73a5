"""A TCP relay between callers and a service, whose connections can be cut."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from contextlib import suppress


class Relay:
    """Listens on a port of its own, and passes on what it does not understand."""

    def __init__(self) -> None:
        """Leads nowhere yet."""
        self._upstream = ("", 0)
        self._ends: set[StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> Relay:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.target = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def lead_to(self, target: str) -> None:
        """Sends connections that are opened from now on to `host:port`."""
        host, _, port = target.rpartition(":")
        self._upstream = host, int(port)

    def cut(self) -> None:
        """Resets every connection, at both ends."""
        for end in list(self._ends):
            end.transport.abort()

    async def close(self) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, down: StreamReader, to_down: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._ends.add(to_down)
        with suppress(OSError):
            up, to_up = await asyncio.open_connection(*self._upstream)
            self._ends.add(to_up)
            ways = [asyncio.create_task(_pass(*way)) for way in ((down, to_up), (up, to_down))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            to_up.transport.abort()
            self._ends.discard(to_up)
        to_down.transport.abort()
        self._ends.discard(to_down)


async def _pass(source: StreamReader, to: StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            to.write(data)
            await to.drain()
