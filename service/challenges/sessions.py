"""Open, update, waive, close: what the owner of a session decides about it."""

from __future__ import annotations

from service.challenges.quotas import sessions_of
from service.challenges.repeats import content_of
from service.challenges.rules import new_end, require_changeable, require_open, voids_challenge
from service.errors import (
    RateLimited,
    SessionCompleted,
    SessionConflict,
    SessionExpired,
)
from service.evidence.events import Events
from service.keyring import Fingerprints
from service.storage.database import QuotaSpent
from service.storage.rows import NewSession, Payment, SessionChanges, SessionRow
from service.storage.store import Store


class Sessions:
    """The operations of a session's owner."""

    def __init__(
        self,
        store: Store,
        fingerprints: Fingerprints,
        events: Events,
        account_sessions_per_hour: int,
    ) -> None:
        """Does nothing yet.

        Args:
            store: Where the rows are.
            fingerprints: What openings are known by.
            events: Makes the evidence.
            account_sessions_per_hour: What an account may open; 0 for any number.
        """
        self._store = store
        self._fingerprints = fingerprints
        self._events = events
        self._account_sessions_per_hour = account_sessions_per_hour

    async def open(self, new: NewSession) -> SessionRow:
        """Registers a session, or finds it registered with the same values.

        Raises:
            SessionConflict: The id is taken, with other values.
            RateLimited: The account has opened its sessions of this hour.
        """
        quota = sessions_of(new.account_uid, self._account_sessions_per_hour)
        opening = content_of(self._fingerprints, *new)
        event = self._events.opened(new, await self._store.now())
        try:
            opened = await self._store.open_session(new, opening, quota, event)
        except QuotaSpent:
            (left_ms,) = (await self._store.spent_quotas((quota,))).values() or (0,)
            raise RateLimited("sessions-hour", left_ms) from None
        if opened is not None:
            return opened
        row = await self._store.read(new.session_id)
        if row is None or await self._store.opening(new.session_id) != opening:
            raise SessionConflict
        return row

    async def update(self, row: SessionRow, changes: SessionChanges) -> int:
        """Changes an open session.

        Args:
            row: The session as just read.
            changes: What changes.

        Returns:
            When the session ends, milliseconds since the Unix epoch.

        Raises:
            SessionCompleted, SessionExpired: It has ended; nothing revives it.
            InvalidRequest: It would end too late, or in the past; or the payment is of no
                challenge.
        """
        while True:
            require_changeable(row, changes)
            voids = voids_challenge(row, changes.payment)
            exact = changes._replace(
                expires_at=new_end(row, changes), payment=changes.payment if voids else None
            )
            event = self._events.updated(row, exact, voids=voids)
            ends = await self._store.update_session(row, exact, event, voids=voids)
            if ends is not None:
                return ends
            row = await self._store.read_moved(row)

    async def waive(
        self, row: SessionRow, payment: Payment | None, proof: str | None, by: str
    ) -> None:
        """Lifts the challenge, for one payment or for all.

        Args:
            row: The session.
            payment: The one that needs no challenge; None for all of the session's.
            proof: What was proven elsewhere, if that is said.
            by: The caller's subject.

        Raises:
            SessionCompleted, SessionExpired: The session has ended.
        """
        require_open(row)
        while not await self._is_waived(row, payment, proof):
            event = self._events.waived(row, payment, proof, by)
            if await self._store.waive(row.session_id, payment, proof, event):
                return
            row = await self._store.read_moved(row)
            require_open(row)

    async def close(self, row: SessionRow, state: str) -> None:
        """Ends the session, as `completed` or `expired`; its destination is wiped.

        Raises:
            SessionCompleted, SessionExpired: It has ended before, the other way.
        """
        while row.state == "open":
            event = self._events.closed(row, state)
            if await self._store.close_session(row.session_id, state, event):
                return
            row = await self._store.read_moved(row)
        if row.state != state:
            raise SessionCompleted if row.state == "completed" else SessionExpired

    async def _is_waived(self, row: SessionRow, payment: Payment | None, proof: str | None) -> bool:
        """Whether it has been lifted so before; a repeat changes nothing."""
        alike = row.challenge_state == "waived" and row.payment == payment
        return alike and await self._store.waiver(row.session_id) == proof
