"""SQLite: what is asked for at once becomes durable at once, and fails apart or together."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from service.errors import StoreUnavailable
from service.schema import migrate
from service.sqlite import SQLite

ADD = "INSERT INTO quota (key, started_at, ends_at, used, allowed) VALUES ($1, 0, 0, $2, 5)"
KEYS = "SELECT key FROM quota ORDER BY key"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SQLite]:
    path = tmp_path / "challenge.db"
    await asyncio.to_thread(migrate, f"sqlite:///{path}")
    database = await SQLite.open(path, lambda: 0)
    yield database
    await database.close()


async def keys(database: SQLite) -> list[str]:
    return [key for (key,) in await database.rows(KEYS)]


async def test_one_commit_is_for_all_that_waited(database: SQLite) -> None:
    ran: list[str] = []
    database._connection.set_trace_callback(ran.append)
    await asyncio.gather(*(database.rows(ADD, f"key {number}", 1) for number in range(20)))
    assert ran.count("COMMIT") == 1
    assert sum("INSERT" in statement for statement in ran) == 20
    assert len(await keys(database)) == 20


async def test_no_transaction_holds_more_than_64(database: SQLite) -> None:
    ran: list[str] = []
    database._connection.set_trace_callback(ran.append)
    await asyncio.gather(*(database.rows(ADD, f"key {number}", 1) for number in range(130)))
    assert ran.count("COMMIT") == 3


async def test_what_its_data_make_fail_leaves_nothing_and_the_others_go_on(
    database: SQLite,
) -> None:
    def half() -> list[Any]:
        database._execute(ADD, {"1": "half", "2": 1})
        return database._execute(ADD, {"1": "too many", "2": 6})

    found = await asyncio.gather(
        database.rows(ADD, "before", 1), database._run(half), database.rows(ADD, "after", 1),
        return_exceptions=True,
    )  # fmt: skip
    assert isinstance(found[1], sqlite3.IntegrityError)
    assert await keys(database) == ["after", "before"]


async def test_when_the_database_fails_none_is_acknowledged_and_none_is_there(
    database: SQLite,
) -> None:
    found = await asyncio.gather(
        database.rows(ADD, "before", 1), database.rows("SELECT * FROM missing"),
        database.rows(ADD, "after", 1), return_exceptions=True,
    )  # fmt: skip
    assert [type(one) for one in found] == [StoreUnavailable] * 3
    assert await keys(database) == []


class Failing:
    """A connection whose next COMMIT fails in a way that nobody foresaw."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.fails = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        if sql == "COMMIT" and self.fails:
            self.fails = False
            raise sqlite3.DatabaseError("database disk image is malformed")
        return self._connection.execute(sql, *args)


async def test_a_failure_of_any_kind_reaches_all_who_wait(database: SQLite) -> None:
    database._connection = Failing(database._connection)  # type: ignore[assignment]
    found = await asyncio.gather(
        *(database.rows(ADD, key, 1) for key in "ab"), return_exceptions=True
    )
    assert [type(one) for one in found] == [sqlite3.DatabaseError] * 2
    await database.rows(ADD, "later", 1)
    assert await keys(database) == ["later"]


async def test_who_gives_up_keeps_nobody_else_waiting(database: SQLite) -> None:
    tasks = [asyncio.create_task(database.rows(ADD, f"key {number}", 1)) for number in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found[1], asyncio.CancelledError)
    assert {"key 0", "key 2"} <= set(await keys(database))


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
