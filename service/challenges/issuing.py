"""Issue: makes a challenge the session's active one, in place of any other."""

from __future__ import annotations

from collections.abc import Collection

from service.challenges.methods import Fallback, Method
from service.challenges.repeats import Repeats
from service.challenges.rules import ISSUES_PER_SESSION, require_open, spent
from service.challenges.sealing import Sealing
from service.errors import InvalidRequest
from service.evidence.events import Events
from service.storage.database import AlreadyHandled
from service.storage.rows import CODE_TYPES, NewChallenge, Payment, RequestKey, SessionRow
from service.storage.store import Store


class Issuing:
    """Issues challenges."""

    def __init__(
        self,
        store: Store,
        sealing: Sealing,
        repeats: Repeats,
        events: Events,
        deliverable: Collection[str],
    ) -> None:
        """Does nothing yet.

        Args:
            store: Where the rows are.
            sealing: How they keep destinations.
            repeats: Those of IssueChallenge.
            events: Makes the evidence.
            deliverable: Challenge types that have a channel.
        """
        self._store = store
        self._sealing = sealing
        self._repeats = repeats
        self._events = events
        self._deliverable = deliverable

    async def issue(
        self,
        row: SessionRow,
        method: Method,
        payment: Payment | None = None,
        fallback: Fallback | None = None,
        request_id: str = "",
    ) -> SessionRow:
        """Makes a challenge the active one; a code is sent by the first Send.

        Args:
            row: The session.
            method: How the payer is to satisfy it.
            payment: What a code is bound to.
            fallback: What takes its place where nobody can meet it.
            request_id: By which a repeat is known, which changes nothing; empty for none.

        Returns:
            The session as the answer is to show it.

        Raises:
            InvalidRequest: Nothing can deliver there, the fallback proves too little, or a request
                of this id asked for something else.
            SessionCompleted, SessionExpired: The session has ended.
            SendsSpent, QuotaOutlastsSession: It has been given all its challenges.
        """
        self._require_deliverable(method, method.challenge_type)
        if fallback is not None:
            self._require_deliverable(fallback.method, f"fallback.{fallback.method.challenge_type}")
            if not fallback.fits(payment):
                problem = "must be set where a bound code falls back to a mailbox or a captcha"
                raise InvalidRequest("fallback.allow_weaker", problem)
        key = self._repeats.key(
            request_id, *method, *(payment or ()), *(("fallback", *fallback) if fallback else ())
        )
        if await self._repeats.find(row, key):
            return await self._present(row)
        new = self._sealing.seal(method, payment, fallback)
        while not await self._issue(row, new, key):
            if await self._repeats.find(row, key):  # by a request that this one overlapped
                return await self._present(row)
            row = await self._store.read_moved(row)
        return row._replace(
            challenge_type=new.challenge_type, challenge_state="pending",
            site_key=new.site_key, delivery_hint=new.delivery_hint, code_sent=False,
        )  # fmt: skip

    async def _present(self, row: SessionRow) -> SessionRow:
        present = await self._store.read_again(row)
        require_open(present)
        return present

    async def _issue(self, row: SessionRow, new: NewChallenge, key: RequestKey) -> bool:
        require_open(row)
        if row.issues >= ISSUES_PER_SESSION:
            raise spent(row, "issues")
        event = self._events.challenged(row, new)
        try:
            return await self._store.issue(
                row.session_id, new, most=ISSUES_PER_SESSION, request=key, event=event
            )
        except AlreadyHandled:
            return False

    def _require_deliverable(self, method: Method, field: str) -> None:
        if method.challenge_type in CODE_TYPES and method.challenge_type not in self._deliverable:
            raise InvalidRequest(
                field, f"no channel is set in CHALLENGE_{method.challenge_type.upper()}_CHANNELS"
            )
