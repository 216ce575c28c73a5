"""The heartbeat that keeps claims alive while their providers take their time."""

from __future__ import annotations

import asyncio
from types import TracebackType

from service.errors import StoreUnavailable
from service.storage.dispatches import Dispatches
from service.storage.rows import SessionRow
from service.telemetry import logs


class Leases:
    """Claims in hand, all prolonged every third of a lease: one timer, however many there are."""

    def __init__(self, dispatches: Dispatches, lease_ms: int) -> None:
        self._dispatches = dispatches
        self._lease_ms = lease_ms
        self._held: set[_Hold] = set()
        self._beats: dict[_Hold, asyncio.Task[None]] = {}

    def hold(self, claimed: SessionRow) -> _Hold:
        """Makes a context manager that keeps a claim alive for as long as its block runs."""
        return _Hold(self._held, claimed)

    def start(self) -> None:
        """Begins to prolong what is held."""
        self._task = asyncio.create_task(self.keep())

    def stop(self) -> None:
        """Stops prolonging."""
        self._task.cancel()

    async def keep(self) -> None:
        """Prolongs what is held, until cancelled."""
        while True:
            await asyncio.sleep(self._lease_ms / 3000)
            for hold in self._held - self._beats.keys():  # one that hangs delays no other
                self._beats[hold] = asyncio.create_task(self._extend(hold))

    async def _extend(self, hold: _Hold) -> None:
        session_id = hold.claimed.session_id
        try:
            if not await self._dispatches.extend(hold.claimed, self._lease_ms):
                logs.warning("lease_lost", session_id=session_id)
                self._held.discard(hold)
        except StoreUnavailable as error:
            logs.warning("heartbeat_failed", session_id=session_id, error=str(error))
        finally:
            del self._beats[hold]


class _Hold:
    def __init__(self, held: set[_Hold], claimed: SessionRow) -> None:
        self._held = held
        self.claimed = claimed

    def __enter__(self) -> None:
        self._held.add(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._held.discard(self)
