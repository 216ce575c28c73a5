"""Settling: how a try ended is written down, once, however the row has moved on meanwhile."""

from __future__ import annotations

from service.evidence.events import Events
from service.storage.dispatches import Dispatches
from service.storage.rows import Event, NewAttempt, SessionRow, Settlement
from service.storage.store import Store


class Settling:
    """Writes settlements, each with its row in the ledger and its event."""

    def __init__(self, store: Store, dispatches: Dispatches, events: Events) -> None:
        self._store = store
        self._dispatches = dispatches
        self._events = events

    async def settle(
        self,
        claimed: SessionRow,
        settlement: Settlement,
        attempt: NewAttempt | None,
        ended_at: int,
    ) -> int | None:
        """Settles a try. It may be asked for again when the answer has been lost.

        Args:
            claimed: The row as claimed for it.
            settlement: How it ended.
            attempt: The provider's reply, if one was called.
            ended_at: When it did, on the database's clock.

        Returns:
            How many tries of the dispatch may have delivered without our knowing, or None where the
            claim had been outdated: then only ledger and evidence are written.

        Raises:
            StoreUnavailable: The database does not answer.
        """
        row: SessionRow | None = claimed
        while row is not None:
            event = self._events.tried(row, claimed, settlement, attempt, ended_at)
            if _is_ours(row, claimed):
                unknowns = await self._dispatches.settle(claimed, settlement, attempt, event)
                if unknowns is not None:
                    return unknowns
            elif attempt is None or await self._write_attempt(claimed, attempt, event):
                return None
            row = await self._store.read(claimed.session_id)
        return None

    async def _write_attempt(self, claimed: SessionRow, attempt: NewAttempt, event: Event) -> bool:
        """Writes ledger and evidence alone, once; False when the row has moved on."""
        if await self._dispatches.append_attempt(claimed, attempt, event):
            return True
        written = await self._dispatches.attempts(claimed, claimed.fence - 1, 1)
        # It may have been before, and the answer was lost.
        return bool(written) and written[0].fence == claimed.fence


def _is_ours(row: SessionRow, claimed: SessionRow) -> bool:
    return row.fence == claimed.fence and row.dispatch_state == "sending"
