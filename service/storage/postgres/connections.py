"""Connections to PostgreSQL, opened when needed; the one used last goes first.

asyncpg's own pool costs as much CPU per use as the query itself, because it resets the connection,
shields the task and times each use. Our statements leave nothing to reset; callers set deadlines.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import asyncpg

from service.storage.postgres.hosts import Hosts

_CLOSE_SECONDS = 3.0
_IDLE_SECONDS = 300.0
"""A firewall or pooler may have dropped a connection that has been idle for longer."""
_WRITE_SECONDS = 2.0
"""What `check` gives a host for its write; a synchronous standby is waited for."""
_WRITE = "SELECT 1 FROM alembic_version FOR KEY SHARE SKIP LOCKED"
"""Locks a row: a write that changes nothing, waits for nobody and is refused where any other is."""


class Connections:
    """A bounded number of connections, each used by one task at a time."""

    def __init__(
        self,
        hosts: Hosts,
        size: int,
        *,
        prepares: bool,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Opens none yet.

        Args:
            hosts: Where they lead.
            size: The limit, to which `check` adds one of its own.
            prepares: Whether a statement prepared over a connection stays prepared; see `pooler`.
            monotonic: The clock that idle connections age by, in seconds.
        """
        self._hosts = hosts
        self._cache = 100 if prepares else 0
        self._monotonic = monotonic
        self.size = size
        self._slots = asyncio.Semaphore(size)
        self._idle: list[tuple[asyncpg.Connection, float]] = []
        self._checked: asyncpg.Connection | None = None

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
            if self._monotonic() - since < _IDLE_SECONDS:
                return connection
            connection.terminate()
        try:
            return await self._open()
        except BaseException:
            self._slots.release()
            raise

    def give_back(self, connection: asyncpg.Connection) -> None:
        """Keeps a connection for the next task; closes it if it is broken or no longer trusted."""
        if self._usable(connection):
            self._idle.append((connection, self._monotonic()))
        else:
            connection.terminate()
        self._slots.release()

    def has_left(self, connection: asyncpg.Connection) -> bool:
        """Whether a connection leads to a host that another has replaced."""
        return self._hosts.has_left(connection)

    def distrust(self, connection: asyncpg.Connection) -> None:
        """Closes idle connections now and those in use when given back: their host is no good."""
        self._hosts.distrust(connection)
        self._close_distrusted()

    async def check(self) -> None:
        """Writes over a connection of its own; if that fails, the host is no longer trusted.

        Raises:
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: No host can be written to.
        """
        connection, self._checked = self._checked, None
        try:
            if connection is not None and not self._usable(connection):
                connection.terminate()
                connection = None
            connection = connection or await self._open()
            async with asyncio.timeout(_WRITE_SECONDS):
                await connection.execute(_WRITE)
        except BaseException as error:
            if connection is not None:
                if not isinstance(error, asyncio.CancelledError):
                    self.distrust(connection)
                connection.terminate()
            raise
        if self._checked is None:
            self._checked = connection
        else:  # another check was under way
            connection.terminate()

    async def close(self) -> None:
        """Closes those that are free."""
        free = [connection for connection, _ in self._idle]
        if self._checked is not None:
            free.append(self._checked)
        self._idle, self._checked = [], None
        # Politely, but a server that does not answer must not keep us from stopping.
        await asyncio.gather(
            *(connection.close(timeout=_CLOSE_SECONDS) for connection in free),
            return_exceptions=True,
        )

    def _usable(self, connection: asyncpg.Connection) -> bool:
        return not connection.is_closed() and self._hosts.trusts(connection)

    async def _open(self) -> asyncpg.Connection:
        try:
            return await self._hosts.open(cache=self._cache)
        finally:
            self._close_distrusted()

    def _close_distrusted(self) -> None:
        idle, self._idle = self._idle, []
        for connection, since in idle:
            if self._hosts.trusts(connection):
                self._idle.append((connection, since))
            else:
                connection.terminate()
