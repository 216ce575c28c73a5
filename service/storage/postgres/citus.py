"""The statements on Citus: PostgreSQL whose tables are spread over workers.

Each call goes to the coordinator, which sends a statement to the worker that has its key. A change
runs in turn, for one statement can reach one key alone, and its quotas in their order, so that no
two changes wait for each other. Time is the coordinator's, but for what is only read: that is asked
of the worker's clock.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import asyncpg

from service.errors import CannotProceed, StoreUnavailable
from service.storage import archive_statements, dispatch_statements
from service.storage.changes import Change, in_turn
from service.storage.postgres.database import UNAVAILABLE, Postgres

KEYS = {
    "hosted_session": "session_id",
    "attempt": "session_id",
    "handled_request": "session_id",
    "evidence": "session_id",
    "quota": "key",
}
"""The column that a table is distributed by. Those of one column are found together."""

MIGRATING = "SET LOCAL citus.multi_shard_modify_mode TO 'sequential'"
"""Before migrations: in parallel, it refuses functions after tables in one transaction."""

RECLAIM_FOUND = dispatch_statements.RECLAIM_FOUND.format(skip_locked="FOR UPDATE SKIP LOCKED")

# Who stops in between, and keeps the connection open, must not keep rows locked.
_BEGIN = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '2s'"
_DISTRIBUTED = "SELECT 1 FROM pg_dist_partition WHERE logicalrelid = $1::regclass"
# What was in the table stays behind, unseen, until it is truncated.
_DISTRIBUTE = """
SELECT create_distributed_table('{table}', '{key}', colocate_with => '{beside}');
SELECT truncate_local_data_after_distributing_table('{table}')
"""


async def distribute(connection: asyncpg.Connection) -> None:
    """Distributes the tables that are not, and the clock; who writes to a table waits for that."""
    await connection.execute("SELECT create_distributed_function('challenge_now()')")
    for table, key in KEYS.items():
        if not await connection.fetchval(_DISTRIBUTED, table):
            beside = next(other for other, its_key in KEYS.items() if its_key == key)
            async with connection.transaction():
                await connection.execute(
                    _DISTRIBUTE.format(
                        table=table, key=key, beside="none" if beside == table else beside
                    )
                )


class Citus(Postgres):
    """See `database.Database`."""

    unavailable = (
        *UNAVAILABLE,
        asyncpg.InternalServerError,  # a worker died before it could commit
        asyncpg.IdleInTransactionSessionTimeoutError,
    )

    async def reclaim_due(self, lease_ms: int, limit: int, but_not: str) -> Sequence[Sequence[Any]]:
        claimed: list[Sequence[Any]] = []
        found = await self._run(_fetch, dispatch_statements.FIND_DUE, (lease_ms, limit, but_not))
        for (session_id,) in found:
            try:
                row = await self.row(RECLAIM_FOUND, lease_ms, session_id)
            except StoreUnavailable:
                if not claimed:
                    raise
                break  # what has been claimed must be delivered
            if row is not None:
                claimed.append(row)
        return claimed

    async def purge_quotas(self, limit: int) -> int:
        found = await self.rows(archive_statements.FIND_ENDED_QUOTAS, limit)
        gone = [await self.row(archive_statements.PURGE_QUOTA, key) for (key,) in found]
        return len(gone) - gone.count(None)

    async def check_schema(self) -> None:
        await super().check_schema()
        for table in KEYS:
            if await self.row(_DISTRIBUTED, table) is None:
                raise CannotProceed(
                    "CHALLENGE_DATABASE_URL", f"{table} is not distributed; run: challenge migrate"
                )

    async def _make(self, change: Change, args: Sequence[object]) -> Sequence[Any] | None:
        return await self._run(_in_turn, change, args)


async def _in_turn(
    connection: asyncpg.Connection, change: Change, args: Sequence[object]
) -> Sequence[Any] | None:
    """Makes a change in a transaction.

    Not asyncpg's own: that would wait for the reply to a ROLLBACK beyond the deadline.
    """
    await connection.execute(_BEGIN)
    try:
        rows = await _fetch(connection, change.statement, args)
        for sql, its_args in in_turn(change, args, done=bool(rows)):
            await _fetch(connection, sql, its_args)
        await connection.execute("COMMIT")
    except asyncpg.PostgresError:
        await connection.execute("ROLLBACK")
        raise
    except BaseException:
        connection.terminate()
        raise
    return rows[0] if rows else None


async def _fetch(
    connection: asyncpg.Connection, sql: str, args: Sequence[object]
) -> Sequence[Sequence[Any]]:
    text, places = alone(sql)
    rows: Sequence[Sequence[Any]] = await connection.fetch(text, *(args[at] for at in places))
    return rows


@cache
def alone(sql: str) -> tuple[str, tuple[int, ...]]:
    """Numbers the parameters of a statement anew that shares them with others.

    Returns:
        The statement, and which of them are its own, counted from 0.
    """
    numbers = sorted({int(number) for number in re.findall(r"\$(\d+)", sql)})
    text = re.sub(r"\$(\d+)", lambda found: f"${numbers.index(int(found[1])) + 1}", sql)
    return text, tuple(number - 1 for number in numbers)
