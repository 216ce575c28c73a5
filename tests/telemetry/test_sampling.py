"""The gauges that are looked up, on both databases."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from prometheus_client import REGISTRY

from service.channels import Blame, Message, Outcome, Result
from service.delivery import sampling
from service.delivery.providers import Provider as DeliveryProvider
from service.delivery.sampling import Sampler
from service.errors import StoreUnavailable
from service.settings import Settings
from service.storage import session_statements
from service.storage.database import Database
from service.storage.dispatch_statements import QUEUE
from service.storage.dispatches import Dispatches
from service.storage.opening import open_database
from service.storage.rows import Event, NewSession, Quota
from service.storage.store import Store
from tests.harness.marks import one_database
from tests.harness.providers import Provider
from tests.harness.timing import eventually

ON_TIME, LATE = "challenge_now() + 5000", "challenge_now() - {}"
MESSAGE = Message("id", "+14155550123", "text")
_OPENED = Event("", "", "acct", 0, None, None, None, 0)


@pytest.fixture
async def database(make_settings: Callable[..., Settings], clock: Any) -> AsyncIterator[Database]:
    """A database that no service works on."""
    database = await open_database(make_settings(database_pool_size=4), clock.now_ms)
    yield database
    await database.close()


async def owe(database: Database, due_at: str, number: int = 0) -> None:
    """Makes a session whose dispatch is due then."""
    session_id = f"cs_{number}"
    new = NewSession(session_id, "acct", bytes(32), "payment", "", "en", "Acme", 1_800_000)
    await Store(database).open_session(new, "", Quota("session:acct", 3_600_000, 0), _OPENED)
    await database.rows(
        f"UPDATE hosted_session SET dispatch_state = 'queued', due_at = {due_at} "
        f"WHERE session_id = '{session_id}' RETURNING 1"
    )


def gauge(name: str, **labels: str) -> float:
    found = REGISTRY.get_sample_value(f"challenge_{name}", labels)
    assert found is not None
    return found


async def test_the_queue(database: Database) -> None:
    sampler = Sampler(database, Dispatches(database), [])
    await sampler.sample()
    assert gauge("queue_dispatches", state="due") == 0
    assert gauge("queue_dispatches", state="waiting") == 0
    assert gauge("queue_oldest_due_seconds") == 0
    for number, due_at in enumerate((ON_TIME, LATE.format(60_000), LATE.format(7_200_000), "NULL")):
        await owe(database, due_at, number)
    await sampler.sample()
    assert gauge("queue_dispatches", state="due") == 2
    assert gauge("queue_dispatches", state="waiting") == 1
    assert 7200 <= gauge("queue_oldest_due_seconds") < 9000


async def test_a_queue_that_is_not_late_has_no_age(database: Database) -> None:
    await owe(database, "challenge_now() + 600000")
    await Sampler(database, Dispatches(database), []).sample()
    assert gauge("queue_dispatches", state="waiting") == 1
    assert gauge("queue_oldest_due_seconds") == 0


async def test_reading_the_queue_walks_its_index_up_to_a_bound(
    database: Database, database_url: str
) -> None:
    await owe(database, LATE.format(0))
    names = session_statements.COLUMNS.replace("session_id, ", "")
    await database.rows(
        "WITH RECURSIVE numbers(n) AS ("
        "SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 15000) "
        f"INSERT INTO hosted_session (session_id, due_at, {names}) "
        f"SELECT session_id || n, CASE WHEN n < 11000 THEN due_at END, {names} "
        "FROM hosted_session, numbers RETURNING 1"
    )
    queue = await Dispatches(database).queue()
    assert (queue.due, queue.waiting) == (10_000, 0)
    if database_url.startswith("sqlite"):
        plan = await database.rows(f"EXPLAIN QUERY PLAN {QUEUE}")
        walks = [step[3] for step in plan if "hosted_session" in step[3]]
        assert walks
        assert all("USING COVERING INDEX hosted_session_due" in walk for walk in walks)
    else:
        await database.rows("ANALYZE hosted_session")
        plan = json.dumps((await database.rows(f"EXPLAIN (FORMAT JSON) {QUEUE}"))[0][0])
        assert "hosted_session_due" in plan
        assert "Seq Scan" not in plan


@one_database
async def test_a_queue_that_cannot_be_read_shows_no_figure(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(self: Store) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(Dispatches, "queue", unavailable)
    await Sampler(database, Dispatches(database), []).sample()
    assert math.isnan(gauge("queue_dispatches", state="due"))
    assert math.isnan(gauge("queue_oldest_due_seconds"))


@one_database
async def test_a_breaker_that_opens(database: Database) -> None:
    failing, fine = Provider("test://breaker"), Provider("test://breaker#2")
    lanes = [DeliveryProvider(failing), DeliveryProvider(fine)]
    sampler = Sampler(database, Dispatches(database), lanes)
    await sampler.sample()
    assert gauge("provider_breaker_open", channel="test://breaker") == 0
    failing.results = [Result(Outcome.RETRY, blames=Blame.PROVIDER)] * 5
    for _ in range(5):
        await lanes[0].deliver(MESSAGE)
    await sampler.sample()
    assert gauge("provider_breaker_open", channel="test://breaker") == 1
    assert gauge("provider_breaker_open", channel="test://breaker#2") == 0


async def test_the_usage_of_the_database(database: Database, database_url: str) -> None:
    await Sampler(database, Dispatches(database), []).sample()
    assert gauge("database_statements") == 0
    assert gauge("database_connections") == (1 if database_url.startswith("sqlite") else 4)
    under_way = [database.rows("SELECT 1") for _ in range(9)]
    tasks = [asyncio.ensure_future(one) for one in under_way]
    await asyncio.sleep(0)  # they have begun
    assert database.usage().statements == 9
    await asyncio.gather(*tasks)
    assert database.usage().statements == 0


@one_database
async def test_what_waits_for_a_provider(database: Database) -> None:
    provider = Provider("test://slots")
    provider.gate.clear()
    lane = DeliveryProvider(provider)

    async def deliver() -> None:
        assert await lane.enter()
        await lane.deliver(MESSAGE)
        lane.leave()

    tasks = [asyncio.ensure_future(deliver()) for _ in range(70)]
    await eventually(lambda: called(provider, 64))
    sampler = Sampler(database, Dispatches(database), [lane])
    await sampler.sample()
    assert gauge("provider_calls", channel="test://slots") == 64
    assert gauge("provider_calls_waiting", channel="test://slots") == 6
    provider.gate.set()
    await asyncio.gather(*tasks)
    await sampler.sample()
    assert gauge("provider_calls", channel="test://slots") == 0
    assert gauge("provider_calls_waiting", channel="test://slots") == 0


async def called(provider: Provider, times: int) -> bool:
    return len(provider.calls) == times


@one_database
async def test_sampling_goes_on_whatever_fails(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = 0

    async def broken(self: Sampler) -> None:
        nonlocal times
        times += 1
        raise RuntimeError

    async def sampled_again() -> bool:
        return times > 2

    monkeypatch.setattr(sampling, "_PAUSE_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(Sampler, "sample", broken)
    sampler = Sampler(database, Dispatches(database), [])
    sampler.start()
    await eventually(sampled_again)
    await sampler.stop()
