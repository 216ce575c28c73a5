"""One try of a dispatch: its message is composed, a provider chosen, and called once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from service.channels import Outcome, gsm7
from service.channels.recipients import is_fit
from service.delivery.leases import Leases
from service.delivery.messages import Composer
from service.delivery.providers import Provider, next_provider, remaining
from service.delivery.retrying import (
    give_up,
    next_step,
    outlived,
    put_back,
    too_many_unknowns,
)
from service.errors import StoreUnavailable
from service.storage.rows import (
    CANNOT_COMPOSE,
    NO_CHANNEL,
    UNKNOWN_TWICE,
    Attempt,
    NewAttempt,
    SessionRow,
    Settlement,
)
from service.telemetry import logs

_FRESH_SECONDS = 1.0
"""Older than this, a claim is confirmed with the database before the provider is called."""


class Trying:
    """Makes tries; what became of one is written down by whoever asked for it."""

    def __init__(
        self,
        composer: Composer,
        providers: Mapping[str, Sequence[Provider]],
        leases: Leases,
    ) -> None:
        self._composer = composer
        self._providers = providers
        self._leases = leases

    async def once(
        self, claimed: SessionRow, lease_start: float, attempts: list[Attempt | NewAttempt]
    ) -> tuple[Settlement, NewAttempt | None]:
        """Calls a provider once, or finds why not; writes nothing down.

        Args:
            claimed: The row as claimed for this try.
            lease_start: `time.monotonic()` before the claim was sent.
            attempts: Those of the dispatch so far; this one is added.

        Returns:
            What becomes of the dispatch, and the attempt if a provider was called.
        """
        providers = self._providers.get(str(claimed.challenge_type), ())
        if too_many_unknowns(claimed.unknowns):
            return Settlement("dead", UNKNOWN_TWICE), None
        if over := outlived(claimed, time.monotonic() - lease_start):
            return over, None
        try:
            message = self._composer.compose(claimed)
        except Exception as error:  # a poison row must not stop the others
            logs.exception("message_not_composed", session_id=claimed.session_id)
            return Settlement("dead", f"{CANNOT_COMPOSE}: {type(error).__name__}"), None
        if not is_fit(message):
            return Settlement("dead", "not a destination", refused=True), None
        if not providers:
            return Settlement("dead", NO_CHANNEL), None
        left = remaining(providers, attempts)
        if not left:
            return give_up(attempts), None
        provider = next_provider(left, attempts)
        if provider is None:
            return put_back(left, attempts), None
        with self._leases.hold(claimed):
            if not await provider.enter():
                return put_back(left, attempts), None
            try:
                if instead := await self._outdated(claimed, time.monotonic() - lease_start):
                    return instead, None
                result, took = await provider.deliver(message)
                if claimed.challenge_type == "sms":
                    gsm7.note_segments(message.text)
            finally:
                provider.leave()
        record = NewAttempt(
            str(claimed.challenge_id), claimed.tries, provider.name,
            result.message_id, result.outcome, result.reason, int(took * 1000),
        )  # fmt: skip
        blames = None if result.outcome is Outcome.ACCEPTED else result.blames
        logs.info(
            "dispatch_attempt", session_id=claimed.session_id, blames=blames, **record._asdict()
        )
        attempts.append(record)
        return next_step(claimed, result, attempts, remaining(providers, attempts)), record

    async def _outdated(self, claimed: SessionRow, elapsed: float) -> Settlement | None:
        """Looks, just before sending, whether code, session and claim still live."""
        if over := outlived(claimed, elapsed):
            return over
        if elapsed <= _FRESH_SECONDS:
            return None
        try:
            ours = await self._leases.extend(claimed)
        except StoreUnavailable:
            return Settlement("queued", "claim not confirmed", retry_in_ms=1000)
        return None if ours else Settlement("expired", "lease lost")
