"""The sweep: hands what is due to the dispatcher, retries and dead processes' tries alike.

A process that dies leaves its claims behind. Their leases run out on the database's clock, and the
next sweep of any process claims them.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable

from service.aio.tasks import Loop
from service.delivery.dispatch import Dispatcher
from service.errors import StoreUnavailable
from service.storage.database import Database
from service.storage.dispatches import Dispatches
from service.telemetry import logs

_PAUSE_SECONDS = (0.5, 1.5)
_AFTER_OUTAGE_SECONDS = (4.0, 6.0)
"""Much longer than the pauses of `Dispatcher._settle`: a process settles its own tries first, even
one that is slow to reconnect."""
_BATCH = 100


class Sweep(Loop):
    """Claims what is due, for as long as it runs."""

    def __init__(
        self,
        database: Database,
        dispatches: Dispatches,
        dispatcher: Dispatcher,
        lease_ms: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts nothing.

        Args:
            database: Looked at while nothing is to be claimed.
            dispatches: Where the rows are.
            dispatcher: Delivers what is claimed.
            lease_ms: How long a claim lasts unless it is extended.
            monotonic: The clock that the quiet after an outage is measured by, in seconds.
        """
        self._database = database
        self._dispatches = dispatches
        self._dispatcher = dispatcher
        self._lease_ms = lease_ms
        self._monotonic = monotonic
        self._quiet_until = float("-inf")
        self._stopping = asyncio.Event()

    async def stop(self) -> None:
        """Ends after the sweep under way: it may have just claimed some."""
        self._stopping.set()
        await self._task

    async def run(self) -> None:
        """Sweeps until stopped."""
        while not self._stopping.is_set():
            pause = await self.once()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()

    async def once(self) -> float:
        """Claims a batch of what is due and has it delivered.

        Returns:
            Seconds until the next sweep.
        """
        room = min(_BATCH, self._dispatcher.room)
        lease_start = time.monotonic()
        try:
            if not room or self._monotonic() < self._quiet_until:
                # A new outage must not pass unseen, nor one in which only reading works.
                await self._database.check_writable()
                return random.uniform(*_PAUSE_SECONDS)
            due = await self._dispatches.reclaim_due(
                self._lease_ms, room, but_not=self._dispatcher.delivering
            )
        except StoreUnavailable as error:
            logs.warning("sweep_failed", error=str(error))
            self._quiet_until = self._monotonic() + random.uniform(*_AFTER_OUTAGE_SECONDS)
            return random.uniform(*_PAUSE_SECONDS)
        except Exception:  # whatever it is, what is due stays due
            logs.exception("sweep_failed")
            return random.uniform(*_AFTER_OUTAGE_SECONDS)
        for row in due:
            self._dispatcher.deliver(row, lease_start)
        return 0.0 if len(due) == _BATCH else random.uniform(*_PAUSE_SECONDS)
