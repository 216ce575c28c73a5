"""The statements on PostgreSQL, through asyncpg."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import asyncpg

from service import statements
from service.deadlines import Deadlines
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
    asyncpg.PostgresSystemError,  # I/O error
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
        self._deadlines = Deadlines()

    @classmethod
    async def connect(cls, url: str, pool_size: int) -> Postgres:
        """Opens the pool.

        Raises:
            NotReady: The server cannot be reached or refuses us.
        """
        try:
            pool = await asyncpg.create_pool(
                url, min_size=1, max_size=pool_size, timeout=_CONNECT_SECONDS,
                connection_class=_Connection,
                server_settings={"application_name": "challenge-service"},
            )  # fmt: skip
        except ValueError:  # whose text may hold a part of the password
            raise NotReady("CHALLENGE_DATABASE_URL: is malformed") from None
        except (*_UNAVAILABLE, asyncpg.PostgresError) as error:
            raise NotReady(f"CHALLENGE_DATABASE_URL: cannot connect: {error}") from None
        return cls(pool)

    async def row(self, sql: str, *args: object) -> Sequence[Any] | None:
        rows = await self.rows(sql, *args)
        return rows[0] if rows else None

    async def rows(self, sql: str, *args: object) -> Sequence[Sequence[Any]]:
        try:
            with self._deadlines.within(_COMMAND_SECONDS):
                connection = await self._pool.acquire()
                try:
                    rows: Sequence[Sequence[Any]] = await connection.fetch(sql, *args)
                except asyncio.CancelledError:
                    connection.terminate()  # in the middle of a reply: of no more use
                    raise
                finally:
                    await self._pool.release(connection)
                return rows
        except _UNAVAILABLE as error:
            raise StoreUnavailable(f"{type(error).__name__}: {error}") from error

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
        # Politely, but a server that does not answer must not keep us from stopping.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CONNECT_SECONDS):
                await self._pool.close()
