"""What the health service says: whether this process can serve, and that it lives.

A proxy asks for readiness and uses another replica while the database cannot be written to. Whoever
restarts processes asks for `liveness`, which knows nothing of the database: an outage of the
database must not restart every replica.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer

from service.aio.tasks import Loop
from service.errors import StoreUnavailable
from service.telemetry import logs

LIVENESS = "liveness"
_PAUSE_SECONDS = 1.0
_PAUSE_SECONDS_NOT_READY = 0.25


class Readiness(Loop):
    """Checks about once a second whether calls can be served, and tells the health service."""

    def __init__(
        self, health: HealthServicer, services: Sequence[str], check: Callable[[], Awaitable[None]]
    ) -> None:
        """Reports nothing yet.

        Args:
            health: The health service that is told.
            services: The names that readiness is reported under.
            check: Raises when calls cannot be served now.
        """
        self._health = health
        self._services = services
        self._check = check
        self._ready: bool | None = None

    async def begin(self) -> None:
        """Checks once, reports the result, and goes on checking."""
        await self._health.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
        await self.once()
        self.start()

    async def stop(self) -> None:
        """Says that this process is not ready, for good; it still lives."""
        await super().stop()
        await self._say(False)

    async def run(self) -> None:
        """Checks until cancelled."""
        while True:
            await asyncio.sleep(_PAUSE_SECONDS if self._ready else _PAUSE_SECONDS_NOT_READY)
            await self.once()

    async def once(self) -> None:
        """Checks, and reports a change."""
        try:
            await self._check()
        except StoreUnavailable as error:
            await self._found(False, error=str(error))
        except Exception:  # whatever it is, it may pass
            logs.exception("readiness_failed")
            await self._found(False)
        else:
            await self._found(True)

    async def _found(self, ready: bool, **why: str) -> None:
        if ready is self._ready:
            return
        if not ready:
            logs.warning("not_ready", **why)
        elif self._ready is False:
            logs.info("ready")
        self._ready = ready
        await self._say(ready)

    async def _say(self, ready: bool) -> None:
        said = health_pb2.HealthCheckResponse
        for name in self._services:
            await self._health.set(name, said.SERVING if ready else said.NOT_SERVING)
