"""Erasing a destination: a person's right, whatever sessions it was given in."""

from __future__ import annotations

from typing import NamedTuple

from service.challenges.identities import identity
from service.challenges.methods import Method
from service.challenges.sealing import Sealing
from service.evidence.events import Events
from service.keyring import Fingerprints
from service.storage.archive import Archive
from service.storage.rows import SessionRow

_BATCH = 100


class Erased(NamedTuple):
    """What was erased.

    Attributes:
        sessions: That had the destination, or would have fallen back to it.
        events: Of the evidence that said something personal.
    """

    sessions: int
    events: int


class Eraser:
    """Erases destinations."""

    def __init__(
        self, archive: Archive, sealing: Sealing, fingerprints: Fingerprints, events: Events
    ) -> None:
        """Does nothing yet.

        Args:
            archive: Where sessions and their evidence are.
            sealing: How sessions keep destinations.
            fingerprints: What destinations are found by.
            events: Makes the evidence.
        """
        self._archive = archive
        self._sealing = sealing
        self._fingerprints = fingerprints
        self._events = events

    async def erase(self, method: Method, account_uid: str | None) -> Erased:
        """Erases a destination, which is looked for by its fingerprint and written down nowhere.

        Sessions first, for the evidence is what finds them; one that moves on is found again.

        Args:
            method: The destination.
            account_uid: Whose sessions; None for every account's.
        """
        fingerprint = self._fingerprints.of(identity(*method))
        sessions = events = 0
        while rows := await self._archive.holders(fingerprint, account_uid, _BATCH):
            for row in rows:
                sessions += await self._erase_in(row, fingerprint)
        while count := await self._archive.erase_evidence(fingerprint, account_uid, _BATCH):
            events += count
        await self._archive.scrub()
        return Erased(sessions, events)

    async def _erase_in(self, row: SessionRow, fingerprint: str) -> bool:
        is_fallback = row.fingerprint != fingerprint
        event = self._events.erased(row, is_fallback=is_fallback)
        if is_fallback:
            left = self._sealing.without_fallback(row)
            return await self._archive.erase_fallback(row.session_id, left, event)
        return await self._archive.erase(row.session_id, event)
