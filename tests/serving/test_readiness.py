"""What the health service says of a process, and when it changes its mind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import asyncpg
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from service.errors import StoreUnavailable
from service.serving import readiness as module
from service.serving.readiness import LIVENESS, Readiness
from service.settings import Settings
from tests.harness.logs import Logs
from tests.harness.marks import one_database
from tests.harness.service import Service
from tests.harness.timing import eventually

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
PUBLIC = "govifi.challenge.v1.ChallengeService"
READINESS = ("", PUBLIC, "govifi.challenge.v1.ChallengeAdminService")


class Database:
    """What is looked at."""

    error: Exception | None = None
    looks = 0

    async def check(self) -> None:
        self.looks += 1
        if self.error is not None:
            raise self.error


class Watched:
    """A readiness, and what it says."""

    def __init__(self) -> None:
        self.database = Database()
        self._health = HealthServicer()
        self.readiness = Readiness(self._health, READINESS, self.database.check)

    async def says(self, name: str = PUBLIC) -> int:
        answer = await self._health.Check(health_pb2.HealthCheckRequest(service=name), None)
        return int(answer.status)


@pytest.fixture
async def watched(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    """One that looks only when told to."""

    async def never(_: Readiness) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Readiness, "run", never)
    watched = Watched()
    await watched.readiness.begin()
    yield watched
    await watched.readiness.stop()


@pytest.mark.parametrize("error", [StoreUnavailable("is read-only"), RuntimeError("a bug")])
async def test_it_follows_the_database_and_liveness_does_not(
    watched: Watched, error: Exception
) -> None:
    assert [await watched.says(name) for name in READINESS] == [SERVING] * 3
    watched.database.error = error
    await watched.readiness.once()
    assert [await watched.says(name) for name in READINESS] == [NOT_SERVING] * 3
    assert await watched.says(LIVENESS) == SERVING
    watched.database.error = None
    await watched.readiness.once()
    assert [await watched.says(name) for name in READINESS] == [SERVING] * 3


@one_database
async def test_only_changes_are_logged(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, make_settings: Callable[..., Settings]
) -> None:
    logs = Logs(monkeypatch, make_settings())
    for error in (None, StoreUnavailable("one"), StoreUnavailable("two"), None, None):
        watched.database.error = error
        await watched.readiness.once()
    assert [(line["event"], line.get("error")) for line in logs.lines()] == [
        ("not_ready", "one"),
        ("ready", None),
    ]


async def test_a_process_that_drains_lives_and_is_not_ready_whatever_the_database_says(
    watched: Watched,
) -> None:
    await watched.readiness.stop()
    assert await watched.says() == NOT_SERVING
    assert await watched.says(LIVENESS) == SERVING


async def test_it_goes_on_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(module, "_PAUSE_SECONDS_NOT_READY", 0.0)
    watched = Watched()
    await watched.readiness.begin()
    for error in (StoreUnavailable("gone"), None):
        watched.database.error = error
        at = watched.database.looks
        await eventually(lambda at=at: _after(watched.database, at + 1))  # type: ignore[misc]
        assert await watched.says() == (NOT_SERVING if error else SERVING)
    await watched.readiness.stop()


async def _after(database: Database, looks: int) -> bool:
    return database.looks > looks


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_database_made_read_only_is_seen_over_the_wire(
    service: Service, database_url: str
) -> None:
    health = health_pb2_grpc.HealthStub(service.channel)
    seen = asyncio.Queue[int]()

    async def watch(name: str) -> None:
        async for answer in health.Watch(health_pb2.HealthCheckRequest(service=name)):
            seen.put_nowait(answer.status)

    async def next_seen() -> int:
        async with asyncio.timeout(60):
            return await seen.get()

    watching = asyncio.create_task(watch(PUBLIC))
    assert await next_seen() == SERVING
    connection = await asyncpg.connect(database_url)
    name = await connection.fetchval("SELECT current_database()")
    try:
        await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        await connection.execute(  # their new ones will know
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
            "AND application_name = 'challenge-service'"
        )
        assert await next_seen() == NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await service.open()
        assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
        alive = await health.Check(health_pb2.HealthCheckRequest(service=LIVENESS))
        assert alive.status == SERVING
    finally:
        await connection.execute("SET default_transaction_read_only = off")
        await connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await connection.close()
    assert await next_seen() == SERVING
    await service.open()
    watching.cancel()


@one_database
async def test_an_sqlite_file_that_takes_no_write_is_seen(service: Service) -> None:
    await service.app.check_ready()
    await service.database.rows("PRAGMA query_only = on")
    with pytest.raises(StoreUnavailable):
        await service.app.check_ready()
