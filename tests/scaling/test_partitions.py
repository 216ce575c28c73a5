"""The ledger by the day: made ahead, dropped whole, and in nobody's way."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date

import asyncpg
import pytest
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2

from service.challenges.rules import LONGEST_LIFE_MS
from service.delivery.settling import Settling
from service.evidence.events import Events
from service.keyring import EvidenceKeys
from service.storage import dispatch_statements as statements
from service.storage.archive import Archive
from service.storage.dispatches import Dispatches
from service.storage.migrating import migrate
from service.storage.postgres import partitions
from service.storage.retention import Retention
from service.storage.rows import NewAttempt, Settlement
from service.storage.store import Store
from tests.harness.clock import Clock
from tests.harness.service import Service, Session
from tests.harness.timing import eventually

DAY = 24 * 3600
DAY_MS = DAY * 1000
INSERT = """
INSERT INTO attempt (session_id, fence, claimed_at, challenge_id, dispatch_try, channel, outcome,
    started_at, ended_at)
VALUES ($1, 1, challenge_now() + $2, 'c', 1, 'test://', 'accepted', 0, 0)
"""


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


@pytest.fixture(autouse=True)
async def noon(clock: Clock, connection: asyncpg.Connection) -> None:
    """Moves the database's clock on to noon: no test begins on one day and ends on the next."""
    now_ms = await connection.fetchval("SELECT challenge_now()")
    await clock.advance((DAY_MS // 2 - now_ms) % DAY_MS / 1000)


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@asynccontextmanager
async def held(database_url: str, sql: str, *args: object) -> AsyncIterator[None]:
    """Keeps a transaction open in which a statement has run."""
    other = await asyncpg.connect(database_url)
    try:
        async with other.transaction():
            await other.fetch(sql, *args)
            yield
    finally:
        await other.close()


async def days(connection: asyncpg.Connection) -> set[str]:
    """Names the partitions of days that there are."""
    rows = await connection.fetch(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'attempt'::regclass"
    )
    return {row[0] for row in rows} - {"attempt_default"}


async def today(connection: asyncpg.Connection) -> int:
    """The day on the database's clock, counted from the Unix epoch."""
    now_ms: int = await connection.fetchval("SELECT challenge_now()")
    return now_ms // DAY_MS


def name(day: int) -> str:
    return f"attempt_{date.fromordinal(date(1970, 1, 1).toordinal() + day):%Y%m%d}"


def week(first: int) -> set[str]:
    """Names the partitions that are made on a day."""
    return set(map(name, range(first, first + 8)))


async def place(connection: asyncpg.Connection, session_id: str) -> str:
    """Names the partition that holds the attempt of a session."""
    found: str = await connection.fetchval(
        "SELECT tableoid::regclass::text FROM attempt WHERE session_id = $1", session_id
    )
    return found


async def listed(service: Service, session: Session) -> int:
    request = admin_pb2.ListAttemptsRequest(session_id=session.session_id)
    return len((await service.admin("ListAttempts", request)).attempts)


async def test_migrating_makes_today_and_a_week(
    connection: asyncpg.Connection, database_url: str
) -> None:
    first = await today(connection)
    for partition in await days(connection):
        await connection.execute(f"DROP TABLE {partition}")
    for _ in range(2):
        await asyncio.to_thread(migrate, database_url)
        assert await days(connection) == week(first)


async def test_an_attempt_goes_to_the_day_of_its_send(
    service: Service, connection: asyncpg.Connection
) -> None:
    session = await service.challenged()
    await service.send(session)
    await eventually(service.settled)
    assert await place(connection, session.session_id) == name(await today(connection))
    assert await listed(service, session) == 1


async def test_an_attempt_without_a_day_is_kept_listed_and_forgotten_all_the_same(
    service: Service, connection: asyncpg.Connection
) -> None:
    await service.later(20 * DAY)
    session = await service.challenged()
    await service.send(session)
    await eventually(service.settled)
    assert await place(connection, session.session_id) == "attempt_default"
    assert await listed(service, session) == 1

    archive = Archive(service.database)
    retention = Retention(archive, 30, 540, LONGEST_LIFE_MS)
    await archive.make_partitions()  # cannot make this day any more, but those that come
    first = await today(connection)
    assert week(first) - await days(connection) == {name(first)}
    assert await listed(service, session) == 1

    await service.later(32 * DAY)
    assert (await retention.purge()).attempts == 1


async def test_old_days_are_dropped_once_by_several_replicas_at_once(
    connection: asyncpg.Connection, database_url: str
) -> None:
    made = await days(connection)  # on the day before, where midnight has passed since
    for ago in (31, 30, 29):
        day = await today(connection) - ago
        await connection.execute(
            f"CREATE TABLE {name(day)} PARTITION OF attempt "
            f"FOR VALUES FROM ({day * DAY_MS}) TO ({(day + 1) * DAY_MS})"
        )
        await connection.execute(INSERT, f"cs_{ago}", -ago * DAY_MS)
    await connection.execute(f"DROP TABLE {max(await days(connection))}")
    replicas = [await asyncpg.connect(database_url) for _ in range(4)]

    async def renew(replica: asyncpg.Connection) -> None:
        await partitions.make_ahead(replica)
        await partitions.drop_old(replica, 30 * DAY_MS)

    await asyncio.gather(*(renew(replica) for replica in replicas))
    for replica in replicas:
        await replica.close()
    first = await today(connection)
    assert await days(connection) == {name(first - 30), name(first - 29)} | made | week(first)
    left = await connection.fetch("SELECT session_id FROM attempt ORDER BY session_id")
    assert [row[0] for row in left] == ["cs_29", "cs_30"]


async def test_a_day_is_made_while_attempts_are_written(
    connection: asyncpg.Connection, database_url: str
) -> None:
    last = max(await days(connection))
    await connection.execute(f"DROP TABLE {last}")
    async with held(database_url, INSERT, "cs_1", 0):
        await partitions.make_ahead(connection)
        assert last in await days(connection)


async def test_who_waits_to_drop_a_day_does_not_hold_up_attempts(
    connection: asyncpg.Connection, database_url: str
) -> None:
    writer = await asyncpg.connect(database_url)
    await connection.execute("SET application_name = 'dropping'")
    queued = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'dropping' "
    queued += "AND wait_event_type = 'Lock'"

    async def waits() -> bool:
        return await writer.fetchval(queued) == 1

    async with held(database_url, "SELECT count(*) FROM attempt"):  # a report, for example
        dropping = asyncio.create_task(partitions.drop_old(connection, -9 * DAY_MS))
        await eventually(waits)
        async with asyncio.timeout(5):  # until the drop gives up; the report does not end
            await writer.execute(INSERT, "cs_1", 0)
        assert await dropping == 0
    assert await partitions.drop_old(connection, -9 * DAY_MS) == 8
    await writer.close()


async def test_a_settlement_that_is_repeated_the_next_day_counts_once(
    service: Service, connection: asyncpg.Connection
) -> None:
    session = await service.challenged()
    await service.send(session)
    await eventually(service.settled)
    store = Store(service.database)
    claimed = await store.read(session.session_id)
    assert claimed is not None
    attempt = NewAttempt(str(claimed.challenge_id), 1, "test://", None, "accepted", None, 5)
    settling = Settling(store, Dispatches(service.database), Events(EvidenceKeys(bytes(32))))
    await service.later(DAY)
    assert await settling.settle(claimed, Settlement("sent"), attempt, claimed.now) is None
    assert await connection.fetchval("SELECT count(*) FROM attempt") == 1
    assert await connection.fetchval("SELECT count(*) FROM evidence") == 3


async def test_listing_looks_into_the_days_of_the_session_alone(
    connection: asyncpg.Connection,
) -> None:
    now = await connection.fetchval("SELECT challenge_now()")
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    await connection.execute(f"PREPARE listing AS {statements.ATTEMPTS}")
    plan = await connection.fetch(
        f"EXPLAIN EXECUTE listing ('cs_1', 0, {now}, {now + 1_800_000}, 50)"
    )
    lines = [row[0] for row in plan]
    looked = {found[1] for line in lines if (found := re.search(r" on (attempt_\w+)", line))}
    first = await today(connection)
    assert looked <= {"attempt_default", *map(name, (first - 1, first, first + 1))}
    assert any("Index Cond" in line and "session_id" in line for line in lines)
    assert not any("Seq Scan" in line for line in lines)
