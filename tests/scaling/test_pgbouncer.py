"""The service behind PgBouncer in transaction mode, with fewer connections than it has clients.

Cases of the other suites are run here again, with PgBouncer in between.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest

from service.challenges.rules import LONGEST_LIFE_MS
from service.errors import StoreUnavailable
from service.settings import Settings
from service.storage.archive import Archive
from service.storage.postgres import database as postgres
from service.storage.postgres import engines
from service.storage.retention import Retention
from tests.challenges.test_quotas import (  # noqa: F401
    test_sends_to_one_number_at_once_never_exceed_its_quota,
    test_what_was_refused_for_its_quota_counts_for_nothing,
)
from tests.challenges.test_verify import (  # noqa: F401
    session,
    test_a_hundred_right_answers_at_once_are_one_success,
    test_a_hundred_wrong_answers_at_once_count_five,
)
from tests.delivery.test_send import (  # noqa: F401
    test_a_code_is_sent_and_accepted_once,
    test_a_provider_that_is_down_gets_the_message_later,
    test_a_repeat_within_the_window_sends_nothing,
    test_fifty_at_once_are_one_delivery,
    test_hanging_up_does_not_cancel_a_claim,
    test_what_a_process_left_behind_is_delivered_by_the_next,
)
from tests.harness.providers import Provider
from tests.harness.service import Service, running
from tests.harness.timing import eventually
from tests.harness.tokens import Issuer
from tests.scaling import pgbouncer
from tests.scaling.pgbouncer import POOL_SIZE
from tests.storage.test_retention import test_rows_are_deleted_only_past_their_time  # noqa: F401


@pytest.fixture(scope="module")
def program() -> str:
    return pgbouncer.require()


@pytest.fixture
def direct_url(postgres_url: str) -> str:
    return postgres_url


@pytest.fixture
def database_url(program: str, direct_url: str) -> Iterator[str]:
    with pgbouncer.running(program, direct_url) as through:
        yield through.url


@pytest.fixture
async def replicas(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> AsyncIterator[list[Service]]:
    """Two services, each with a pool larger than PgBouncer's."""
    async with AsyncExitStack() as stack:
        settings = make_settings()
        yield [
            await stack.enter_async_context(running(settings, provider, clock, issuer))
            for _ in range(2)
        ]


async def test_two_replicas_share_fewer_connections_than_they_ask_for(
    replicas: list[Service], provider: Provider, direct_url: str
) -> None:
    one, other = replicas
    sessions = [await one.challenged(phone=f"+1415{2_000_000 + n}") for n in range(40)]
    answers = await asyncio.gather(
        *(service.send(each) for each in sessions for service in replicas)
    )
    assert all(answer.code_sent for answer in answers)
    assert len(provider.accepted) == len(sessions)
    await eventually(other.settled)
    watcher = await asyncpg.connect(direct_url)
    backends = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'challenge-service'"
    try:
        assert 1 <= await watcher.fetchval(backends) <= POOL_SIZE
        assert await watcher.fetchval("SELECT count(*) FROM attempt") == len(sessions)
    finally:
        await watcher.close()


async def test_statements_stay_prepared_where_pgbouncer_sees_to_it(
    program: str, direct_url: str, database_url: str
) -> None:
    for url, kept in ((direct_url, True), (database_url, pgbouncer.prepares(program))):
        database = await engines.connect(url, 1)
        await asyncio.gather(*(database.row("SELECT 1") for _ in range(4)))
        found = await database.row("SELECT count(*) FROM pg_prepared_statements")
        await database.close()
        assert found is not None
        assert (found[0] > 0) == kept


async def test_a_statement_that_hangs_is_given_up_and_its_connection_with_it(
    database_url: str, direct_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_COMMAND_SECONDS", 0.5)
    database = await engines.connect(database_url, 4)
    holder = await asyncpg.connect(direct_url)
    await holder.execute("CREATE TABLE held ()")
    async with holder.transaction():
        await holder.execute("LOCK TABLE held")
        stuck = [database.row("SELECT count(*) FROM held") for _ in range(3 * POOL_SIZE)]
        async with asyncio.timeout(10):
            results = await asyncio.gather(*stuck, return_exceptions=True)
        assert {type(result) for result in results} == {StoreUnavailable}
    monkeypatch.setattr(postgres, "_COMMAND_SECONDS", 5.0)
    assert await database.row("SELECT count(*) FROM held") == (0,)
    await database.close()
    await holder.close()


async def prepared(url: str) -> int:
    """Counts what is prepared on PgBouncer's connections."""
    connection = await asyncpg.connect(url, statement_cache_size=0)
    try:
        counting = "SELECT count(*) FROM pg_prepared_statements"
        return sum([await connection.fetchval(counting) for _ in range(POOL_SIZE)])
    finally:
        await connection.close()


async def test_migrating_again_through_pgbouncer_changes_nothing(
    database_url: str, direct_url: str
) -> None:
    # Processes, as each begins again to count what it prepares; twice over each connection.
    command = (sys.executable, "-m", "service", "migrate")
    environment = {**os.environ, "CHALLENGE_DATABASE_URL": database_url}
    for _ in range(2):
        at_once = [
            asyncio.to_thread(
                subprocess.run, command, env=environment, capture_output=True, text=True
            )
            for _ in range(POOL_SIZE)
        ]
        for done in await asyncio.gather(*at_once):
            assert (done.stderr, done.stdout) == ("", "the schema is up to date\n")
        assert await prepared(database_url) == 0
    database = await engines.connect(database_url, 1)
    await database.check_schema()
    retention = Retention(Archive(database), 30, 540, LONGEST_LIFE_MS)
    assert not any(await retention.purge())
    await database.close()
