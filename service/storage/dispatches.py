"""Dispatches: claims, what becomes of them, and the ledger of attempts; no rules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from service.storage import dispatch_statements as statements
from service.storage.database import Database
from service.storage.rows import (
    Attempt,
    Event,
    NewAttempt,
    Quotas,
    SessionRow,
    Settlement,
    flat,
    session_of,
)

_MOST_ATTEMPTS = 100
"""Attempts that are read of one dispatch; its pauses leave a code's life no room for more."""


class Queue(NamedTuple):
    """What is owed: dispatches that have not ended.

    Attributes:
        due: Dispatches that may be claimed now.
        waiting: Dispatches that wait for a provider's reply or their next try.
        oldest_due_ms: For how long the longest overdue has been due; 0 when none is.
    """

    due: float
    waiting: float
    oldest_due_ms: float


class Dispatches:
    """The operations on dispatches. The row of one is its session's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(
        self,
        seen: SessionRow,
        *,
        counter: int,
        code_expires_at: int,
        lease_ms: int,
        window_ms: int,
        wrong_caps: tuple[int, int],
        counts_anew: bool,
        page_origin: str | None,
        traceparent: str | None,
        quotas: Quotas,
    ) -> SessionRow | None:
        """Claims a dispatch and counts it, if the row is still as it was seen.

        Args:
            seen: The row.
            counter: Of the code to send.
            code_expires_at: The end of its life, milliseconds since the Unix epoch.
            lease_ms: How long the claim lasts unless it is extended.
            window_ms: How long a repeat sends nothing.
            wrong_caps: Wrong answers to a code, and in a session, that lock the challenge.
            counts_anew: Whether wrong answers to the code are counted from 0.
            page_origin: Of the page that asks; None for no browser.
            traceparent: Of the Send; None where it is not sampled.
            quotas: Five that are each taken from, then the two of wrong answers, which are not.

        Returns:
            The row as it now is, or None when it has moved on.

        Raises:
            QuotaSpent: A quota is full; nothing was claimed.
        """
        return session_of(
            await self._database.change(
                statements.CLAIM,
                seen.session_id, seen.fence, lease_ms, window_ms, counter, code_expires_at,
                *wrong_caps, counts_anew, page_origin, traceparent,
                *flat(quotas),
            )
        )  # fmt: skip

    async def reclaim(self, seen: SessionRow, lease_ms: int) -> SessionRow | None:
        """Claims the next try of a dispatch just settled as queued; None when another did."""
        return session_of(
            await self._database.row(statements.RECLAIM_ONE, lease_ms, seen.session_id, seen.fence)
        )

    async def reclaim_due(
        self, lease_ms: int, limit: int, but_not: Iterable[str] = ()
    ) -> list[SessionRow]:
        """Claims tries that are due, the longest overdue first, `but_not` of these sessions."""
        rows = await self._database.reclaim_due(lease_ms, limit, f",{','.join(but_not)},")
        return [SessionRow._make(row) for row in rows]

    async def queue(self) -> Queue:
        """Counts the dispatches that are owed, up to 10,000."""
        ((due, waiting, oldest_ms),) = await self._database.rows(statements.QUEUE)
        return Queue(due, waiting, max(0, oldest_ms or 0))

    async def extend(self, claimed: SessionRow, lease_ms: int) -> bool:
        """Extends the lease; False when it is lost."""
        row = await self._database.row(
            statements.EXTEND, claimed.session_id, claimed.fence, lease_ms
        )
        return row is not None

    async def settle(
        self,
        claimed: SessionRow,
        settlement: Settlement,
        attempt: NewAttempt | None,
        event: Event,
    ) -> int | None:
        """Ends a try: the row's new state, and a row in the ledger if a provider was called.

        Returns:
            How many tries of this dispatch may have delivered without our knowing, or None when the
            lease was lost or the row has moved on, and nothing was written.
        """
        args = (
            claimed.session_id, claimed.fence, *event,
            settlement.state, settlement.reason, settlement.retry_in_ms, int(settlement.unknown),
            settlement.refused,
        )  # fmt: skip
        row = await (
            self._database.change(statements.SETTLE, *args)
            if attempt is None
            else self._database.change(
                statements.SETTLE_ATTEMPT, *args, *attempt, claimed.claimed_at
            )
        )
        return None if row is None else row[0]

    async def append_attempt(self, claimed: SessionRow, attempt: NewAttempt, event: Event) -> bool:
        """Writes down a try whose lease was lost, in ledger and evidence alone.

        Returns:
            False when it has been written before, or the row has moved on.
        """
        row = await self._database.change(
            statements.ATTEMPT_ONLY,
            claimed.session_id, claimed.fence, *event, *attempt, claimed.claimed_at,
        )  # fmt: skip
        return row is not None

    async def attempts_of(self, claimed: SessionRow) -> list[Attempt]:
        """Reads the attempts of a dispatch. Each claim of it has raised the fence by one."""
        return await self.attempts(claimed, claimed.fence - claimed.tries, _MOST_ATTEMPTS)

    async def attempts(self, seen: SessionRow, after: int, limit: int) -> list[Attempt]:
        """Reads a page of the ledger of a session, the oldest first, from after a fence on."""
        opened_at = seen.expires_at - seen.lifetime_ms
        rows = await self._database.rows(
            statements.ATTEMPTS, seen.session_id, after, opened_at, seen.expires_at, limit
        )
        return [Attempt._make(row) for row in rows]

    async def hand_back(self, claimed: SessionRow, quotas: Quotas) -> None:
        """Gives back what was counted for a dispatch that certainly sent nothing.

        That is the session's send and, if no provider was called, one use of each quota.
        """
        at = claimed.claimed_at
        if await self._database.row(statements.PROVIDER_CALLED, claimed.session_id, at) is None:
            for quota in quotas:
                await self._database.rows(statements.HAND_BACK, quota.key, at)
        await self._database.rows(statements.HAND_BACK_SEND, claimed.session_id)
