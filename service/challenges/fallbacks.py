"""Fallback: another way takes a challenge's place, because it leads nowhere or the payer asks."""

from __future__ import annotations

from service.challenges.repeats import Repeats
from service.challenges.rules import (
    is_locked,
    leads_nowhere,
    may_fall_back,
    needs_challenge,
    require_open,
)
from service.challenges.sealing import Sealing
from service.errors import Because, ChallengeLocked, NoFallback
from service.evidence.events import Events, FallbackReason
from service.storage.database import AlreadyHandled
from service.storage.rows import RequestKey, SessionRow
from service.storage.store import Store
from service.telemetry import logs


class Fallbacks:
    """Takes fallbacks; whoever decides by a row has a dead end replaced first."""

    def __init__(self, store: Store, sealing: Sealing, repeats: Repeats, events: Events) -> None:
        """Takes nothing yet.

        Args:
            store: Where the rows are.
            sealing: How they keep fallbacks.
            repeats: Those of UseFallback.
            events: Makes the evidence.
        """
        self._store = store
        self._sealing = sealing
        self._repeats = repeats
        self._events = events

    def is_left(self, row: SessionRow) -> bool:
        """Whether the challenge has a fallback that proves enough."""
        fallback = self._sealing.fallback(row)
        return fallback is not None and fallback.fits(row.payment)

    async def replace_dead_end(self, row: SessionRow) -> SessionRow:
        """Takes the fallback of a challenge that leads nowhere; returns the present row."""
        if not leads_nowhere(row):
            return row
        refused = row.challenge_state == "refused"
        return await self.take(row, FallbackReason.REFUSED if refused else FallbackReason.DEAD)

    async def take(
        self, row: SessionRow, why: FallbackReason, key: RequestKey | None = None
    ) -> SessionRow:
        """Takes the fallback, if `may_fall_back` allows it.

        Args:
            row: The session.
            why: What its event says.
            key: Of the request for it, if a caller made one.

        Returns:
            The session as it now is.

        Raises:
            AlreadyHandled: It is a repeat.
        """
        fallback = self._sealing.fallback(row)
        if fallback is None or not may_fall_back(row, fallback):
            return row
        new = self._sealing.seal(fallback.method)
        event = self._events.challenged(row, new, fallback=why)
        switched = await self._store.fall_back(row, new, key or RequestKey(), event)
        if switched is None:
            return await self._store.read_again(row)
        logs.info(
            "fallback_taken", session_id=row.session_id, why=why,
            from_type=row.challenge_type, to_type=new.challenge_type,
        )  # fmt: skip
        return switched

    async def use(self, row: SessionRow, request_id: str) -> SessionRow:
        """Takes the fallback because the payer asks for another way.

        Args:
            row: The session as just read.
            request_id: By which a repeat is known, which changes nothing; empty for none.

        Returns:
            The session as it now is; unchanged where it needs no challenge.

        Raises:
            SessionCompleted, SessionExpired: The session has ended.
            ChallengeLocked: Too many wrong answers.
            NoFallback: None is left, or a message may be on its way.
            InvalidRequest: A request of this id asked for something else.
        """
        key = self._repeats.key(request_id)
        while True:
            require_open(row)
            if await self._repeats.find(row, key):
                return await self._store.read_again(row)
            if not needs_challenge(row):
                return row
            if is_locked(row):
                raise ChallengeLocked
            fallback = self._sealing.fallback(row)
            if fallback is None or not may_fall_back(row, fallback):
                raise NoFallback(Because.NO_FALLBACK, row)
            try:
                taken = await self.take(row, FallbackReason.PAYER, key)
            except AlreadyHandled:  # by a request that this one overlapped
                row = await self._store.read_again(row)
                continue
            if taken.challenge_id != row.challenge_id:
                return taken
            row = await self._store.read_moved(row)
