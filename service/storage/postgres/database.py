"""The statements on PostgreSQL, through asyncpg."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from typing import Any, TypeVar

import asyncpg

from service.aio.deadlines import Deadlines
from service.errors import BadSetting, NotReady, StoreUnavailable, reason
from service.storage import archive_statements, statements
from service.storage.changes import AS_ONE, Change
from service.storage.database import AlreadyHandled, QuotaSpent, Usage, require_schema
from service.storage.postgres import partitions, pooler
from service.storage.postgres.connections import Connections
from service.storage.postgres.hosts import Hosts

RECLAIM_DUE = statements.RECLAIM_DUE.format(skip_locked="FOR UPDATE SKIP LOCKED")
PURGE_ATTEMPTS = archive_statements.PURGE_ATTEMPTS.format(ledger="attempt_default")

_COMMAND_SECONDS = 5.0
_PROBE_SECONDS = 10.0

_UNAVAILABLE = (
    OSError,  # TimeoutError among them
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutting down, or not up yet
    asyncpg.InsufficientResourcesError,  # too many connections, disk full
    asyncpg.PostgresSystemError,  # I/O error
    asyncpg.TransactionRollbackError,  # deadlock, serialization failure of a distributed database
    asyncpg.ReadOnlySQLTransactionError,  # no longer the primary
)


_T = TypeVar("_T")


@cache
def as_one(change: Change) -> str:
    """Writes a change as one statement."""
    parts = [f"main AS ({change.statement})"]
    for number, other in enumerate(change.others):
        parts.append(f"other_{number} AS ({other.format(**AS_ONE)})")
    return f"WITH {', '.join(parts)} SELECT * FROM main"


class Postgres:
    """See `database.Database`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._statements = 0
        self._deadlines = Deadlines()

    @classmethod
    async def connect(cls, url: str, pool_size: int) -> Postgres:
        """Opens a first connection, to find out whether statements stay prepared over it.

        Raises:
            NotReady: The server cannot be reached or refuses us.
        """
        try:
            hosts = Hosts(url)
            async with asyncio.timeout(_PROBE_SECONDS):
                probe = await hosts.open(cache=0)
                try:
                    prepares = await pooler.keeps_prepared(probe)
                finally:
                    probe.terminate()
        except ValueError:  # whose text may hold a part of the password
            raise BadSetting("CHALLENGE_DATABASE_URL", "is malformed") from None
        except (*_UNAVAILABLE, asyncpg.PostgresError) as error:
            raise NotReady("CHALLENGE_DATABASE_URL", f"cannot connect: {reason(error)}") from None
        return cls(Connections(hosts, pool_size, prepares=prepares))

    async def row(self, sql: str, *args: object) -> Sequence[Any] | None:
        rows = await self._run(_fetch, sql, *args)
        return rows[0] if rows else None

    async def rows(self, sql: str, *args: object) -> Sequence[Sequence[Any]]:
        return await self._run(_fetch, sql, *args)

    async def change(self, change: Change, *args: object) -> Sequence[Any] | None:
        try:
            return await self.row(as_one(change), *args)
        except asyncpg.CheckViolationError as error:
            if error.constraint_name != "quota_spent":
                raise
            raise QuotaSpent from None
        except asyncpg.UniqueViolationError as error:
            if error.table_name != "handled_request":
                raise
            raise AlreadyHandled from None

    async def reclaim_due(self, *args: object) -> Sequence[Sequence[Any]]:
        return await self.rows(RECLAIM_DUE, *args)

    def usage(self) -> Usage:
        return Usage(self._statements, self._connections.size)

    async def make_partitions(self) -> None:
        await self._run(partitions.make_ahead)

    async def drop_partitions(self, age_ms: int) -> int:
        return await self._run(partitions.drop_old, age_ms)

    async def purge_attempts(self, *args: object) -> Sequence[Sequence[Any]]:
        return await self.rows(PURGE_ATTEMPTS, *args)

    async def scrub(self) -> None:
        """Does nothing: only VACUUM FULL would, and nobody could write meanwhile."""

    async def check_schema(self) -> None:
        try:
            rows = await self._run(_fetch, statements.SCHEMA_VERSION, seconds=_PROBE_SECONDS)
        except asyncpg.UndefinedTableError:
            rows = ()
        require_schema(rows[0][0] if rows else None)

    async def check_writable(self) -> None:
        try:
            with self._deadlines.within(_COMMAND_SECONDS):
                try:
                    await self._connections.check()
                except _UNAVAILABLE:  # it may have been that connection alone
                    await self._connections.check()
        except (*_UNAVAILABLE, asyncpg.PostgresError) as error:
            raise StoreUnavailable(repr(error)) from error

    async def _run(
        self, work: Callable[..., Awaitable[_T]], *args: object, seconds: float | None = None
    ) -> _T:
        """Has work done over one of the connections, in time."""
        self._statements += 1
        try:
            with self._deadlines.within(seconds or _COMMAND_SECONDS):
                connection = await self._connections.take()
                try:
                    result = await work(connection, *args)
                    # An old primary may answer with old data.
                    if self._connections.has_left(connection):
                        raise StoreUnavailable("the database has moved to another host")
                    return result
                except asyncio.CancelledError:
                    connection.terminate()  # in the middle of a reply: of no more use
                    raise
                except asyncpg.ReadOnlySQLTransactionError:
                    self._connections.distrust(connection)
                    raise
                finally:
                    self._connections.give_back(connection)
        except _UNAVAILABLE as error:
            raise StoreUnavailable(repr(error)) from error
        finally:
            self._statements -= 1

    async def close(self) -> None:
        await self._connections.close()


def _fetch(connection: asyncpg.Connection, sql: str, *args: object) -> Awaitable[Sequence[Any]]:
    rows: Awaitable[Sequence[Any]] = connection.fetch(sql, *args)
    return rows
