"""Send: looks what the session allows, claims its dispatch, and waits a while for the provider."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import NamedTuple

from service.aio.backoff import backoff
from service.aio.deadlines import Deadlines
from service.aio.tasks import Tasks
from service.challenges.fallbacks import Fallbacks
from service.challenges.quotas import refusal, sends_of, wrong_answers_of
from service.challenges.rules import (
    WRONG_CAPS,
    follows_expired_code,
    is_code,
    may_send_again,
    needs_challenge,
    needs_next_code,
    require_open,
)
from service.delivery.dispatch import Delivery, Dispatcher, Progress
from service.errors import ChallengeError, DestinationRefused
from service.storage.database import QuotaSpent
from service.storage.dispatches import Dispatches
from service.storage.rows import SessionRow
from service.storage.store import Store
from service.telemetry import logs, tracing


class SendSettings(NamedTuple):
    """The settings that Send goes by.

    Attributes:
        window_ms: A repeat within it sends nothing.
        wait_ms: How long Send waits for a provider.
        code_ttl_ms: Life of a code.
        lease_ms: How long a claim lasts unless it is extended.
        account_sends_per_hour: What an account has; 0 for any number.
    """

    window_ms: int
    wait_ms: int
    code_ttl_ms: int
    lease_ms: int
    account_sends_per_hour: int


class Sender:
    """Sends codes, each at most once per window."""

    def __init__(
        self,
        store: Store,
        dispatches: Dispatches,
        dispatcher: Dispatcher,
        fallbacks: Fallbacks,
        settings: SendSettings,
    ) -> None:
        self._store = store
        self._dispatches = dispatches
        self._dispatcher = dispatcher
        self._fallbacks = fallbacks
        self._settings = settings
        self._deadlines = Deadlines()
        self._claims = Tasks(_claim_failed)

    async def send(self, row: SessionRow, page_origin: str | None = None) -> SessionRow:
        """Sends the code of an authorized session, or nothing where nothing is to be sent.

        Args:
            row: The session as just read.
            page_origin: Of the page that asks; None for no browser.

        Returns:
            The session as the answer is to show it.

        Raises:
            ChallengeError: Why not; see `rules.may_send_again` and `rules.require_open`.
        """
        while True:
            require_open(row)
            row = await self._fallbacks.replace_dead_end(row)
            if not needs_challenge(row) or not is_code(row):
                return row
            if not self._may_send_again(row):
                return await self._wait_for_dispatch(row)
            # A caller who hangs up cancels neither the claim nor the delivery.
            begun = await asyncio.shield(self._claims.start(self._claim(row, page_origin)))
            if begun is not None:
                return await self._wait_for_progress(*begun, self._settings.wait_ms)
            row = await self._store.read_moved(row)

    async def stop(self, seconds: float) -> None:
        """Waits for claims under way, whose callers may have gone."""
        await self._claims.stop(seconds)

    async def _claim(
        self, row: SessionRow, page_origin: str | None
    ) -> tuple[SessionRow, Delivery] | None:
        """Claims the dispatch and has it delivered.

        Returns:
            The row as claimed and the delivery of its code; None when the row has moved on.
        """
        counter, code_expires_at = row.code_counter, row.code_expires_at
        if needs_next_code(row):
            counter, code_expires_at = counter + 1, row.now + self._settings.code_ttl_ms
        quotas = (
            *sends_of(row, self._settings.account_sends_per_hour),
            *wrong_answers_of(row),
        )
        lease_start = time.monotonic()
        try:
            claimed = await self._dispatches.claim(
                row,
                counter=counter,
                code_expires_at=code_expires_at,
                lease_ms=self._settings.lease_ms,
                window_ms=min(self._settings.window_ms, code_expires_at - row.now),
                wrong_caps=WRONG_CAPS,
                counts_anew=follows_expired_code(row),
                page_origin=page_origin,
                traceparent=tracing.traceparent(),
                quotas=quotas,
            )
        except QuotaSpent:
            raise refusal(row, await self._store.spent_quotas(quotas)) from None
        return claimed and (claimed, self._dispatcher.deliver(claimed, lease_start))

    async def _wait_for_dispatch(self, row: SessionRow) -> SessionRow:
        """Waits for a delivery under way, as the Send that claimed it does."""
        if row.dispatch_state != "sending":
            return row
        delivery = self._dispatcher.delivery_of(row)
        if delivery is not None:
            left_ms = row.claimed_at + self._settings.wait_ms - row.now
            return await self._wait_for_progress(row, delivery, left_ms)
        pauses = backoff(0.05, 0.5)  # another process delivers it
        while row.dispatch_state == "sending" and row.now < row.claimed_at + self._settings.wait_ms:
            await asyncio.sleep(next(pauses))
            row = await self._store.read_again(row)
            require_open(row)
        return await self._after_dispatch(row)

    async def _wait_for_progress(self, row: SessionRow, delivery: Delivery, ms: int) -> SessionRow:
        progress = Progress.PENDING
        with contextlib.suppress(TimeoutError), self._deadlines.within(max(0, ms) / 1000):
            progress = await delivery.progress()
        if progress is Progress.DEAD:
            return await self._after_dispatch(await self._store.read_again(row))
        return row._replace(code_sent=row.code_sent or progress is Progress.SENT)

    async def _after_dispatch(self, row: SessionRow) -> SessionRow:
        """Returns what a Send answers with that has met the end of a dispatch."""
        row = await self._fallbacks.replace_dead_end(row)
        if row.challenge_state == "refused" and not self._fallbacks.is_left(row):
            raise DestinationRefused
        return row

    def _may_send_again(self, row: SessionRow) -> bool:
        """Follows `rules.may_send_again`; a fallback that cannot be taken yet is no dead end."""
        try:
            return may_send_again(row)
        except DestinationRefused:
            if not self._fallbacks.is_left(row):
                raise
            return False


def _claim_failed(error: BaseException) -> None:
    if not isinstance(error, ChallengeError):  # those are answers; their caller may have gone
        logs.error("claim_failed", exc_info=error)
