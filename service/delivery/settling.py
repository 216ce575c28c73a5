"""Settling: how a try ended is written down, once, however the row has moved on meanwhile."""

from __future__ import annotations

from service.evidence.events import Events
from service.storage.archive import Archive
from service.storage.rows import Attempt, AttemptRecord, SessionRow, Settlement
from service.storage.store import Store

_MOST_ATTEMPTS = 100
"""Attempts that are read of one dispatch; its pauses leave a code's life no room for more."""


class Settling:
    """Writes settlements, each with its row in the ledger and its event."""

    def __init__(self, store: Store, archive: Archive, events: Events) -> None:
        self._store = store
        self._archive = archive
        self._events = events

    async def attempts(self, claimed: SessionRow) -> list[Attempt]:
        """Reads the attempts of a dispatch. Each claim of it has raised the fence by one."""
        before = claimed.fence - claimed.tries
        return await self._archive.attempts(claimed, before, _MOST_ATTEMPTS)

    async def settle(
        self,
        claimed: SessionRow,
        settlement: Settlement,
        attempt: AttemptRecord | None,
        ended_at: int,
    ) -> int | None:
        """Settles a try. It may be asked for again when the answer has been lost.

        Args:
            claimed: The row as claimed for it.
            settlement: How it ended.
            attempt: The provider's answer, if one was asked.
            ended_at: When it did, on the database's clock.

        Returns:
            How many tries of the dispatch may have delivered without our knowing, or None where the
            claim had been outdated: then only ledger and evidence are written.

        Raises:
            StoreUnavailable: The database does not answer.
        """
        row: SessionRow | None = claimed
        while row is not None and _is_ours(row, claimed):
            event = self._events.sent(row, claimed, settlement, attempt, ended_at)
            unknowns = await self._store.settle(claimed, settlement, attempt, event)
            if unknowns is not None:
                return unknowns
            row = await self._store.read(claimed.session_id)
        while row is not None and attempt is not None:
            event = self._events.sent(row, claimed, settlement, attempt, ended_at)
            if await self._archive.append_attempt(claimed, attempt, event):
                break
            tries = await self._archive.attempts(claimed, claimed.fence - 1, 1)
            if tries and tries[0].fence == claimed.fence:
                break  # it was written before, and the answer was lost
            row = await self._store.read(claimed.session_id)
        return None


def _is_ours(row: SessionRow, claimed: SessionRow) -> bool:
    return row.fence == claimed.fence and row.dispatch_state == "sending"
