"""Connections to PostgreSQL, opened when needed; the one used last goes first.

asyncpg's own pool costs as much CPU per use as the query itself: it resets, shields and times each.
Statements here leave nothing behind to reset, and whoever takes a connection brings the deadline.
"""

from __future__ import annotations

import asyncio
import time

import asyncpg

_CONNECT_SECONDS = 3.0
_CLOSE_SECONDS = 3.0
_IDLE_SECONDS = 300.0
"""One that rested longer is not trusted: what stands between may have dropped it in silence."""


class Connections:
    """At most so many, each in one task's hands at a time."""

    def __init__(self, url: str, size: int, *, prepares: bool) -> None:
        """Opens none yet.

        Args:
            url: `postgresql://…`.
            size: How many there may be.
            prepares: Whether what is prepared over one stays prepared; see `poolers`.
        """
        self._url = url
        self._cache = 100 if prepares else 0
        self.size = size
        self._free: asyncio.LifoQueue[tuple[asyncpg.Connection | None, float]]
        self._free = asyncio.LifoQueue()
        for _ in range(size):
            self._free.put_nowait((None, 0.0))  # the right to open one

    async def take(self) -> asyncpg.Connection:
        """Takes one, which must be given back; waits when all are in use.

        Raises:
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: None can be opened.
            ValueError: The URL is malformed.
        """
        connection, since = await self._free.get()
        if connection is not None and not connection.is_closed():
            if time.monotonic() - since < _IDLE_SECONDS:
                return connection
            connection.terminate()
        try:
            return await asyncpg.connect(
                self._url,
                timeout=_CONNECT_SECONDS,
                statement_cache_size=self._cache,
                server_settings={"application_name": "challenge-service"},
            )
        except BaseException:
            self._free.put_nowait((None, 0.0))
            raise

    def give_back(self, connection: asyncpg.Connection) -> None:
        """Lets the next task have it, or open another if it is closed."""
        usable = None if connection.is_closed() else connection
        self._free.put_nowait((usable, time.monotonic()))

    async def close(self) -> None:
        """Closes those that are free; from then on none is to be had."""
        free = [self._free.get_nowait()[0] for _ in range(self._free.qsize())]
        # Politely, but a server that does not answer must not keep us from stopping.
        await asyncio.gather(
            *(connection.close(timeout=_CLOSE_SECONDS) for connection in free if connection),
            return_exceptions=True,
        )
