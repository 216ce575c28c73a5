"""Sessions and their challenges: the operations on them, and no rules."""

from __future__ import annotations

from service.errors import SessionNotFound
from service.storage import session_statements as statements
from service.storage.database import Database, NotMoved
from service.storage.rows import (
    Answered,
    Event,
    Handled,
    NewChallenge,
    NewSession,
    Payment,
    Quota,
    Quotas,
    RequestKey,
    Rpc,
    SessionChanges,
    SessionRow,
    flat,
    session_of,
)

_CLOCKS_DIFFER_MS = 1000
"""At most, between nodes of a database of which one reads a row and another changes it."""


class Store:
    """The operations on a session and its challenge."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, session_id: str) -> SessionRow | None:
        """Reads a session, with the database's time."""
        return session_of(await self._database.row(statements.READ, session_id))

    async def read_again(self, seen: SessionRow) -> SessionRow:
        """Reads a session that was read before.

        Raises:
            SessionNotFound: It has been purged meanwhile.
        """
        row = await self.read(seen.session_id)
        if row is None:
            raise SessionNotFound
        return row

    async def read_moved(self, seen: SessionRow) -> SessionRow:
        """Reads a session whose row a statement has refused, so that what follows begins anew.

        Raises:
            SessionNotFound: It has been purged meanwhile.
            NotMoved: The row is as it was, and none of its times has come: it would be refused
                again, and for ever.
        """
        row = await self.read_again(seen)
        if row._replace(now=seen.now) == seen and not _time_has_come(row, seen.now):
            raise NotMoved
        return row

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
        _, *after = event  # before a session's first event there is no chain
        args = (*new, opening, *quota, *after)
        return session_of(await self._database.change(statements.OPEN, *args))

    async def opening(self, session_id: str) -> str | None:
        """Reads the keyed hash of what was registered."""
        row = await self._database.row(statements.OPENING, session_id)
        return None if row is None else row[0]

    async def update_session(
        self, seen: SessionRow, changes: SessionChanges, event: Event, *, voids: bool
    ) -> int | None:
        """Changes a session; returns when it ends, or None when the row has moved on."""
        row = await self._database.change(
            statements.UPDATE_PAYMENT if voids else statements.UPDATE,
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
        row = await self._database.change(
            statements.FALL_BACK,
            seen.session_id, seen.fence, new.challenge_id, new.challenge_type, new.site_key,
            new.destination, new.fingerprint, new.delivery_hint, new.key_id, *request, *event,
        )  # fmt: skip
        return None if row is None else await self.read(seen.session_id)

    async def handled(self, session_id: str, rpc: Rpc, request_id: str) -> Handled | None:
        """Reads how a request ended, if it was carried out."""
        row = await self._database.row(statements.HANDLED, session_id, rpc, request_id)
        return None if row is None else Handled._make(row)

    async def spent_quotas(self, quotas: Quotas) -> dict[str, int]:
        """Returns the key of each full quota, and for how many more ms it is full."""
        pairs = [part for quota in quotas for part in (quota.key, quota.allowed or 2**31 - 1)]
        pairs += ["", 0] * (statements.QUOTAS_AT_ONCE - len(quotas))
        rows = await self._database.rows(statements.SPENT_QUOTAS, *pairs)
        return {key: left_ms for key, left_ms in rows}

    async def answer(
        self,
        seen: SessionRow,
        *,
        right: bool,
        wrong_caps: tuple[int, int],
        quotas: Quotas,
        request: RequestKey,
        satisfied_ms: int,
        confirms_left: int | None,
        event: Event,
    ) -> Answered | None:
        """Counts a wrong answer or satisfies the challenge, if the row still allows an answer.

        Args:
            seen: The row.
            right: Whether the answer is.
            wrong_caps: Wrong answers to a code, and in a session, that lock the challenge.
            quotas: The two of wrong answers, and that of the token.
            request: What asked for it.
            satisfied_ms: How long the satisfaction lasts.
            confirms_left: Payments that it lets go on, after this one; None for any number.
            event: For the evidence.

        Raises:
            QuotaSpent: One of them is full; nothing was counted.
            AlreadyHandled: It is a repeat.
        """
        row = await self._database.change(
            statements.ANSWER,
            seen.session_id, seen.challenge_id, seen.code_counter, right, *wrong_caps,
            *flat(quotas), *request, satisfied_ms, confirms_left, *event,
        )  # fmt: skip
        return None if row is None else Answered._make(row)

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


def _time_has_come(row: SessionRow, since: int) -> bool:
    """Whether one of the times in a row has come since then; no count is as large as a time."""
    until = row.now + _CLOCKS_DIFFER_MS
    return any(isinstance(value, int) and since < value <= until for value in row[:-1])
