"""A primary that is one no longer, and its standby: pools, checks, and what they leave open."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from service.errors import CannotProceed, StoreUnavailable
from service.storage.migrating import migrate
from service.storage.postgres import engines
from service.storage.postgres.database import Postgres
from service.storage.schema import SCHEMA
from tests.faults.clusters import Cluster, Pair
from tests.harness.timing import eventually

pytestmark = pytest.mark.programs
POOL_SIZE = 4
OURS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'challenge-service'"
WRITE = "UPDATE alembic_version SET version_num = version_num"
READ_ONLY = ("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
READ_WRITE = ("ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()")


@pytest.fixture(scope="module")
def both() -> Iterator[Pair]:
    # Not below pytest's own directory: that is closed to PostgreSQL's user.
    with tempfile.TemporaryDirectory(prefix="challenge-pair-") as directory:
        pair = Pair(Path(directory) / "pair")
        yield pair
        pair.close()


@pytest.fixture
async def pair(both: Pair) -> Pair:
    """A primary with its standby, made anew where a test before has switched."""
    if not both.whole:
        await both.rejoin()
    return both


@pytest.fixture
async def database(pair: Pair) -> AsyncIterator[Postgres]:
    url = f"postgresql://postgres@{pair.hosts}/migrated?sslmode=disable"
    database = await engines.connect(url, POOL_SIZE)
    yield database
    await database.close()
    assert sockets_to(pair.primary) == sockets_to(pair.standby) == 0


def sockets_to(cluster: Cluster) -> int:
    """Counts the connections of this process that lead to a server."""
    found = psutil.Process(os.getpid()).net_connections("tcp")
    return sum(bool(one.raddr) and one.raddr.port == cluster.port for one in found)


async def backends(cluster: Cluster) -> int:
    """Counts the connections of this service that a server knows of."""
    connection = await asyncpg.connect(cluster.uri("migrated"))
    try:
        return int(await connection.fetchval(OURS))
    finally:
        await connection.close()


async def all_at_once(database: Postgres, sql: str = WRITE) -> list[object]:
    """Runs more statements than there are connections; gives what came of each."""
    runs = (database.rows(sql) for _ in range(3 * POOL_SIZE))
    return [type(end) for end in await asyncio.gather(*runs, return_exceptions=True)]


async def writable(database: Postgres) -> bool:
    try:
        await database.check_writable()
    except StoreUnavailable:
        return False
    return True


async def test_a_standby_is_passed_over_whatever_the_url_says(pair: Pair) -> None:
    hosts = f"127.0.0.1:{pair.standby.port},127.0.0.1:{pair.primary.port}"
    url = f"postgresql://postgres@{hosts}/migrated?sslmode=disable&target_session_attrs=any"
    database = await engines.connect(url, POOL_SIZE)
    assert await all_at_once(database) == [list] * 3 * POOL_SIZE
    await database.check_writable()
    assert await backends(pair.standby) == 0
    assert await backends(pair.primary) == POOL_SIZE + 1
    await database.close()


async def test_a_standby_alone_is_refused_at_start(pair: Pair) -> None:
    url = f"postgresql://postgres@127.0.0.1:{pair.standby.port}/migrated?sslmode=disable"
    with pytest.raises(
        CannotProceed, match=r"^CHALLENGE_DATABASE_URL: cannot connect: is read-only$"
    ):
        await engines.connect(url, POOL_SIZE)


async def test_migrate_finds_the_primary_too(pair: Pair) -> None:
    hosts = f"127.0.0.1:{pair.standby.port},127.0.0.1:{pair.primary.port}"
    await pair.primary.execute("CREATE DATABASE empty")
    await eventually(lambda: _exists(pair.standby, "empty"))
    await asyncio.to_thread(migrate, f"postgresql://postgres@{hosts}/empty?sslmode=disable")
    connection = await asyncpg.connect(pair.primary.uri("empty"))
    try:
        assert await connection.fetchval("SELECT version_num FROM alembic_version") == SCHEMA
    finally:
        await connection.close()


async def test_open_connections_that_turn_read_only_are_closed_all_together(
    pair: Pair, database: Postgres
) -> None:
    await all_at_once(database)
    await database.check_writable()
    await pair.primary.execute(*READ_ONLY)
    try:
        await eventually(lambda: _is_read_only(pair.primary))
        with pytest.raises(StoreUnavailable):
            await database.rows(WRITE)
        await eventually(lambda: _has(pair.primary, 1))  # that of the check
        assert not await writable(database)
        await eventually(lambda: _has(pair.primary, 0))
    finally:
        await pair.primary.execute(*READ_WRITE)
    await eventually(lambda: writable(database))
    assert await all_at_once(database) == [list] * 3 * POOL_SIZE


async def test_one_that_is_cut_off_fails_no_check(pair: Pair, database: Postgres) -> None:
    await database.check_writable()
    await pair.primary.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'challenge-service'"
    )
    await database.check_writable()


async def test_a_primary_whose_commits_hang_is_not_writable_though_it_reads(
    pair: Pair, database: Postgres
) -> None:
    pair.standby.freeze()
    try:
        began = time.monotonic()
        assert not await writable(database)
        assert time.monotonic() - began < 6
        assert await database.rows("SELECT 1") == [(1,)]
    finally:
        pair.standby.thaw()
    await eventually(lambda: writable(database), seconds=10)


async def test_a_frozen_primary_is_left_for_the_one_that_took_its_place(
    pair: Pair, database: Postgres
) -> None:
    await all_at_once(database)
    await database.check_writable()
    assert sockets_to(pair.primary) == POOL_SIZE + 1
    pair.primary.freeze()
    began = time.monotonic()
    hanging = asyncio.create_task(all_at_once(database))
    assert not await writable(database)
    assert time.monotonic() - began < 6
    assert set(await hanging) == {StoreUnavailable}
    assert time.monotonic() - began < 7
    assert sockets_to(pair.primary) == 0

    await pair.switch()
    await eventually(lambda: writable(database))
    assert await all_at_once(database) == [list] * 3 * POOL_SIZE
    assert await backends(pair.primary) <= POOL_SIZE + 1
    pair.standby.thaw()  # it thinks that it is the primary still
    assert await all_at_once(database) == [list] * 3 * POOL_SIZE
    assert sockets_to(pair.standby) == 0


async def test_what_an_old_primary_says_when_it_goes_on_is_not_believed(
    pair: Pair, database: Postgres
) -> None:
    await database.check_writable()
    await database.rows("SELECT 1")
    pair.primary.freeze()
    asked = asyncio.create_task(database.rows("SELECT 1"))
    await pair.switch()
    await eventually(lambda: writable(database))
    pair.standby.thaw()
    with pytest.raises(StoreUnavailable, match="moved to another host"):
        await asked
    assert await database.rows("SELECT 1") == [(1,)]


async def test_the_pool_stays_bounded_and_whole_through_a_switch(
    pair: Pair, database: Postgres
) -> None:
    ends: list[object] = []
    stop = asyncio.Event()

    async def caller() -> None:
        while not stop.is_set():
            try:
                ends.append(await database.rows(WRITE))
            except StoreUnavailable as error:
                ends.append(error)
                await asyncio.sleep(0.01)

    callers = [asyncio.create_task(caller()) for _ in range(5 * POOL_SIZE)]
    await eventually(lambda: _past(ends, 100))
    pair.primary.kill()
    await pair.switch()
    await eventually(lambda: writable(database))
    at = len(ends)
    await eventually(lambda: _past(ends, at + 100))
    assert await backends(pair.primary) <= POOL_SIZE + 1
    assert sockets_to(pair.primary) <= POOL_SIZE + 1
    stop.set()
    await asyncio.gather(*callers)
    assert database.usage().statements == 0
    assert await all_at_once(database, "SELECT pg_sleep(0.01)") == [list] * 3 * POOL_SIZE


async def _exists(cluster: Cluster, name: str) -> bool:
    connection = await asyncpg.connect(cluster.uri())
    try:
        found = "SELECT count(*) FROM pg_database WHERE datname = $1"
        return bool(await connection.fetchval(found, name))
    finally:
        await connection.close()


async def _has(cluster: Cluster, count: int) -> bool:
    return await backends(cluster) == count


async def _past(ends: list[object], count: int) -> bool:
    return len(ends) > count


async def _is_read_only(cluster: Cluster) -> bool:
    connection = await asyncpg.connect(cluster.uri("migrated"))
    try:
        return bool(await connection.fetchval("SHOW transaction_read_only") == "on")
    finally:
        await connection.close()
