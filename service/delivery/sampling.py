"""The gauges that have to be looked up: providers, queue, database.

Every few seconds, however often anybody scrapes: the statement's cost is bounded, and so is how
often it runs.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Sequence

from service.aio.tasks import Loop
from service.delivery.providers import Provider
from service.errors import StoreUnavailable
from service.storage.database import Database
from service.storage.dispatches import Dispatches, Queue
from service.telemetry import logs, metrics

_PAUSE_SECONDS = (4.0, 6.0)
_UNKNOWN = Queue(math.nan, math.nan, math.nan)
"""NaN: no comparison with it is true, so an old figure raises no alert and quiets none."""


class Sampler(Loop):
    """Sets the gauges."""

    def __init__(
        self, database: Database, dispatches: Dispatches, providers: Sequence[Provider]
    ) -> None:
        self._database = database
        self._dispatches = dispatches
        self._providers = providers

    async def run(self) -> None:
        """Sets them again and again, until cancelled."""
        while True:
            try:
                await self.sample()
            except Exception:  # metrics are the last thing that may stop
                logs.exception("sampling_failed")
            await asyncio.sleep(random.uniform(*_PAUSE_SECONDS))

    async def sample(self) -> None:
        """Sets them once."""
        for provider in self._providers:
            metrics.PROVIDER_CALLS.labels(provider.name).set(provider.under_way)
            metrics.PROVIDER_CALLS_WAITING.labels(provider.name).set(provider.waiting)
            is_open = provider.unavailable_for() > 0
            metrics.PROVIDER_BREAKER_OPEN.labels(provider.name).set(is_open)
        usage = self._database.usage()
        metrics.DATABASE_STATEMENTS.set(usage.statements)
        metrics.DATABASE_CONNECTIONS.set(usage.connections)
        try:
            queue = await self._dispatches.queue()
        except StoreUnavailable:
            queue = _UNKNOWN
        metrics.QUEUE_DISPATCHES.labels("due").set(queue.due)
        metrics.QUEUE_DISPATCHES.labels("waiting").set(queue.waiting)
        metrics.QUEUE_OLDEST_DUE.set(queue.oldest_due_ms / 1000)
