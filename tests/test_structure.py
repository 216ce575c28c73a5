"""What calls cost, without a clock: statements, plans, and what must not grow."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import asyncpg
import pytest

from service.settings import Settings
from service.storage.changes import Change, as_one
from service.storage.database import Database
from service.storage.dispatch_statements import CLAIM, RECLAIM_DUE, SETTLE_ATTEMPT
from service.storage.postgres import database as postgres
from service.storage.postgres.connections import Connections
from service.storage.postgres.hosts import Hosts
from service.storage.retention import Retention
from service.storage.session_statements import (
    ANSWER,
    CONFIRM,
    FALL_BACK,
    ISSUE,
    READ,
    UPDATE_PAYMENT,
)
from tests.harness import service as harness
from tests.harness.marks import on_postgres, one_database
from tests.harness.providers import Provider
from tests.harness.service import Service, running
from tests.harness.timing import eventually
from tests.harness.tokens import Issuer
from tests.storage.test_schema import all_in_turn

_TABLES = "hosted_session|quota|attempt|evidence"
_ROWS = 20_000
"""Enough that reading a whole table is never the cheapest plan."""
_BACKGROUND = ("reclaim_due", "rows", "check_writable")
"""What the sweeps ask for, beside the calls."""


class Counting:
    """A database that notes the operations it is asked for; each is one round trip."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.asked: list[str] = []
        self.may_settle = asyncio.Event()
        self.may_settle.set()

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._database, name)
        if not inspect.iscoroutinefunction(operation) or name in _BACKGROUND:
            return operation

        async def counted(*args: Any) -> Any:
            self.asked.append(_name(name, *args))
            if args and args[0] is SETTLE_ATTEMPT:
                await self.may_settle.wait()
            return await operation(*args)

        return counted


def _name(operation: str, asked: object = None, *_: object) -> str:
    """Names a change, or the operation that runs one statement."""
    return asked.name if isinstance(asked, Change) else operation


@pytest.fixture
async def counting(
    make_settings: Callable[..., Settings],
    provider: Provider,
    clock: Any,
    issuer: Issuer,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[tuple[Service, Counting]]:
    """A running service, and the count of what it asks its database for."""
    wrapped: list[Counting] = []
    original = harness.open_database

    async def opened(*args: Any) -> Counting:
        wrapped.append(Counting(await original(*args)))
        return wrapped[0]

    monkeypatch.setattr(harness, "open_database", opened)
    async with running(make_settings(), provider, clock, issuer) as service:
        yield service, wrapped[0]


async def test_a_first_send_takes_two_statements(counting: tuple[Service, Counting]) -> None:
    service, database = counting
    session = await service.challenged()
    database.asked.clear()
    database.may_settle.clear()  # the answer does not wait for it

    answer = await service.send(session)

    assert answer.code_sent
    assert [name for name in database.asked if name != "SETTLE_ATTEMPT"] == ["row", "CLAIM"]
    database.may_settle.set()
    await eventually(lambda: _is(service, session, "dispatch_state", "sent"))
    assert database.asked.count("SETTLE_ATTEMPT") == 1


async def test_a_repeat_takes_one_statement(counting: tuple[Service, Counting]) -> None:
    service, database = counting
    session = await service.challenged()
    await service.send(session)
    await eventually(lambda: _is(service, session, "dispatch_state", "sent"))
    database.asked.clear()

    for _ in range(3):
        await service.send(session)

    assert database.asked == ["row"] * 3


async def test_a_right_answer_takes_two_statements(counting: tuple[Service, Counting]) -> None:
    service, database = counting
    session = await service.challenged()
    await service.send(session)
    await eventually(lambda: _is(service, session, "dispatch_state", "sent"))
    database.asked.clear()

    await service.verify(session, service.provider.code())

    assert database.asked == ["row", "ANSWER"]


@on_postgres
async def test_statements_are_prepared_once(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> None:
    settings = make_settings(database_pool_size=1)
    async with running(settings, provider, clock, issuer) as service:
        for number in range(10):
            session = await service.challenged(_phone(number))
            for _ in range(4):
                await service.send(session)
            await service.verify(session, provider.code())
        prepared = await service.database.rows(
            "SELECT statement, generic_plans + custom_plans FROM pg_prepared_statements"
        )

    runs = {" ".join(statement.split()): count for statement, count in prepared}
    assert len(runs) == len(prepared), "a statement was prepared twice"
    # OpenSession reads nothing; IssueChallenge, each Send and VerifyChallenge read once.
    assert runs[" ".join(READ.split())] == 10 * (1 + 4 + 1)
    assert sum("INSERT INTO quota" in statement for statement in runs) == 3  # open, claim, answer
    for needed in ("sends = sends + 1", "INSERT INTO attempt", "satisfied_at = challenge_now()"):
        assert sum(count for text, count in runs.items() if needed in text) == 10


@on_postgres
async def test_nothing_else_crosses_the_wire(
    make_settings: Callable[..., Settings],
    provider: Provider,
    clock: Any,
    issuer: Issuer,
    monkeypatch: pytest.MonkeyPatch,
    database_url: str,
) -> None:
    async def no_purge(_: Retention) -> None:
        """Leaves the connection to the calls."""

    async def opened(*_: Any) -> postgres.Postgres:
        return postgres.Postgres(connections)

    connections = Connections(Hosts(database_url), 1, prepares=True)
    monkeypatch.setattr(harness, "open_database", opened)
    monkeypatch.setattr(Retention, "run", no_purge)
    settings = make_settings(database_pool_size=1)
    async with running(settings, provider, clock, issuer) as service:
        session = await service.challenged()
        ran: list[str] = []
        connection = await connections.take()  # the only one
        connection.add_query_logger(lambda record: ran.append(record.query))
        connections.give_back(connection)
        await service.send(session)
        await eventually(lambda: _is(service, session, "dispatch_state", "sent"))
        first = _of_calls(ran)
        ran.clear()
        await service.send(session)
        again = _of_calls(ran)
        ran.clear()
        await service.verify(session, provider.code())
        verified = _of_calls(ran)

    assert first == [
        READ, as_one(CLAIM), as_one(SETTLE_ATTEMPT)
    ]  # fmt: skip
    assert again == [READ]
    assert verified == [READ, as_one(ANSWER)]


def _of_calls(ran: list[str]) -> list[str]:
    """Leaves out the sweep's statement, and the test's own look at the row."""
    return [text for text in ran if text != postgres.RECLAIM_DUE and "SELECT dispatch" not in text]


@on_postgres
async def test_plans_on_postgres_use_indexes(
    make_settings: Callable[..., Settings],
    provider: Provider,
    clock: Any,
    issuer: Issuer,
    database_url: str,
) -> None:
    settings = make_settings(database_pool_size=1)
    async with running(settings, provider, clock, issuer) as service:
        session = await service.challenged()
        await service.send(session)
        await service.verify(session, provider.code())
        used = await service.database.rows("SELECT statement FROM pg_prepared_statements")

    connection = await asyncpg.connect(database_url)
    try:
        await _fill(connection)
        plans = {
            text: await _plan(connection, text)
            for (text,) in used
            if re.search(rf"\b(?:{_TABLES})\b", text) and "INSERT INTO hosted_session" not in text
        }
    finally:
        await connection.close()

    assert len(plans) >= 6  # read, issue, claim, settle, answer, sweep
    for text, plan in plans.items():
        scans = [node for node in _nodes(plan) if node["Node Type"] == "Seq Scan"]
        assert not scans, f"{scans[0]['Relation Name']} is read whole by {text}"


@one_database
async def test_plans_on_sqlite_use_indexes(service: Service) -> None:
    changes = (
        ISSUE, CLAIM, SETTLE_ATTEMPT, ANSWER,
        CONFIRM, FALL_BACK, UPDATE_PAYMENT,
    )  # fmt: skip
    hot = (
        READ, RECLAIM_DUE.format(skip_locked=""),
        *(text for change in changes for text in all_in_turn(change)),
    )  # fmt: skip
    for text in hot:
        plan = await service.database.rows(f"EXPLAIN QUERY PLAN {text}", *[None] * 40)
        steps = [step[3] for step in plan]
        whole = [step for step in steps if re.match(rf"SCAN (?:{_TABLES})\b(?!.*INDEX)", step)]
        assert not whole, f"{whole[0]} in {text}"


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
async def test_nothing_grows_with_calls(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> None:
    settings = make_settings(database_pool_size=2)  # warm sooner
    async with running(settings, provider, clock, issuer) as service:
        sessions = [await service.challenged(_phone(number)) for number in range(700)]
        await _use(service, sessions[:200])
        tasks, blocks = len(asyncio.all_tasks()), _blocks(provider)

        await _use(service, sessions[200:])  # 500 first Sends, 2 500 repeats

        await eventually(lambda: _at_most(tasks))
        grown = _blocks(provider) - blocks
    # Whatever kept as much as a key for each session would take 500 at least.
    assert grown < 400, f"{grown} blocks of memory more"


async def _use(service: Service, sessions: list[harness.Session]) -> None:
    """Sends to each session, then repeats it five times, and waits for the last delivery."""
    for first in range(0, len(sessions), 20):
        some = sessions[first : first + 20]
        for _ in range(6):
            await asyncio.gather(*(service.send(session) for session in some))
    for session in sessions:
        await eventually(lambda session=session: _is(service, session, "dispatch_state", "sent"))


def _blocks(provider: Provider) -> int:
    """Counts what is allocated, the stand-in provider's memory aside."""
    provider.calls.clear()
    provider.accepted.clear()
    gc.collect()
    return sys.getallocatedblocks()


async def _at_most(tasks: int) -> bool:
    return len(asyncio.all_tasks()) <= tasks


async def _is(service: Service, session: harness.Session, column: str, value: object) -> bool:
    # Through `rows`, which is not counted.
    rows = await service.database.rows(
        f"SELECT {column} FROM hosted_session WHERE session_id = $1", session.session_id
    )
    return bool(rows[0][0] == value)


async def _fill(connection: asyncpg.Connection) -> None:
    """Multiplies the one session, its quotas and its attempt."""
    for table, key in (
        ("hosted_session", "session_id"),
        ("quota", "key"),
        ("attempt", "session_id"),
        ("evidence", "session_id"),
    ):
        names = [
            row[0]
            for row in await connection.fetch(
                "SELECT column_name FROM information_schema.columns WHERE table_name = $1", table
            )
        ]
        values = ", ".join(f"{name} || n" if name == key else name for name in names)
        await connection.execute(
            f"INSERT INTO {table} ({', '.join(names)}) "
            f"SELECT {values} FROM {table}, generate_series(1, {_ROWS}) AS n"
        )
        await connection.execute(f"ANALYZE {table}")


async def _plan(connection: asyncpg.Connection, text: str) -> dict[str, Any]:
    """Explains a statement whatever the values of its parameters."""
    values = ["NULL"] * max(int(number) for number in re.findall(r"\$(\d+)", text))
    # Not EXPLAIN (GENERIC_PLAN): it would be planned for the values that asyncpg insists on.
    await connection.execute(f"SET plan_cache_mode = force_generic_plan; PREPARE it AS {text}")
    explained = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE it ({', '.join(values)})")
    await connection.execute("DEALLOCATE it")
    plan: dict[str, Any] = json.loads(explained)[0]["Plan"]
    return plan


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _phone(number: int) -> str:
    return f"+1415{2_000_000 + number}"
