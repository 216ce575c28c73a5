"""The statements on SQLite, through the standard library's driver."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from service.errors import CannotProceed, StoreUnavailable
from service.storage import archive_statements, dispatch_statements, session_statements
from service.storage.changes import Change, in_turn
from service.storage.database import Usage, constraint_error
from service.storage.schema import require_schema
from service.storage.sqlite.transactions import Operation, Row, Transactions

RECLAIM_DUE = dispatch_statements.RECLAIM_DUE.format(skip_locked="")
PURGE_QUOTAS = archive_statements.PURGE_QUOTAS.format(skip_locked="")
PURGE_ATTEMPTS = archive_statements.PURGE_ATTEMPTS.format(ledger="attempt")


class SQLite:
    """See `database.Database`."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._statements = 0

    @classmethod
    async def open(cls, path: Path, now_ms: Callable[[], int]) -> SQLite:
        """Opens the file for this process alone; see `transactions.Transactions.open`.

        Raises:
            CannotProceed: No such file, or another process has it.
        """
        try:
            return cls(await Transactions.open(path, now_ms))
        except FileNotFoundError:
            raise CannotProceed(
                "CHALLENGE_DATABASE_URL", f"{path} does not exist; run: challenge migrate"
            ) from None
        except sqlite3.Error as error:
            why = "another process has it open" if "locked" in str(error) else error
            raise CannotProceed("CHALLENGE_DATABASE_URL", f"cannot open {path}: {why}") from None

    async def row(self, sql: str, *args: object) -> Row | None:
        rows = await self.rows(sql, *args)
        return rows[0] if rows else None

    async def rows(self, sql: str, *args: object) -> Sequence[Row]:
        return await self._run(lambda connection: _fetch(connection, sql, _numbered(args)))

    async def change(self, change: Change, *args: object) -> Row | None:
        def together(connection: sqlite3.Connection) -> list[Row]:
            rows = _fetch(connection, change.statement, _numbered(args))
            for sql, its_args in in_turn(change, args, done=bool(rows)):
                _fetch(connection, sql, _numbered(its_args))
            return rows

        try:
            rows = await self._run(together)
        except sqlite3.IntegrityError as error:
            raise constraint_error(str(error)) or error from None
        return rows[0] if rows else None

    async def reclaim_due(self, lease_ms: int, limit: int, but_not: str) -> Sequence[Row]:
        return await self.rows(RECLAIM_DUE, lease_ms, limit, but_not)

    def usage(self) -> Usage:
        return Usage(self._statements, 1)

    async def make_partitions(self) -> None:
        """Does nothing: the ledger has no partitions here."""

    async def drop_partitions(self, age_ms: int) -> int:
        return 0

    async def purge_attempts(self, *args: object) -> Sequence[Row]:
        return await self.rows(PURGE_ATTEMPTS, *args)

    async def purge_quotas(self, limit: int) -> int:
        return len(await self.rows(PURGE_QUOTAS, limit))

    async def scrub(self) -> None:
        await self._transactions.checkpoint()

    async def check_schema(self) -> None:
        try:
            row = await self.row(session_statements.SCHEMA_VERSION)
        except StoreUnavailable:  # no such table
            row = None
        require_schema(None if row is None else row[0])

    async def check_writable(self) -> None:
        await self.rows("UPDATE alembic_version SET version_num = version_num")

    async def close(self) -> None:
        await self._transactions.close()

    async def _run(self, operation: Operation) -> list[Row]:
        self._statements += 1
        try:
            return await self._transactions.run(operation)
        except sqlite3.OperationalError as error:  # disk full, I/O error
            raise StoreUnavailable(str(error)) from error
        finally:
            self._statements -= 1


def _fetch(connection: sqlite3.Connection, sql: str, numbered: dict[str, object]) -> list[Row]:
    return connection.execute(sql, numbered).fetchall()


def _numbered(args: Sequence[object]) -> dict[str, object]:
    return {str(number): value for number, value in enumerate(args, start=1)}
