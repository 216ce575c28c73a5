"""Transactions on SQLite, over one connection, in one thread of its own.

One connection because SQLite before 3.51.3 can corrupt a WAL that several share; the exclusive
locking mode holds it, and refuses a second process.

Operations that are asked for while a transaction runs share the next one: to make that durable
costs no more than to make a single write durable.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

_TOGETHER = 64
"""Operations in one transaction at most: the first of them waits for the last."""

Row = Sequence[Any]
Operation = Callable[[sqlite3.Connection], list[Row]]
"""Work that takes effect whole or not at all; it runs in the thread, within a transaction."""
_Result = list[Row] | Exception
"""How an operation ended."""
_Request = tuple[Operation, asyncio.Future[list[Row]]]
"""An operation, and the future that its caller waits for."""


class Transactions:
    """Runs operations in the order in which they were asked for."""

    def __init__(
        self, connection: sqlite3.Connection, thread: ThreadPoolExecutor, now_ms: Callable[[], int]
    ) -> None:
        self._connection = connection
        self._thread = thread
        self._now_ms = now_ms
        self._now = 0
        self._requests: list[_Request] = []
        self._running: asyncio.Task[None] | None = None
        connection.create_function("challenge_now", 0, lambda: self._now)

    @classmethod
    async def open(cls, path: Path, now_ms: Callable[[], int]) -> Self:
        """Opens the file for this process alone.

        Args:
            path: The file, made by `challenge migrate`.
            now_ms: The clock, milliseconds since the Unix epoch.

        Raises:
            FileNotFoundError: There is none.
            sqlite3.Error: It is no database, or another process has it.
        """
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite")
        try:
            connection = await asyncio.get_running_loop().run_in_executor(thread, _open, path)
        except BaseException:
            thread.shutdown()
            raise
        return cls(connection, thread, now_ms)

    async def run(self, operation: Operation) -> list[Row]:
        """Runs an operation; its effect is durable once this returns.

        Raises:
            sqlite3.Error: It failed, and left nothing behind.
            RuntimeError: The connection has been closed.
        """
        result: asyncio.Future[list[Row]] = asyncio.get_running_loop().create_future()
        self._requests.append((operation, result))
        if self._running is None:
            self._running = asyncio.create_task(self._work())
        return await result

    async def checkpoint(self) -> None:
        """Moves what the write-ahead log holds into the file, and empties it."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._checkpoint)

    async def close(self) -> None:
        """Runs the operations that wait, then closes the connection."""
        while self._running is not None:
            await asyncio.shield(self._running)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown()

    async def _work(self) -> None:
        try:
            while self._requests:
                batch, self._requests = self._requests[:_TOGETHER], self._requests[_TOGETHER:]
                await self._finish_batch(
                    [request for request in batch if not request[1].cancelled()]
                )
        finally:
            self._running = None

    async def _finish_batch(self, batch: Sequence[_Request]) -> None:
        loop = asyncio.get_running_loop()
        operations = [operation for operation, _ in batch]
        results: Sequence[_Result]
        try:
            results = await loop.run_in_executor(self._thread, self._run_batch, operations)
        except RuntimeError as error:  # the thread has been shut down
            results = [error] * len(batch)
        for (_, future), result in zip(batch, results, strict=True):
            if future.cancelled():  # its caller has given up meanwhile
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

    def _checkpoint(self) -> None:
        # To its last row: SQLite opens no savepoint while a statement is under way.
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _run_batch(self, operations: Sequence[Operation]) -> list[_Result]:
        """Runs operations in one transaction; if that fails, each in its own.

        So one failure does not fail the rest, and reads still succeed while the disk is full.
        """
        try:
            return self._in_one_transaction(operations)
        except Exception as error:
            if len(operations) == 1:
                return [error]
            return [end for operation in operations for end in self._run_batch([operation])]

    def _in_one_transaction(self, operations: Sequence[Operation]) -> list[_Result]:
        """Runs operations in one transaction; none takes effect when it raises."""
        # One time for the batch, as challenge_now() has within a transaction.
        self._now = self._now_ms()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            results = [self._behind_savepoint(operation) for operation in operations]
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        return results

    def _behind_savepoint(self, operation: Operation) -> _Result:
        """Runs one operation; one that fails leaves nothing behind, and the others go on."""
        self._connection.execute("SAVEPOINT operation")
        end: _Result
        try:
            end = operation(self._connection)
        except Exception as error:
            if not self._connection.in_transaction:  # SQLite has rolled back all of it
                raise
            self._connection.execute("ROLLBACK TO operation")
            end = error
        self._connection.execute("RELEASE operation")
        return end


def _open(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise FileNotFoundError(path)
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")  # what is erased is overwritten
        connection.execute("BEGIN IMMEDIATE")  # takes the lock that locking_mode then keeps
        connection.execute("COMMIT")
    except sqlite3.Error:
        connection.close()
        raise
    return connection
