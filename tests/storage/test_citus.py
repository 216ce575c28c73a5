"""What is Citus's own, on the cluster that CITUS_URL names."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest
from alembic.command import upgrade

from service.errors import CannotProceed, StoreUnavailable
from service.settings import Settings
from service.storage import migrating
from service.storage.database import Database, QuotaSpent
from service.storage.dispatches import Dispatches
from service.storage.migrating import migrate
from service.storage.opening import open_database
from service.storage.postgres import citus as engine
from service.storage.postgres import engines
from service.storage.rows import Event, NewSession, Quota, Settlement
from service.storage.store import Store
from tests.harness import citus
from tests.harness.timing import eventually

HOUR_MS = 3_600_000
UNTOLD = Event("", "", "acct_1", 1, None, None, None, 0)
"""No event."""
FIRST_TABLES = ("hosted_session", "attempt", "quota")
"""Those of the first migration."""
_AN_HOUR_AHEAD = """
SET citus.enable_ddl_propagation = off;
CREATE OR REPLACE FUNCTION challenge_now() RETURNS bigint LANGUAGE sql STABLE AS
$$ SELECT (extract(epoch FROM transaction_timestamp()) * 1000)::bigint + 3600000 $$
"""
_STOP_WORKERS = """
SELECT run_command_on_workers('SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND wait_event_type = ''Lock''')
"""
_STOP_ALL = _STOP_WORKERS.replace("wait_event_type = ''Lock''", "state = ''idle in transaction''")
_WAITING = "SELECT count(*) FROM citus_lock_waits"
_PLACES = "SELECT count(DISTINCT nodeport) FROM citus_shards WHERE table_name = $1::regclass"
_SAMPLED = """
SELECT count(*) FILTER (WHERE result <> '1 0') FROM run_command_on_shards($1, $$
    SELECT count(DISTINCT attstattarget) || ' ' || min(attstattarget) FROM pg_attribute
    WHERE attrelid = '%s'::regclass
        AND attname IN ('destination', 'delivery_hint', 'personal', 'fingerprint', 'key') $$)
"""
_LOCK = "SELECT 1 FROM hosted_session WHERE session_id = $1 FOR UPDATE"
_DUE = "UPDATE hosted_session SET due_at = challenge_now() + $1 WHERE session_id = 'cs_1'"


@pytest.fixture
def database_url(citus_url: str) -> str:
    return citus_url


@pytest.fixture
async def connection(citus_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(citus_url)
    yield connection
    await connection.close()


@pytest.fixture
async def database(citus_url: str) -> AsyncIterator[Database]:
    database = await engines.connect(citus_url, 20)
    yield database
    await database.close()


@pytest.fixture
async def store(database: Database) -> Store:
    """A store with one session, cs_1."""
    store = Store(database)
    assert await opened(store, "cs_1")
    return store


async def opened(store: Store, session_id: str, *, allowed: int = 1000) -> bool:
    new = NewSession(session_id, "acct_1", bytes(32), "payment", "", "en", "Acme", HOUR_MS)
    return bool(
        await store.open_session(new, "", Quota("sessions-hour:acct_1", HOUR_MS, allowed), UNTOLD)
    )


@pytest.fixture
async def bare() -> AsyncIterator[str]:
    """An empty database that Citus knows nothing of."""
    name = f"bare_{os.getpid()}"
    await citus.make(name)
    yield name
    await citus.drop(name)


async def test_the_tables_are_spread_over_the_workers(connection: asyncpg.Connection) -> None:
    for table in engine.KEYS:
        assert await connection.fetchval(_PLACES, table) == len(await citus.nodes()) - 1, table


async def test_a_database_that_was_in_use_is_distributed_and_leaves_nothing_behind(
    bare: str, make_settings: Callable[..., Settings]
) -> None:
    await asyncio.to_thread(migrate, citus.uri(bare))
    settings = make_settings(database_url=citus.uri(bare))
    before = await open_database(settings, lambda: 0)
    assert await opened(Store(before), "cs_1")
    await before.close()
    await citus.join(bare)
    with pytest.raises(CannotProceed) as raised:
        await open_database(settings, lambda: 0)
    assert str(raised.value) == (
        "CHALLENGE_DATABASE_URL: hosted_session is not distributed; run: challenge migrate"
    )
    await asyncio.to_thread(migrate, citus.uri(bare))
    after = await open_database(settings, lambda: 0)
    assert await Store(after).read("cs_1")
    for table in ("hosted_session", "quota"):
        assert await after.row(f"SELECT pg_relation_size('{table}')") == (0,)
    await after.close()


async def test_a_worker_is_refused(
    citus_database: str, make_settings: Callable[..., Settings]
) -> None:
    worker = (await citus.nodes())[1]
    settings = make_settings(database_url=citus.uri(citus_database, worker))
    with pytest.raises(CannotProceed, match="leads to no coordinator of a Citus cluster"):
        await open_database(settings, lambda: 0)


async def test_a_workers_death_is_unavailable(
    store: Store, database: Database, connection: asyncpg.Connection
) -> None:
    async def waits() -> bool:
        return await database.row(_WAITING) == (1,)

    async with connection.transaction():
        await connection.execute(_LOCK, "cs_1")
        waiting = asyncio.create_task(store.close_session("cs_1", "expired", UNTOLD))
        await eventually(waits)
        await database.rows(_STOP_WORKERS)
        with pytest.raises(StoreUnavailable):
            await waiting
    assert await store.close_session("cs_1", "expired", UNTOLD)


async def test_a_worker_that_dies_before_it_commits_is_unavailable(
    store: Store,
    database: Database,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = engine._fetch

    async def then_it_dies(*args: Any) -> Any:
        rows = await run(*args)
        await connection.execute(_STOP_ALL)
        return rows

    monkeypatch.setattr(engine, "_fetch", then_it_dies)
    seen = await store.read("cs_1")
    assert seen is not None
    with pytest.raises(StoreUnavailable):
        await Dispatches(database).settle(seen, Settlement("sent"), None, UNTOLD)


async def test_a_spent_quota_undoes_all_of_a_change(store: Store) -> None:
    with pytest.raises(QuotaSpent):
        await opened(store, "cs_2", allowed=1)
    assert await store.read("cs_2") is None


async def test_who_stops_in_the_middle_of_a_change_keeps_nobody_waiting(
    store: Store, connection: asyncpg.Connection
) -> None:
    await connection.execute(engine._BEGIN)
    await connection.execute(_LOCK, "cs_1")
    assert await store.close_session("cs_1", "expired", UNTOLD)


async def test_a_workers_clock_that_is_ahead_ends_no_lease(
    store: Store, database: Database, citus_database: str, connection: asyncpg.Connection
) -> None:
    await database.rows(_DUE, 60_000)
    for worker in (await citus.nodes())[1:]:
        await citus.run(citus.uri(citus_database, worker), _AN_HOUR_AHEAD)
    read = await store.read("cs_1")
    assert read is not None
    assert read.now > read.expires_at  # as the worker sees it
    assert await Dispatches(database).reclaim_due(10_000, 100) == []
    await database.rows(_DUE, 0)
    [claimed] = await Dispatches(database).reclaim_due(10_000, 100)
    assert claimed.now < read.now - HOUR_MS / 2


async def test_a_lease_that_is_extended_between_finding_and_claiming_is_kept(
    store: Store, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.rows(_DUE, 0)
    claim = database.row

    async def after_an_extension(sql: str, *args: object) -> object:
        await database.rows(_DUE, 60_000)
        return await claim(sql, *args)

    monkeypatch.setattr(database, "row", after_an_extension)
    assert await Dispatches(database).reclaim_due(10_000, 100) == []


async def test_a_sweep_whose_claims_fail_says_so_unless_it_has_some(
    store: Store, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await opened(store, "cs_2")
    for session_id in ("cs_1", "cs_2"):
        await database.rows(
            "UPDATE hosted_session SET due_at = 1 WHERE session_id = $1", session_id
        )
    claim, left = database.row, 0

    async def failing(sql: str, *args: object) -> object:
        nonlocal left
        left -= 1
        if left < 0:
            raise StoreUnavailable("gone")
        return await claim(sql, *args)

    monkeypatch.setattr(database, "row", failing)
    with pytest.raises(StoreUnavailable):
        await Dispatches(database).reclaim_due(10_000, 100)
    left = 1
    assert len(await Dispatches(database).reclaim_due(10_000, 100)) == 1


async def test_a_row_that_is_locked_holds_up_no_sweep(
    store: Store, database: Database, connection: asyncpg.Connection
) -> None:
    await opened(store, "cs_2")
    await database.rows("UPDATE hosted_session SET due_at = 1 WHERE session_id = 'cs_1'")
    await database.rows("UPDATE hosted_session SET due_at = 2 WHERE session_id = 'cs_2'")
    async with connection.transaction():
        await connection.execute(_LOCK, "cs_1")
        async with asyncio.timeout(4):
            assert [
                row.session_id for row in await Dispatches(database).reclaim_due(10_000, 100)
            ] == ["cs_2"]
    assert [row.session_id for row in await Dispatches(database).reclaim_due(10_000, 100)] == [
        "cs_1"
    ]


async def test_later_migrations_run_on_tables_that_are_distributed(
    bare: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await citus.join(bare)
    first = {table: key for table, key in engine.KEYS.items() if table in FIRST_TABLES}
    with monkeypatch.context() as patched:
        patched.setattr(migrating.command, "upgrade", lambda config, _: upgrade(config, "0001"))
        patched.setattr(engine, "KEYS", first)
        await asyncio.to_thread(migrate, citus.uri(bare))
    await asyncio.to_thread(migrate, citus.uri(bare))
    database = await engines.connect(citus.uri(bare), 1)
    await database.check_schema()
    assert await opened(Store(database), "cs_1")
    for table in ("hosted_session", "evidence", "quota"):
        assert await database.row(_SAMPLED, table) == (0,), table
    await database.close()
