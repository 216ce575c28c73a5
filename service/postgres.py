"""The statements on PostgreSQL, through asyncpg."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from service import statements
from service.errors import StoreUnavailable
from service.store import NotReady, QuotaSpent, require_schema

_CLAIM = f"""
WITH claim AS ({statements.CLAIM}),
    spent AS ({statements.SPEND.format(and_claimed="AND EXISTS (SELECT 1 FROM claim)")})
SELECT * FROM claim
"""
_SETTLE = f"WITH attempt AS ({statements.APPEND_ATTEMPT}) {statements.SETTLE}"
_RECLAIM_DUE = statements.RECLAIM_DUE.format(skip_locked="FOR UPDATE SKIP LOCKED")

_COMMAND_SECONDS = 5.0
_CONNECT_SECONDS = 3.0

_UNAVAILABLE = (
    OSError,  # TimeoutError among them
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutting down, or not up yet
    asyncpg.InsufficientResourcesError,  # too many connections, disk full
    asyncpg.TransactionRollbackError,  # deadlock, serialization failure of a distributed database
    asyncpg.ReadOnlySQLTransactionError,  # connected to a replica during a failover
)


class _Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
    """Leaves no state behind, so that no round trip is needed to reset it."""

    def get_reset_query(self) -> str:
        return ""


class Postgres:
    """A pool of connections; see `store.Database`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @classmethod
    async def connect(cls, url: str, pool_size: int) -> Postgres:
        """Opens the pool.

        Raises:
            NotReady: The server cannot be reached or refuses us.
        """
        try:
            pool = await asyncpg.create_pool(
                url, min_size=1, max_size=pool_size, timeout=_CONNECT_SECONDS,
                command_timeout=_COMMAND_SECONDS, connection_class=_Connection,
                server_settings={"application_name": "challenge-service"},
            )  # fmt: skip
        except (*_UNAVAILABLE, asyncpg.PostgresError, ValueError) as error:
            raise NotReady(f"CHALLENGE_DATABASE_URL: cannot connect: {error}") from None
        return cls(pool)

    async def row(self, sql: str, *args: object) -> Sequence[Any] | None:
        async with self._connection() as connection:
            row: Sequence[Any] | None = await connection.fetchrow(sql, *args)
            return row

    async def rows(self, sql: str, *args: object) -> Sequence[Sequence[Any]]:
        async with self._connection() as connection:
            rows: Sequence[Sequence[Any]] = await connection.fetch(sql, *args)
            return rows

    async def claim(self, *args: object) -> Sequence[Any] | None:
        try:
            return await self.row(_CLAIM, *args)
        except asyncpg.CheckViolationError as error:
            if error.constraint_name != "quota_spent":
                raise
            raise QuotaSpent from None

    async def settle(self, *args: object) -> Sequence[Any] | None:
        return await self.row(_SETTLE, *args)

    async def reclaim_due(self, *args: object) -> Sequence[Sequence[Any]]:
        return await self.rows(_RECLAIM_DUE, *args)

    async def check_schema(self) -> None:
        try:
            row = await self.row(statements.SCHEMA_VERSION)
        except asyncpg.UndefinedTableError:
            row = None
        require_schema(None if row is None else row[0])

    async def close(self) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        try:
            async with self._pool.acquire(timeout=_CONNECT_SECONDS) as connection:
                yield connection
        except _UNAVAILABLE as error:
            raise StoreUnavailable(f"{type(error).__name__}: {error}") from error
