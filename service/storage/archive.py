"""What has been: evidence, erasure, and the deletion of what is past its time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from service.storage import archive_statements as statements
from service.storage.database import Database
from service.storage.rows import Event, SessionRow


class Recorded(NamedTuple):
    """The evidence of a session; see `tables.Evidence`.

    Attributes:
        account_uid: The session's.
        events: Text of each, with salts and values of what it commits to.
        chain: The session's; empty where nothing has been recorded.
        now: The database's time.
    """

    account_uid: str
    events: Sequence[tuple[str, str | None]]
    chain: str
    now: int


class Archive:
    """The operations on what is kept of sessions that may be over."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def evidence(self, session_id: str) -> Recorded | None:
        """Reads the evidence of a session, the oldest event first; None of an unknown one."""
        rows = await self._database.rows(statements.EVIDENCE, session_id)
        if not rows:
            return None
        account_uid, _, _, chain, now, _ = rows[0]
        events = [(event, personal) for _, event, personal, *_ in rows if event is not None]
        return Recorded(account_uid, events, chain or "", now)

    async def holders(
        self, fingerprint: str, account_uid: str | None, limit: int
    ) -> list[SessionRow]:
        """Reads sessions that have a destination, or fall back to it; of one account or of any."""
        rows = await self._database.rows(statements.HOLDERS, fingerprint, account_uid, limit)
        return [SessionRow._make(row) for row in rows]

    async def erase(self, session_id: str, event: Event) -> bool:
        """Forgets a session's destination, and refuses a challenge that needs it.

        Returns:
            False when the row has moved on.
        """
        return await self._database.change(statements.ERASE, session_id, *event) is not None

    async def erase_fallback(
        self, session_id: str, destination: bytes | None, event: Event
    ) -> bool:
        """Forgets a session's fallback.

        Args:
            session_id: The session.
            destination: What remains.
            event: For the evidence.

        Returns:
            False when the row has moved on.
        """
        args = (session_id, destination, *event)
        return await self._database.change(statements.ERASE_FALLBACK, *args) is not None

    async def erase_evidence(self, fingerprint: str, account_uid: str | None, limit: int) -> int:
        """Forgets what is personal in the evidence of sessions that had a destination.

        Returns:
            Of how many events it was.
        """
        args = (fingerprint, account_uid, limit)
        return len(await self._database.rows(statements.ERASE_EVIDENCE, *args))

    async def scrub(self) -> None:
        """Overwrites in the database's files what was deleted, where it can do so as it runs."""
        await self._database.scrub()

    async def wipe(self, limit: int) -> int:
        """Forgets the destinations of sessions past their time; returns how many."""
        return len(await self._database.rows(statements.WIPE, limit))

    async def purge_sessions(self, limit: int, age_ms: int) -> int:
        """Deletes sessions that ended so long ago; returns how many."""
        await self._database.rows(statements.KEEP_CHAINS, limit, age_ms)
        return len(await self._database.rows(statements.PURGE_SESSIONS, limit, age_ms))

    async def make_partitions(self) -> None:
        """Makes the ledger's partitions of the coming days, where it has any."""
        await self._database.make_partitions()

    async def drop_partitions(self, age_ms: int) -> int:
        """Drops the ledger's partitions that hold nothing younger; returns how many."""
        return await self._database.drop_partitions(age_ms)

    async def purge_attempts(self, limit: int, age_ms: int) -> int:
        """Deletes ledger rows of that age that no partition holds; returns how many."""
        return len(await self._database.purge_attempts(limit, age_ms))

    async def purge_requests(self, limit: int, age_ms: int) -> int:
        """Deletes what repeats of that age were known by; returns how many."""
        return len(await self._database.rows(statements.PURGE_REQUESTS, limit, age_ms))

    async def purge_evidence(self, limit: int, age_ms: int) -> int:
        """Deletes the evidence of so many sessions opened so long ago; returns how many events."""
        return len(await self._database.rows(statements.PURGE_EVIDENCE, limit, age_ms))

    async def purge_quotas(self, limit: int) -> int:
        """Deletes quotas whose period is over; returns how many."""
        return await self._database.purge_quotas(limit)
