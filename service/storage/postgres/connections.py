"""Connections to PostgreSQL, opened when needed; the one used last goes first.

asyncpg's own pool costs as much CPU per use as the query itself: it resets, shields and times each.
Statements here leave nothing behind to reset, and whoever takes a connection brings the deadline.
"""

from __future__ import annotations

import asyncio
import time

import asyncpg

_CLOSE_SECONDS = 3.0
_IDLE_SECONDS = 300.0
"""A firewall or pooler may have dropped a connection that has been idle for longer."""


class Connections:
    """A bounded number of connections, each used by one task at a time."""

    def __init__(self, url: str, size: int, *, prepares: bool) -> None:
        """Opens none yet.

        Args:
            url: `postgresql://…`.
            size: The limit.
            prepares: Whether a statement prepared over a connection stays prepared; see `pooler`.
        """
        self._url = url
        self._cache = 100 if prepares else 0
        self.size = size
        self._slots = asyncio.Semaphore(size)
        self._idle: list[tuple[asyncpg.Connection, float]] = []

    async def take(self) -> asyncpg.Connection:
        """Takes one, which must be given back; waits when all are in use.

        Raises:
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: None can be opened.
            ValueError: The URL is malformed.
        """
        await self._slots.acquire()
        while self._idle:
            connection, since = self._idle.pop()
            if connection.is_closed():
                continue
            if time.monotonic() - since < _IDLE_SECONDS:
                return connection
            connection.terminate()
        try:
            return await asyncpg.connect(
                self._url,
                statement_cache_size=self._cache,
                server_settings={"application_name": "challenge-service"},
            )
        except BaseException:
            self._slots.release()
            raise

    def give_back(self, connection: asyncpg.Connection) -> None:
        """Lets the next task have it, or open another if it is closed."""
        if not connection.is_closed():
            self._idle.append((connection, time.monotonic()))
        self._slots.release()

    async def close(self) -> None:
        """Closes those that are free."""
        idle, self._idle = self._idle, []
        # Politely, but a server that does not answer must not keep us from stopping.
        await asyncio.gather(
            *(connection.close(timeout=_CLOSE_SECONDS) for connection, _ in idle),
            return_exceptions=True,
        )
