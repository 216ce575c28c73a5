"""What the health service says: whether this process can serve, and that it lives.

A proxy asks for readiness and looks elsewhere while the database cannot be written to. Whoever
restarts processes asks for `liveness`, which knows nothing of the database: an outage of the
database must not restart every replica.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer

from service.errors import StoreUnavailable
from service.telemetry import logs

LIVENESS = "liveness"
_PAUSE_SECONDS = 1.0
_PAUSE_SECONDS_NOT_READY = 0.25


class Readiness:
    """Looks about once a second whether calls can be served, and says so."""

    def __init__(
        self, health: HealthServicer, services: Sequence[str], check: Callable[[], Awaitable[None]]
    ) -> None:
        """Says that none is served yet.

        Args:
            health: Where it is said.
            services: Names that readiness is asked for by.
            check: Raises when calls cannot be served now.
        """
        self._health = health
        self._services = services
        self._check = check
        self._ready: bool | None = None

    async def start(self) -> None:
        """Says how things are, and goes on to look."""
        await self._health.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
        await self.once()
        self._task = asyncio.create_task(self.watch())

    async def stop(self) -> None:
        """Says that this process is not ready, for good; it still lives."""
        self._task.cancel()
        await self._say(False)

    async def watch(self) -> None:
        """Looks again and again, until cancelled."""
        while True:
            await asyncio.sleep(_PAUSE_SECONDS if self._ready else _PAUSE_SECONDS_NOT_READY)
            await self.once()

    async def once(self) -> None:
        """Looks, and says what has changed."""
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
