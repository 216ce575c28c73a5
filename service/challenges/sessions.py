"""Open, issue, waive, close: what the owner of a session decides about it."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from service.challenges.destinations import masked_address, masked_phone
from service.challenges.identities import identity
from service.challenges.quotas import sessions_of
from service.challenges.rules import require_open
from service.errors import (
    InvalidRequest,
    RateLimited,
    SessionCompleted,
    SessionConflict,
    SessionExpired,
    SessionNotFound,
)
from service.keyring import Fingerprints, KeyRing
from service.storage.database import QuotaSpent
from service.storage.rows import NewChallenge, NewSession, Payment, SessionRow
from service.storage.store import Store


class Sessions:
    """The operations of a session's owner."""

    def __init__(
        self,
        store: Store,
        ring: KeyRing,
        fingerprints: Fingerprints,
        deliverable: Collection[str],
        account_sessions_per_hour: int,
    ) -> None:
        """Does nothing yet.

        Args:
            store: Where the rows are.
            ring: What encrypts destinations.
            fingerprints: What quotas know them by.
            deliverable: Challenge types that have a channel.
            account_sessions_per_hour: What an account may open; 0 for any number.
        """
        self._store = store
        self._ring = ring
        self._fingerprints = fingerprints
        self._deliverable = deliverable
        self._account_sessions_per_hour = account_sessions_per_hour

    async def open(self, new: NewSession) -> SessionRow:
        """Registers a session, or finds it registered with the same values.

        Raises:
            SessionConflict: The id is taken, with other values.
            RateLimited: The account has opened its sessions of this hour.
        """
        quota = sessions_of(new.account_uid, self._account_sessions_per_hour)
        try:
            opened = await self._store.open_session(new, quota)
        except QuotaSpent:
            (left_ms,) = (await self._store.spent_quotas((quota,))).values() or (0,)
            raise RateLimited("sessions-hour", -(-left_ms // 1000)) from None
        row = opened or await self._store.read(new.session_id)
        if row is None or any(getattr(row, name) != new[i] for i, name in enumerate(new._fields)):
            raise SessionConflict
        return row

    async def issue_captcha(self, row: SessionRow, kind: str, site_key: str) -> SessionRow:
        """Makes a captcha the active challenge.

        Raises:
            SessionCompleted, SessionExpired: The session has ended.
        """
        return await self._issue(row, NewChallenge(uuid.uuid4().hex, kind, site_key=site_key))

    async def issue_code(
        self, row: SessionRow, kind: str, destination: str, payment: Payment | None
    ) -> SessionRow:
        """Makes a code the active challenge; it is sent by the first Send.

        Args:
            row: The session.
            kind: `sms` or `email`.
            destination: In its normal form.
            payment: What the code is bound to.

        Raises:
            InvalidRequest: Nothing can deliver there.
            SessionCompleted, SessionExpired: The session has ended.
        """
        if kind not in self._deliverable:
            raise InvalidRequest(kind, f"no channel is set in CHALLENGE_{kind.upper()}_CHANNELS")
        hint = masked_phone(destination) if kind == "sms" else masked_address(destination)
        challenge_id, key_id = uuid.uuid4().hex, self._ring.newest
        new = NewChallenge(
            challenge_id,
            kind,
            destination=self._ring.encrypt(key_id, destination, challenge_id),
            fingerprint=self._fingerprints.of(identity(kind, destination)),
            delivery_hint=hint,
            key_id=key_id,
            **(payment._asdict() if payment else {}),
        )
        return await self._issue(row, new)

    async def waive(self, row: SessionRow) -> None:
        """Lifts the challenge.

        Raises:
            SessionCompleted, SessionExpired: The session has ended.
        """
        if not await self._store.waive(row.session_id):
            await self._ended(row)

    async def close(self, row: SessionRow, outcome: str) -> None:
        """Ends the session, `completed` or `expired`; its destination is wiped.

        Raises:
            SessionCompleted, SessionExpired: It has ended before, the other way.
        """
        if await self._store.close_session(row.session_id, outcome):
            return
        ended = await self._store.read(row.session_id) or row
        if ended.state != outcome:
            raise SessionCompleted if ended.state == "completed" else SessionExpired

    async def _issue(self, row: SessionRow, new: NewChallenge) -> SessionRow:
        if not await self._store.issue(row.session_id, new):
            await self._ended(row)
        return row._replace(**new._asdict(), challenge_state="pending", code_sent=False)

    async def _ended(self, row: SessionRow) -> None:
        fresh = await self._store.read(row.session_id)
        if fresh is None:
            raise SessionNotFound
        require_open(fresh)
