"""SQLite: what is asked for at once becomes durable at once, and fails apart or together."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from service.errors import StoreUnavailable
from service.storage.migrating import migrate
from service.storage.sqlite.database import SQLite
from service.storage.sqlite.transactions import Transactions

ADD = "INSERT INTO quota (key, started_at, ends_at, used, allowed) VALUES ($1, 0, 0, $2, 5)"
KEYS = "SELECT key FROM quota ORDER BY key"


class Watched:
    """A connection that notes what it runs, and commits no write while it is to fail."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._written = 0
        self.ran: list[str] = []
        self.fails: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        self.ran.append(sql)
        if sql.startswith("BEGIN"):
            self._written = self._connection.total_changes
        if sql == "COMMIT" and self.fails and self._connection.total_changes > self._written:
            raise self.fails
        return self._connection.execute(sql, *args)


@pytest.fixture
def connection(sqlite_url: str) -> Watched:
    path = sqlite_url.removeprefix("sqlite:///")
    return Watched(sqlite3.connect(path, isolation_level=None, check_same_thread=False))


@pytest.fixture
def transactions(connection: Watched) -> Transactions:
    return Transactions(connection, ThreadPoolExecutor(max_workers=1), lambda: 0)  # type: ignore[arg-type]


@pytest.fixture
async def database(transactions: Transactions) -> AsyncIterator[SQLite]:
    database = SQLite(transactions)
    yield database
    await database.close()


async def keys(database: SQLite) -> list[str]:
    return [key for (key,) in await database.rows(KEYS)]


async def test_one_commit_is_for_all_that_waited(database: SQLite, connection: Watched) -> None:
    await asyncio.gather(*(database.rows(ADD, f"key {number}", 1) for number in range(20)))
    assert connection.ran.count("COMMIT") == 1
    assert sum("INSERT" in statement for statement in connection.ran) == 20
    assert len(await keys(database)) == 20


async def test_no_transaction_holds_more_than_64(database: SQLite, connection: Watched) -> None:
    await asyncio.gather(*(database.rows(ADD, f"key {number}", 1) for number in range(130)))
    assert connection.ran.count("COMMIT") == 3


async def test_what_its_data_make_fail_leaves_nothing_and_the_others_go_on(
    database: SQLite, transactions: Transactions
) -> None:
    def half(connection: sqlite3.Connection) -> list[Any]:
        connection.execute(ADD, {"1": "half", "2": 1})
        return connection.execute(ADD, {"1": "too many", "2": 6}).fetchall()

    found = await asyncio.gather(
        database.rows(ADD, "before", 1), transactions.run(half), database.rows(ADD, "after", 1),
        return_exceptions=True,
    )  # fmt: skip
    assert isinstance(found[1], sqlite3.IntegrityError)
    assert await keys(database) == ["after", "before"]


async def test_a_statement_that_is_wrong_fails_alone(database: SQLite) -> None:
    found = await asyncio.gather(
        database.rows(ADD, "before", 1), database.rows("SELECT * FROM missing"),
        database.rows(ADD, "after", 1), return_exceptions=True,
    )  # fmt: skip
    assert [type(one) for one in found] == [list, StoreUnavailable, list]
    assert await keys(database) == ["after", "before"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (sqlite3.OperationalError("database or disk is full"), StoreUnavailable),
        (sqlite3.DatabaseError("database disk image is malformed"), sqlite3.DatabaseError),
    ],
)
async def test_what_cannot_be_committed_is_not_acknowledged_and_reads_go_on(
    database: SQLite, connection: Watched, error: Exception, told: type[Exception]
) -> None:
    connection.fails = error
    found = await asyncio.gather(
        database.rows(ADD, "before", 1), database.rows(KEYS), database.rows(ADD, "after", 1),
        return_exceptions=True,
    )  # fmt: skip
    assert [type(one) for one in found] == [told, list, told]
    connection.fails = None
    await database.rows(ADD, "later", 1)
    assert await keys(database) == ["later"]


async def test_what_nobody_waits_for_any_more_is_not_done(database: SQLite) -> None:
    tasks = [asyncio.create_task(database.rows(ADD, f"key {number}", 1)) for number in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    async with asyncio.timeout(60):
        found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found[1], asyncio.CancelledError)
    assert await keys(database) == ["key 0", "key 2"]


async def test_who_gives_up_while_it_is_done_keeps_nobody_else_waiting(
    database: SQLite, transactions: Transactions
) -> None:
    def slowly(connection: sqlite3.Connection) -> list[Any]:
        begun.set()
        assert cancelled.wait(60)
        return []

    begun, cancelled = threading.Event(), threading.Event()
    slow = asyncio.create_task(transactions.run(slowly))
    other = asyncio.create_task(database.rows(ADD, "other", 1))
    assert await asyncio.to_thread(begun.wait, 60)
    slow.cancel()
    await asyncio.sleep(0)
    cancelled.set()
    async with asyncio.timeout(60):
        await other
        assert await keys(database) == ["other"]


async def test_what_was_asked_for_is_done_before_it_closes(tmp_path: Path) -> None:
    path = tmp_path / "challenge.db"
    await asyncio.to_thread(migrate, f"sqlite:///{path}")
    database = await SQLite.open(path, lambda: 0)
    tasks = [asyncio.create_task(database.rows(ADD, f"key {number}", 1)) for number in range(100)]
    await asyncio.sleep(0)
    await database.close()
    await asyncio.gather(*tasks)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM quota").fetchone() == (100,)


async def test_the_log_is_emptied_between_transactions(
    database: SQLite, transactions: Transactions
) -> None:
    """A checkpoint is a statement that is under way until its row is read."""
    for number in range(20):
        added = [database.rows(ADD, f"key {number} {other}", 1) for other in range(3)]
        await asyncio.gather(database.scrub(), *added)
    assert len(await keys(database)) == 60
