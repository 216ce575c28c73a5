"""A database whose operations have spans, by the names of their statements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from service.storage.changes import Change
from service.storage.database import Database
from service.telemetry import tracing


def traced(database: Database) -> Database:
    """Wraps a database in spans; returns it as it is where nothing is traced."""
    return _Traced(database) if tracing.is_on() else database


class _Traced:
    def __init__(self, database: Database) -> None:
        self._database = database
        self.usage = database.usage
        self.make_partitions = database.make_partitions
        self.drop_partitions = database.drop_partitions
        self.purge_attempts = database.purge_attempts
        self.purge_quotas = database.purge_quotas
        self.scrub = database.scrub
        self.check_schema = database.check_schema
        self.check_writable = database.check_writable
        self.close = database.close

    async def row(self, sql: str, *args: object) -> Sequence[Any] | None:
        with tracing.statement(_name(sql)):
            return await self._database.row(sql, *args)

    async def rows(self, sql: str, *args: object) -> Sequence[Sequence[Any]]:
        with tracing.statement(_name(sql)):
            return await self._database.rows(sql, *args)

    async def change(self, change: Change, *args: object) -> Sequence[Any] | None:
        with tracing.statement(change.name):
            return await self._database.change(change, *args)

    async def reclaim_due(self, lease_ms: int, limit: int, but_not: str) -> Sequence[Sequence[Any]]:
        with tracing.statement("RECLAIM_DUE"):
            return await self._database.reclaim_due(lease_ms, limit, but_not)


def _name(sql: str) -> str:
    """Returns what stands in a statement's first line, after `-- `."""
    return sql.partition("\n")[0].removeprefix("-- ")
