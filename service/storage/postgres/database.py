"""The statements on PostgreSQL, through asyncpg."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import asyncpg

from service.aio.deadlines import Deadlines
from service.errors import StoreUnavailable
from service.storage import archive_statements, dispatch_statements, session_statements
from service.storage.changes import Change, as_one
from service.storage.database import Usage, constraint_error
from service.storage.postgres import partitions
from service.storage.postgres.connections import Connections
from service.storage.schema import require_schema

RECLAIM_DUE = dispatch_statements.RECLAIM_DUE.format(skip_locked="FOR UPDATE SKIP LOCKED")
PURGE_QUOTAS = archive_statements.PURGE_QUOTAS.format(skip_locked="FOR UPDATE SKIP LOCKED")
PURGE_ATTEMPTS = archive_statements.PURGE_ATTEMPTS.format(ledger="attempt_default")

_COMMAND_SECONDS = 5.0
PROBE_SECONDS = 10.0

UNAVAILABLE = (
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


class Postgres:
    """See `database.Database`."""

    unavailable: tuple[type[Exception], ...] = UNAVAILABLE
    """What says that the database cannot be reached, or not now."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._statements = 0
        self._deadlines = Deadlines()

    async def row(self, sql: str, *args: object) -> Sequence[Any] | None:
        rows = await self._run(_fetch, sql, *args)
        return rows[0] if rows else None

    async def rows(self, sql: str, *args: object) -> Sequence[Sequence[Any]]:
        return await self._run(_fetch, sql, *args)

    async def change(self, change: Change, *args: object) -> Sequence[Any] | None:
        try:
            return await self._make(change, args)
        except asyncpg.IntegrityConstraintViolationError as error:
            raise constraint_error(error.message) or error from None

    async def _make(self, change: Change, args: Sequence[object]) -> Sequence[Any] | None:
        return await self.row(as_one(change), *args)

    async def reclaim_due(self, lease_ms: int, limit: int, but_not: str) -> Sequence[Sequence[Any]]:
        return await self.rows(RECLAIM_DUE, lease_ms, limit, but_not)

    def usage(self) -> Usage:
        return Usage(self._statements, self._connections.size)

    async def make_partitions(self) -> None:
        await self._run(partitions.make_ahead)

    async def drop_partitions(self, age_ms: int) -> int:
        return await self._run(partitions.drop_old, age_ms)

    async def purge_attempts(self, *args: object) -> Sequence[Sequence[Any]]:
        return await self.rows(PURGE_ATTEMPTS, *args)

    async def purge_quotas(self, limit: int) -> int:
        return len(await self.rows(PURGE_QUOTAS, limit))

    async def scrub(self) -> None:
        """Does nothing: only VACUUM FULL would, and nobody could write meanwhile."""

    async def check_schema(self) -> None:
        try:
            rows = await self._run(_fetch, session_statements.SCHEMA_VERSION, seconds=PROBE_SECONDS)
        except asyncpg.UndefinedTableError:
            rows = ()
        require_schema(rows[0][0] if rows else None)

    async def check_writable(self) -> None:
        try:
            with self._deadlines.within(_COMMAND_SECONDS):
                try:
                    await self._connections.check()
                except self.unavailable:  # it may have been that connection alone
                    await self._connections.check()
        except (*self.unavailable, asyncpg.PostgresError) as error:
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
                    if self._connections.is_on_replaced_host(connection):
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
        except self.unavailable as error:
            raise StoreUnavailable(repr(error)) from error
        finally:
            self._statements -= 1

    async def close(self) -> None:
        await self._connections.close()


def _fetch(connection: asyncpg.Connection, sql: str, *args: object) -> Awaitable[Sequence[Any]]:
    rows: Awaitable[Sequence[Any]] = connection.fetch(sql, *args)
    return rows
