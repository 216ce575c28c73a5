"""What the service remembers: the operations on the tables, and no rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from service.storage import replacements, statements
from service.storage.database import Database, Usage
from service.storage.rows import (
    Answered,
    AttemptRecord,
    Event,
    Handled,
    NewChallenge,
    NewSession,
    Payment,
    Queue,
    Quota,
    Quotas,
    RequestKey,
    SessionChanges,
    SessionRow,
    Settlement,
)


class Store:
    """The operations on the tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, session_id: str) -> SessionRow | None:
        """Reads a session, with the database's time."""
        return _session(await self._database.row(statements.READ, session_id))

    async def now(self) -> int:
        """Reads the database's clock."""
        ((now,),) = await self._database.rows(statements.NOW)
        return int(now)

    async def open_session(
        self, new: NewSession, opening: str, quota: Quota, event: Event
    ) -> SessionRow | None:
        """Registers a session and counts it; None when the id is taken. `opening` is its hash.

        Raises:
            QuotaSpent: The quota is full; nothing was registered.
        """
        args = (*new, opening, *quota, *event[1:])
        return _session(await self._database.change(statements.OPEN, *args))

    async def opening(self, session_id: str) -> str | None:
        """Reads the keyed hash of what was registered."""
        row = await self._database.row(statements.OPENING, session_id)
        return None if row is None else row[0]

    async def update_session(
        self, seen: SessionRow, changes: SessionChanges, event: Event, *, voids: bool
    ) -> int | None:
        """Changes a session; returns when it ends, or None when the row has moved on."""
        row = await self._database.change(
            replacements.UPDATE_PAYMENT if voids else replacements.UPDATE,
            seen.session_id, seen.fence, changes.allowed_origins, changes.locale,
            changes.merchant_name, changes.expires_at, *(changes.payment or (None, None, None)),
            *event,
        )  # fmt: skip
        return None if row is None else row[0]

    async def issue(
        self, session_id: str, new: NewChallenge, *, most: int, request: RequestKey, event: Event
    ) -> bool:
        """Makes a challenge the active one.

        Args:
            session_id: The session.
            new: The challenge.
            most: Challenges that a session may be given.
            request: What asked for it.
            event: For the evidence.

        Returns:
            False when the session is not open, has been given so many, or has moved on.

        Raises:
            AlreadyHandled: It is a repeat.
        """
        row = await self._database.change(
            statements.ISSUE, session_id, *new, most, *request, *event
        )
        return row is not None

    async def fall_back(
        self, seen: SessionRow, new: NewChallenge, request: RequestKey, event: Event
    ) -> SessionRow | None:
        """Puts a fallback in the challenge's place; None when the row has moved on.

        Raises:
            AlreadyHandled: It is a repeat.
        """
        args = (seen.session_id, seen.fence, *new[:7], *request, *event)
        row = await self._database.change(replacements.FALL_BACK, *args)
        return None if row is None else await self.read(seen.session_id)

    async def handled(self, session_id: str, rpc: str, request_id: str) -> Handled | None:
        """Reads how a request ended, if it was carried out."""
        row = await self._database.row(statements.HANDLED, session_id, rpc, request_id)
        return None if row is None else Handled._make(row)

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
        quotas: Quotas,
    ) -> SessionRow | None:
        """Claims a dispatch and counts it, if the row is still as it was seen.

        Args:
            seen: The row.
            counter: Of the code to send.
            code_expires_at: Its end.
            lease_ms: How long the claim lasts without a heartbeat.
            window_ms: How long a repeat sends nothing.
            wrong_caps: Wrong answers that lock a code, and a session.
            counts_anew: Whether wrong answers to the code are counted from 0.
            page_origin: Of the page that asks; None for no browser.
            quotas: Five of which one is taken, then the two of wrong answers.

        Returns:
            The row as it now is, or None when it has moved on.

        Raises:
            QuotaSpent: A quota is full; nothing was claimed.
        """
        return _session(
            await self._database.change(
                statements.CLAIM,
                seen.session_id, seen.fence, lease_ms, window_ms, counter, code_expires_at,
                *wrong_caps, counts_anew, page_origin, *_flat(quotas),
            )
        )  # fmt: skip

    async def spent_quotas(self, quotas: Quotas) -> dict[str, int]:
        """Returns the key of each full quota, of at most seven, and the ms it is for."""
        pairs = [part for quota in quotas for part in (quota.key, quota.allowed or 2**31 - 1)]
        pairs += ["", 0] * (7 - len(quotas))
        rows = await self._database.rows(statements.SPENT_QUOTAS, *pairs)
        return {key: left_ms for key, left_ms in rows}

    async def hand_back(self, claimed: SessionRow, quotas: Quotas) -> None:
        """Gives back what was counted for a dispatch that certainly sent nothing.

        That is the session's send and, if no provider was called, one use of each quota.
        """
        at = claimed.claimed_at
        if await self._database.row(statements.PROVIDER_CALLED, claimed.session_id, at) is None:
            for quota in quotas:
                await self._database.rows(statements.HAND_BACK, quota.key, at)
        await self._database.rows(statements.HAND_BACK_SEND, claimed.session_id)

    async def reclaim(self, seen: SessionRow, lease_ms: int) -> SessionRow | None:
        """Claims the next try of a dispatch just settled as queued; None when another did."""
        return _session(
            await self._database.row(statements.RECLAIM_ONE, lease_ms, seen.session_id, seen.fence)
        )

    async def reclaim_due(
        self, lease_ms: int, limit: int, in_hand: Iterable[str] = ()
    ) -> list[SessionRow]:
        """Claims tries that are due, the longest overdue first, but none of those in hand."""
        rows = await self._database.reclaim_due(lease_ms, limit, f",{','.join(in_hand)},")
        return [SessionRow._make(row) for row in rows]

    async def queue(self) -> Queue:
        """Counts the dispatches that are owed, up to 10,000."""
        ((due, waiting, oldest_ms),) = await self._database.rows(statements.QUEUE)
        return Queue(due, waiting, max(0, oldest_ms or 0))

    def usage(self) -> Usage:
        """Returns how busy the database is."""
        return self._database.usage()

    async def extend(self, claimed: SessionRow, lease_ms: int) -> bool:
        """Prolongs the lease; False when it is lost."""
        row = await self._database.row(
            statements.EXTEND, claimed.session_id, claimed.fence, lease_ms
        )
        return row is not None

    async def settle(
        self,
        claimed: SessionRow,
        settlement: Settlement,
        attempt: AttemptRecord | None,
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

    async def answer(
        self,
        seen: SessionRow,
        *,
        right: bool,
        wrong_caps: tuple[int, int],
        quotas: Quotas,
        request: RequestKey,
        satisfied_ms: int,
        confirms: int | None,
        event: Event,
    ) -> Answered | None:
        """Counts a wrong answer or satisfies the challenge, if the row still allows an answer.

        Args:
            seen: The row.
            right: Whether the answer is.
            wrong_caps: Wrong answers that lock a code, and a session.
            quotas: The two of wrong answers, and that of the token.
            request: What asked for it.
            satisfied_ms: How long the satisfaction lasts.
            confirms: Payments that it lets go on, after this one; None for any number.
            event: For the evidence.

        Raises:
            QuotaSpent: One of them is full; nothing was counted.
            AlreadyHandled: It is a repeat.
        """
        row = await self._database.change(
            statements.ANSWER,
            seen.session_id, seen.challenge_id, seen.code_counter, right, *wrong_caps,
            *_flat(quotas), *request, satisfied_ms, confirms, *event,
        )  # fmt: skip
        return None if row is None else Answered._make(row[:3])

    async def confirm(self, seen: SessionRow, request: RequestKey, event: Event) -> bool:
        """Counts a payment that a satisfaction lets go on; False when the row has moved on.

        Raises:
            AlreadyHandled: It is a repeat.
        """
        row = await self._database.change(
            statements.CONFIRM, seen.session_id, seen.fence, *request, *event
        )
        return row is not None

    async def waive(
        self, session_id: str, payment: Payment | None, proof: str | None, event: Event
    ) -> bool:
        """Lifts the challenge, for one payment or all.

        Returns:
            False when the session is not open, or has moved on.
        """
        args = (session_id, *(payment or (None, None, None)), proof, *event)
        return await self._database.change(statements.WAIVE, *args) is not None

    async def waiver(self, session_id: str) -> str | None:
        """Reads for which proof the challenge was waived."""
        row = await self._database.row(statements.WAIVER, session_id)
        return None if row is None else row[0]

    async def close_session(self, session_id: str, outcome: str, event: Event) -> bool:
        """Ends the session and wipes its destination; False when it has ended or moved on."""
        args = (session_id, outcome, *event)
        return await self._database.change(statements.CLOSE, *args) is not None


def _session(row: Sequence[Any] | None) -> SessionRow | None:
    return None if row is None else SessionRow._make(row)


def _flat(quotas: Quotas) -> list[object]:
    return [part for quota in quotas for part in quota]
