"""A TCP proxy between service and PostgreSQL that knows which statement goes by.

It reads just enough of the protocol: which SQL a prepared statement has, when one is run, and when
its reply is complete, that is, when its transaction has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from asyncio import StreamReader, StreamWriter
from typing import Literal

Action = Literal["hold", "hold_reply", "cut", "cut_reply"]
Address = str | tuple[str, int]
"""A socket, or host and port."""

# A piece of the text of each statement, see service/storage/*_statements.py.
CLAIM = "tries = 1, unknowns = 0"
SETTLE = "dispatch_reason = $"
ANSWER = "satisfied_at = challenge_now() + CASE"
CONFIRM = "confirms_left = confirms_left - 1"
READ = "AS now FROM hosted_session WHERE session_id = $1"
HANDLED = "wrong_total FROM handled_request"
EXTEND = "SET due_at = challenge_now() + $3"
RECLAIM_DUE = "NOT LIKE '%,'"
COMMIT = "COMMIT"


class Trap:
    """What is done to a statement, so many times."""

    def __init__(self, marker: str, action: Action, times: int) -> None:
        self.marker = marker
        self.action = action
        self.left = times
        self.sprung = 0
        """Statements that it has got hold of, or cut off."""
        self._released = asyncio.Event()

    def release(self) -> None:
        """Lets go of what is held, and holds no more."""
        self.left = 0
        self._released.set()

    async def wait(self) -> None:
        self.sprung += 1
        await self._released.wait()


class Proxy:
    """Listens on a port of its own."""

    def __init__(self, upstream: Address) -> None:
        self._upstream = upstream
        self._traps: list[Trap] = []
        self._links: set[_Link] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def trap(self, marker: str, action: Action, times: int = 1) -> Trap:
        trap = Trap(marker, action, times)
        self._traps.append(trap)
        return trap

    def lead_to(self, upstream: Address) -> None:
        """Sends connections that are opened from now on to another server."""
        self._upstream = upstream

    def blackhole(self) -> None:
        """Swallows everything from now on, and closes nothing."""
        self._flows.clear()

    def heal(self) -> None:
        self._flows.set()

    def cut(self) -> None:
        """Closes every connection."""
        for link in list(self._links):
            link.close()

    async def close(self) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()

    def sprung_by(self, sql: str) -> Trap | None:
        for trap in self._traps:
            if trap.left and trap.marker in sql:
                trap.left -= 1
                return trap
        return None

    async def flow(self) -> None:
        await self._flows.wait()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self.flow()
            link = _Link(self, reader, writer, *await _open(self._upstream))
            self._links.add(link)
            await link.run()
            self._links.discard(link)
        writer.close()
        self._tasks.discard(task)


async def _open(address: Address) -> tuple[StreamReader, StreamWriter]:
    if isinstance(address, str):
        return await asyncio.open_unix_connection(address)
    return await asyncio.open_connection(*address)


class _Link:
    def __init__(
        self, proxy: Proxy, down: StreamReader, to_down: StreamWriter,
        up: StreamReader, to_up: StreamWriter,
    ) -> None:  # fmt: skip
        self._proxy = proxy
        self._down, self._to_down = down, to_down
        self._up, self._to_up = up, to_up
        self._statements: dict[bytes, str] = {}
        self._reply_trap: Trap | None = None
        self._kept = b""

    def close(self) -> None:
        self._to_down.close()
        self._to_up.close()

    async def run(self) -> None:
        ways = [asyncio.create_task(self._requests()), asyncio.create_task(self._replies())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self.close()

    async def _requests(self) -> None:
        size = await self._down.readexactly(4)
        await self._pass_up(size + await self._down.readexactly(struct.unpack("!i", size)[0] - 4))
        while True:
            head = await self._down.readexactly(5)
            body = await self._down.readexactly(struct.unpack("!i", head[1:])[0] - 4)
            if head[:1] == b"P":
                name, sql, _ = body.split(b"\0", 2)
                self._statements[name] = sql.decode()
            elif head[:1] == b"B":
                _, name, _ = body.split(b"\0", 2)
                await self._bound(self._statements.get(name, ""))
            elif head[:1] == b"Q":
                await self._bound(body[:-1].decode())
            await self._pass_up(head + body)

    async def _bound(self, sql: str) -> None:
        trap = self._proxy.sprung_by(sql)
        if trap is None:
            return
        if trap.action == "hold":
            await trap.wait()
        elif trap.action == "cut":
            trap.sprung += 1
            raise ConnectionError
        else:
            self._reply_trap = trap

    async def _replies(self) -> None:
        while True:
            head = await self._up.readexactly(5)
            data = head + await self._up.readexactly(struct.unpack("!i", head[1:])[0] - 4)
            await self._proxy.flow()
            if (trap := self._reply_trap) is not None:
                if head[:1] != b"Z":  # ready again: what was run is committed
                    self._kept += data
                    continue
                data, self._kept, self._reply_trap = self._kept + data, b"", None
                if trap.action == "cut_reply":
                    trap.sprung += 1
                    raise ConnectionError
                await trap.wait()
            self._to_down.write(data)
            await self._to_down.drain()

    async def _pass_up(self, data: bytes) -> None:
        await self._proxy.flow()
        self._to_up.write(data)
        await self._to_up.drain()
