"""The statements on SQLite: one connection, in one thread of its own.

One connection because SQLite before 3.51.3 can corrupt a WAL that several share; the exclusive
locking mode holds it, and refuses a second process.

What is asked for while a transaction runs is done in the next one, all together: making that one
durable costs as much as making any single write durable.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from service import statements
from service.database import Load, QuotaSpent, require_schema
from service.errors import NotReady, StoreUnavailable

_SPEND = statements.SPEND.format(and_claimed="")
_RECLAIM_DUE = statements.RECLAIM_DUE.format(skip_locked="")
_PURGE_ATTEMPTS = statements.PURGE_ATTEMPTS.format(ledger="attempt")

_TOGETHER = 64
"""Operations in one transaction at most: the first of them waits for the last."""

Row = Sequence[Any]
Operation = Callable[[], list[Row]]
"""Runs in the thread, within a transaction."""
End = list[Row] | Exception
"""How an operation ended."""
Asked = tuple[Operation, asyncio.Future[list[Row]]]
"""An operation, and where whoever asked for it waits."""


class SQLite:
    """One connection; see `database.Database`."""

    def __init__(
        self, connection: sqlite3.Connection, thread: ThreadPoolExecutor, now_ms: Callable[[], int]
    ) -> None:
        self._connection = connection
        self._thread = thread
        self._now_ms = now_ms
        self._now = 0
        self._statements = 0
        self._asked: list[Asked] = []
        self._at_work: asyncio.Task[None] | None = None
        connection.create_function("challenge_now", 0, lambda: self._now)

    @classmethod
    async def open(cls, path: Path, now_ms: Callable[[], int]) -> SQLite:
        """Opens the file for this process alone.

        Args:
            path: The file, made by `challenge migrate`.
            now_ms: The clock, milliseconds since the Unix epoch.

        Raises:
            NotReady: No such file, or another process has it.
        """
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite")
        loop = asyncio.get_running_loop()
        try:
            return cls(await loop.run_in_executor(thread, _open, path), thread, now_ms)
        except FileNotFoundError:
            thread.shutdown()
            raise NotReady(
                f"CHALLENGE_DATABASE_URL: {path} does not exist; run: challenge migrate"
            ) from None
        except sqlite3.Error as error:
            thread.shutdown()
            why = "another process has it open" if "locked" in str(error) else error
            raise NotReady(f"CHALLENGE_DATABASE_URL: cannot open {path}: {why}") from None

    async def row(self, sql: str, *args: object) -> Row | None:
        rows = await self._run(lambda: self._execute(sql, _numbered(args)))
        return rows[0] if rows else None

    async def rows(self, sql: str, *args: object) -> Sequence[Row]:
        return await self._run(lambda: self._execute(sql, _numbered(args)))

    async def claim(self, *args: object) -> Row | None:
        numbered = _numbered(args)

        def both() -> list[Row]:
            claimed = self._execute(statements.CLAIM, numbered)
            if claimed:
                self._execute(_SPEND, numbered)
            return claimed

        try:
            rows = await self._run(both)
        except sqlite3.IntegrityError as error:
            if "quota_spent" not in str(error):
                raise
            raise QuotaSpent from None
        return rows[0] if rows else None

    async def settle(self, *args: object) -> Row | None:
        numbered = _numbered(args)

        def both() -> list[Row]:
            self._execute(statements.APPEND_ATTEMPT, numbered)
            return self._execute(statements.SETTLE, numbered)

        rows = await self._run(both)
        return rows[0] if rows else None

    async def reclaim_due(self, *args: object) -> Sequence[Row]:
        return await self.rows(_RECLAIM_DUE, *args)

    def load(self) -> Load:
        return Load(self._statements, 1)

    async def make_partitions(self) -> None:
        """There are none."""

    async def drop_partitions(self, age_ms: int) -> int:
        return 0

    async def purge_attempts(self, *args: object) -> Sequence[Row]:
        return await self.rows(_PURGE_ATTEMPTS, *args)

    async def check_schema(self) -> None:
        try:
            row = await self.row(statements.SCHEMA_VERSION)
        except StoreUnavailable:  # no such table
            row = None
        require_schema(None if row is None else row[0])

    async def close(self) -> None:
        while self._at_work is not None:
            await asyncio.shield(self._at_work)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown()

    async def _run(self, operation: Operation) -> list[Row]:
        """Has an operation done, whole or not at all, and durable once it returns."""
        result: asyncio.Future[list[Row]] = asyncio.get_running_loop().create_future()
        self._asked.append((operation, result))
        if self._at_work is None:
            self._at_work = asyncio.create_task(self._work_off())
        self._statements += 1
        try:
            return await result
        except sqlite3.OperationalError as error:  # disk full, I/O error
            raise StoreUnavailable(str(error)) from error
        finally:
            self._statements -= 1

    async def _work_off(self) -> None:
        try:
            while self._asked:
                batch, self._asked = self._asked[:_TOGETHER], self._asked[_TOGETHER:]
                await self._work_on([asked for asked in batch if not asked[1].cancelled()])
        finally:
            self._at_work = None

    async def _work_on(self, batch: Sequence[Asked]) -> None:
        loop = asyncio.get_running_loop()
        operations = [operation for operation, _ in batch]
        ends: Sequence[End]
        try:
            ends = await loop.run_in_executor(self._thread, self._do, operations)
        except RuntimeError as error:  # closed
            ends = [error] * len(batch)
        for (_, result), end in zip(batch, ends, strict=True):
            if result.cancelled():  # meanwhile
                continue
            if isinstance(end, Exception):
                result.set_exception(end)
            else:
                result.set_result(end)

    def _do(self, operations: Sequence[Operation]) -> list[End]:
        """Does them together; where that fails, one by one, so that none fails for another's sake.

        When the disk is full, what only reads goes on.
        """
        try:
            return self._together(operations)
        except Exception as error:
            if len(operations) == 1:
                return [error]
            return [end for operation in operations for end in self._do([operation])]

    def _together(self, operations: Sequence[Operation]) -> list[End]:
        """Does them in one transaction, or, when it raises, none of them."""
        self._now = self._now_ms()  # stands still over all that runs as one, as on PostgreSQL
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            ends = [self._apart(operation) for operation in operations]
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        return ends

    def _apart(self, operation: Operation) -> End:
        """Does one of them; when it fails, nothing of it remains, and the others go on."""
        self._connection.execute("SAVEPOINT operation")
        end: End
        try:
            end = operation()
        except Exception as error:
            if not self._connection.in_transaction:  # SQLite has rolled back all of it
                raise
            self._connection.execute("ROLLBACK TO operation")
            end = error
        self._connection.execute("RELEASE operation")
        return end

    def _execute(self, sql: str, numbered: dict[str, object]) -> list[Row]:
        return self._connection.execute(sql, numbered).fetchall()


def _numbered(args: Sequence[object]) -> dict[str, object]:
    return {str(number): value for number, value in enumerate(args, start=1)}


def _open(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise FileNotFoundError(path)
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")  # takes the lock that locking_mode then keeps
        connection.execute("COMMIT")
    except sqlite3.Error:
        connection.close()
        raise
    return connection
