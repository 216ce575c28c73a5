"""The ledger on PostgreSQL: a partition for each day, made ahead of it and dropped whole.

A partition is created on its own and then attached: ATTACH lets inserts go on (it takes SHARE
UPDATE EXCLUSIVE on the ledger), CREATE TABLE … PARTITION OF does not. Rows of a day that has no
partition go to `attempt_default`. While there is such a default, PostgreSQL refuses DETACH …
CONCURRENTLY, so an old partition is dropped under ACCESS EXCLUSIVE on the ledger, for a moment. No
step waits for its locks longer than `_LOCK_TIMEOUT`, so nobody queues behind it for longer.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg

from service.telemetry import logs

_AHEAD_DAYS = 7
"""Days for which the service may be down, and still find its partitions when it is back."""
_DAY_MS = 24 * 3_600_000
_LOCK_TIMEOUT = "200ms"
_LOCK_ID = 0x6C6564676572
"""Of the advisory lock that lets one replica at a time change the partitions: `ledger`."""

_ALONE = f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'; SELECT pg_advisory_xact_lock({_LOCK_ID});"
_ATTACH = (
    _ALONE
    + """
DO $$ BEGIN
    IF to_regclass('{name}') IS NULL THEN
        CREATE TABLE {name} (LIKE attempt INCLUDING ALL);
        ALTER TABLE attempt ATTACH PARTITION {name} FOR VALUES FROM ({begins}) TO ({ends});
    END IF;
END $$
"""
)
_DROP = _ALONE + "DROP TABLE IF EXISTS {name}"
_NAMES = """
SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
WHERE inhparent = 'attempt'::regclass
"""


async def make_ahead(connection: asyncpg.Connection) -> None:
    """Makes the partitions of today and the coming days that are not there."""
    today = await _today(connection)
    names = await _names(connection)
    for day in range(today, today + _AHEAD_DAYS + 1):
        if (name := _name(day)) not in names:
            bounds = {"begins": day * _DAY_MS, "ends": (day + 1) * _DAY_MS}
            await _step(connection, name, _ATTACH.format(name=name, **bounds))


async def drop_old(connection: asyncpg.Connection, age_ms: int) -> int:
    """Drops the partitions whose rows are all older than `age_ms`; returns how many."""
    oldest = _name(await _today(connection, -age_ms))
    # Names sort by date.
    old = [name for name in await _names(connection) if name[-8:].isdigit() and name < oldest]
    return sum([await _step(connection, name, _DROP.format(name=name)) for name in sorted(old)])


async def _step(connection: asyncpg.Connection, name: str, change: str) -> bool:
    """Makes a change in a transaction of its own; False when it must wait for the next time."""
    try:
        await connection.execute(change)
    except (
        asyncpg.LockNotAvailableError,  # somebody reads, or another replica is at it
        asyncpg.CheckViolationError,  # attempt_default has rows of that day already: they stay
    ) as error:
        logs.warning("partition_postponed", partition=name, error=type(error).__name__)
        return False
    return True


async def _today(connection: asyncpg.Connection, shift_ms: int = 0) -> int:
    """Returns the day on the database's clock, counted from the Unix epoch."""
    now_ms: int = await connection.fetchval("SELECT challenge_now()")
    return (now_ms + shift_ms) // _DAY_MS


async def _names(connection: asyncpg.Connection) -> set[str]:
    return {row[0] for row in await connection.fetch(_NAMES)}


def _name(day: int) -> str:
    date = datetime.fromtimestamp(0, UTC) + timedelta(days=day)
    return f"attempt_{date:%Y%m%d}"
