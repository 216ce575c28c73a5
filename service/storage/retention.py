"""Retention: destinations are wiped when their session has ended, rows are deleted later."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from service.aio.tasks import Loop
from service.errors import StoreUnavailable
from service.storage.archive import Archive
from service.telemetry import logs

_BATCH = 500
_PAUSE_SECONDS = (45.0, 75.0)
_DAY_MS = 24 * 3_600_000


class Forgotten(NamedTuple):
    """How many were forgotten.

    Attributes:
        destinations: Wiped from sessions past their time.
        sessions: Rows deleted.
        partitions: Days of the ledger dropped whole, on PostgreSQL.
        attempts: Rows of the ledger deleted one by one.
        requests: Rows deleted.
        quotas: Rows deleted.
        events: Rows of the evidence deleted.
    """

    destinations: int
    sessions: int
    partitions: int
    attempts: int
    requests: int
    quotas: int
    events: int


class Retention(Loop):
    """Forgets what is past its retention, in small batches that hold no lock for long."""

    def __init__(self, archive: Archive, days: int, evidence_days: int) -> None:
        """Starts nothing.

        Args:
            archive: Where the rows are.
            days: How long rows are kept after their session's end.
            evidence_days: How long evidence is.
        """
        self._archive = archive
        self._age_ms = days * _DAY_MS
        self._evidence_age_ms = evidence_days * _DAY_MS

    async def purge(self, progress: Callable[[str, int], None] | None = None) -> Forgotten:
        """Forgets everything that is past its retention.

        Args:
            progress: Called after each batch with what it was and how many so far.
        """

        async def in_batches(name: str, batch: Callable[[], Awaitable[int]]) -> int:
            total = 0
            while (count := await batch()) > 0:
                total += count
                if progress is not None:
                    progress(name, total)
            return total

        archive, age = self._archive, self._age_ms
        return Forgotten(
            await in_batches("destinations", lambda: archive.wipe(_BATCH)),
            await in_batches("sessions", lambda: archive.purge_sessions(_BATCH, age)),
            await in_batches("partitions", lambda: archive.drop_partitions(age)),
            await in_batches("attempts", lambda: archive.purge_attempts(_BATCH, age)),
            await in_batches("requests", lambda: archive.purge_requests(_BATCH)),
            await in_batches("quotas", lambda: archive.purge_quotas(_BATCH)),
            await in_batches(
                "events", lambda: archive.purge_evidence(_BATCH, self._evidence_age_ms)
            ),
        )

    async def run(self) -> None:
        """Purges about once a minute, until cancelled."""
        while True:
            await asyncio.sleep(random.uniform(*_PAUSE_SECONDS))
            try:
                await self._archive.make_partitions()
                forgotten = await self.purge()
            except StoreUnavailable as error:
                logs.warning("purge_failed", error=str(error))
                continue
            except Exception:  # whatever failed, the next purge must run
                logs.exception("purge_failed")
                continue
            if any(forgotten):
                logs.info("purged", **forgotten._asdict())
