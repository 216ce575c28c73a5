"""Clocks that tests move, instead of waiting: the database's, and the monotonic one."""

from __future__ import annotations

import time
from typing import Protocol

import asyncpg


class Clock(Protocol):
    """Moves what `challenge_now()` answers."""

    async def advance(self, seconds: float) -> None:
        """Moves it on from now."""


class SQLiteClock:
    """The function that the connection calls."""

    def __init__(self) -> None:
        self._ahead_ms = 0

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self._ahead_ms

    async def advance(self, seconds: float) -> None:
        self._ahead_ms += int(seconds * 1000)


class PostgresClock:
    """The function that the migrations made, replaced in the test's own database."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ahead_ms = 0

    def now_ms(self) -> int:
        raise AssertionError("PostgreSQL has a clock of its own")

    async def advance(self, seconds: float) -> None:
        self._ahead_ms += int(seconds * 1000)
        connection = await asyncpg.connect(self._url)
        try:
            await connection.execute(
                "CREATE OR REPLACE FUNCTION challenge_now() RETURNS bigint LANGUAGE sql STABLE AS "
                "$$ SELECT (extract(epoch FROM transaction_timestamp()) * 1000)::bigint "
                f"+ {self._ahead_ms} $$"
            )
        finally:
            await connection.close()


class StillClock:
    """A monotonic clock that stands still until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now
