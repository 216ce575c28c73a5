"""Send: whether this session may send now, and the claim that makes it so."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from service.aio.backoff import backoff
from service.aio.deadlines import Deadlines
from service.challenges.quotas import Limits, quotas_of
from service.challenges.rules import WRONG_CAPS, is_code, is_locked, needs_challenge, require_open
from service.delivery.delivery import Delivery, Progress
from service.delivery.dispatch import Dispatcher
from service.errors import ChallengeLocked, DestinationRefused, RateLimited
from service.storage.database import QuotaSpent
from service.storage.rows import SessionRow
from service.storage.store import Store

SENDS_PER_SESSION = 5
"""Claims in one session, whatever challenges it gets."""


class SendRules(NamedTuple):
    """The settings that Send goes by.

    Attributes:
        window_ms: A repeat within it sends nothing.
        wait_ms: How long Send waits for a provider.
        code_ttl_ms: Life of a code.
        limits: Quotas.
    """

    window_ms: int
    wait_ms: int
    code_ttl_ms: int
    limits: Limits


def may_send_again(row: SessionRow) -> bool:
    """Decides whether a Send starts a new dispatch or repeats the answer of the last one.

    Raises:
        ChallengeLocked: Too many wrong answers.
        DestinationRefused: The provider refused the destination for good.
        RateLimited: The session has had its sends.
    """
    if is_locked(row):
        raise ChallengeLocked
    if row.challenge_state == "refused":
        raise DestinationRefused
    if row.dispatch_state in ("queued", "sending"):
        return False  # still owed: it will be delivered, or expire
    if row.now < row.window_ends_at:
        return False
    if row.sends >= SENDS_PER_SESSION:
        raise RateLimited("session", -(-(row.expires_at - row.now) // 1000))
    return True


class Sender:
    """Sends codes, each at most once per window."""

    def __init__(self, store: Store, dispatcher: Dispatcher, rules: SendRules) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._rules = rules
        self._deadlines = Deadlines()

    async def send(self, row: SessionRow) -> SessionRow:
        """Sends the code of an authorized session, or nothing where nothing is to be sent.

        Args:
            row: The session as just read.

        Returns:
            The session as the answer is to show it.

        Raises:
            ChallengeError: Why not; see `may_send_again` and `states.require_open`.
        """
        while True:
            require_open(row)
            if not needs_challenge(row) or not is_code(row):
                return row
            if not may_send_again(row):
                return await self._wait_for_dispatch(row)
            claimed = await self._dispatcher.claim(self._claim(row))
            if claimed is not None:
                return await self._wait_for_progress(*claimed)
            row = await self._read(row)

    async def _claim(self, row: SessionRow) -> SessionRow | None:
        expired = row.now >= row.code_expires_at
        quotas = quotas_of(row, self._rules.limits)
        try:
            return await self._store.claim(
                row,
                counter=row.code_counter + expired,
                code_expires_at=row.now + self._rules.code_ttl_ms
                if expired
                else row.code_expires_at,
                lease_ms=self._dispatcher.lease_ms,
                window_ms=self._rules.window_ms,
                wrong_caps=WRONG_CAPS,
                quotas=quotas,
            )
        except QuotaSpent:
            key, left_ms = await self._store.spent_quota(quotas) or ("quota", 0)
            raise RateLimited(key.partition(":")[0], -(-left_ms // 1000)) from None

    async def _wait_for_progress(self, claimed: SessionRow, delivery: Delivery) -> SessionRow:
        progress = await delivery.wait(self._deadlines.within(self._rules.wait_ms / 1000))
        return _after(claimed, progress)

    async def _wait_for_dispatch(self, row: SessionRow) -> SessionRow:
        """Waits for a delivery under way, as the Send that claimed it does."""
        if row.dispatch_state != "sending":
            return row
        delivery = self._dispatcher.under_way(row.session_id)
        if delivery is not None:
            left_ms = row.claimed_at + self._rules.wait_ms - row.now
            progress = await delivery.wait(self._deadlines.within(max(0, left_ms) / 1000))
            return _after(row, progress)
        pauses = backoff(0.05, 0.5)  # another process has it in hand
        while row.dispatch_state == "sending" and row.now < row.claimed_at + self._rules.wait_ms:
            await asyncio.sleep(next(pauses))
            row = await self._read(row)
            require_open(row)
        if row.challenge_state == "refused":
            raise DestinationRefused
        return row

    async def _read(self, row: SessionRow) -> SessionRow:
        fresh = await self._store.read(row.session_id)
        return row if fresh is None else fresh


def _after(row: SessionRow, progress: Progress) -> SessionRow:
    if progress is Progress.REFUSED:
        raise DestinationRefused
    return row._replace(code_sent=row.code_sent or progress is Progress.SENT)
