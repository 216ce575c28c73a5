"""Leases: extended for as long as the providers of their claims take their time."""

from __future__ import annotations

import asyncio
from types import TracebackType

from service.aio.tasks import Loop
from service.errors import StoreUnavailable
from service.storage.dispatches import Dispatches
from service.storage.rows import SessionRow
from service.telemetry import logs


class Leases(Loop):
    """The leases of claims, all extended every third of a lease by one timer."""

    def __init__(self, dispatches: Dispatches, lease_ms: int) -> None:
        self._dispatches = dispatches
        self._lease_ms = lease_ms
        self._held: set[_Hold] = set()
        self._extending: dict[_Hold, asyncio.Task[None]] = {}

    def hold(self, claimed: SessionRow) -> _Hold:
        """Makes a context manager that has a lease extended for as long as its block runs."""
        return _Hold(self._held, claimed)

    async def extend(self, claimed: SessionRow) -> bool:
        """Extends a lease now; False when it is lost.

        Raises:
            StoreUnavailable: The database does not answer.
        """
        return await self._dispatches.extend(claimed, self._lease_ms)

    async def stop(self) -> None:
        """Stops extending; waits for what is under way."""
        await super().stop()
        extending = list(self._extending.values())
        for task in extending:
            task.cancel()
        await asyncio.gather(*extending, return_exceptions=True)

    async def run(self) -> None:
        """Extends the leases that are held, until cancelled."""
        while True:
            await asyncio.sleep(self._lease_ms / 3000)
            for hold in self._held - self._extending.keys():  # one that hangs delays no other
                self._extending[hold] = asyncio.create_task(self._extend_held(hold))

    async def _extend_held(self, hold: _Hold) -> None:
        session_id = hold.claimed.session_id
        try:
            if not await self.extend(hold.claimed):
                logs.warning("lease_lost", session_id=session_id)
                self._held.discard(hold)
        except StoreUnavailable as error:
            logs.warning("lease_not_extended", session_id=session_id, error=str(error))
        finally:
            del self._extending[hold]


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
