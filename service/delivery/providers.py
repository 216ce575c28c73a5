"""A provider with what protects it and us: bounded concurrency, a deadline, a breaker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from service.aio.deadlines import Deadlines
from service.channels import Blame, Channel, Message, Outcome, Result
from service.delivery.breaker import Breaker
from service.storage.rows import Attempt, NewAttempt
from service.telemetry import logs, metrics, tracing

_CONCURRENCY = 64
_SLOT_SECONDS = 2.0
_DEADLINE_SECONDS = 10.0
REFUSALS = (Outcome.REFUSED, Outcome.UNDELIVERABLE)

Attempts = Sequence[Attempt | NewAttempt]
"""The attempts of one dispatch so far, the oldest first."""


class Provider:
    """One provider in the order of failover.

    Attributes:
        name: The channel's.
        under_way: Calls that have a slot.
        waiting: Calls that wait for one.
    """

    def __init__(self, channel: Channel, breaker: Breaker | None = None) -> None:
        self.name = channel.name
        self.under_way = 0
        self.waiting = 0
        self._channel = channel
        self._breaker = breaker or Breaker()
        self._slots = asyncio.Semaphore(_CONCURRENCY)
        self._deadlines = Deadlines()
        self._durations = {
            outcome: metrics.PROVIDER_CALL_DURATION.labels(channel.name, outcome.value)
            for outcome in Outcome
        }
        self._failures = {
            blame: metrics.PROVIDER_FAILURES.labels(channel.name, blame.value) for blame in Blame
        }

    def unavailable_for(self, failed_before: bool = False) -> float:
        """Returns the seconds until the provider may be called; see `Breaker.unavailable_for`."""
        return self._breaker.unavailable_for(failed_before)

    async def enter(self) -> bool:
        """Takes a slot for one of the concurrent calls; `leave` gives it back.

        Returns:
            False when there is none to be had: none came free in time, or the provider was found to
            be down meanwhile.
        """
        if self._slots.locked():
            self.waiting += 1
            try:
                with self._deadlines.within(_SLOT_SECONDS):
                    await self._slots.acquire()
            except TimeoutError:
                return False
            finally:
                self.waiting -= 1
        else:
            await self._slots.acquire()  # at once
        self.under_way += 1
        if self.unavailable_for() == 0:
            return True
        self.leave()
        return False

    @property
    def is_full(self) -> bool:
        """Whether another call would have to wait for a slot."""
        return self._slots.locked()

    def leave(self) -> None:
        """Gives the slot back to the next call."""
        self.under_way -= 1
        self._slots.release()

    async def deliver(self, message: Message) -> tuple[Result, float]:
        """Calls the provider once, within the deadline; returns the seconds that it took, too."""
        is_probe = self._breaker.begin()
        started = time.monotonic()
        with tracing.provider_call(self.name) as span:
            result = await self._call(message)
            if span is not None:
                span.set_attribute("challenge.outcome", result.outcome.value)
        took = time.monotonic() - started
        self._breaker.note(result, is_probe)
        self._durations[result.outcome].observe(took, tracing.exemplar())
        if result.outcome is not Outcome.ACCEPTED:
            self._failures[result.blames].inc()
        return result, took

    async def _call(self, message: Message) -> Result:
        try:
            with self._deadlines.within(_DEADLINE_SECONDS):
                return await self._channel.deliver(message)
        except TimeoutError:
            return Result(Outcome.UNKNOWN, reason="timed out", blames=Blame.PROVIDER)
        except Exception as error:  # a bug in a channel: the message may have left
            logs.exception("channel_failed", channel=self.name)
            return Result(Outcome.UNKNOWN, reason=type(error).__name__)

    async def close(self) -> None:
        """Lets go of the channel's connections."""
        await self._channel.close()


def remaining(providers: Sequence[Provider], attempts: Attempts) -> list[Provider]:
    """Returns those that have not refused the message."""
    refused = {attempt.channel for attempt in attempts if attempt.outcome in REFUSALS}
    return [provider for provider in providers if provider.name not in refused]


def next_provider(providers: Sequence[Provider], attempts: Attempts) -> Provider | None:
    """Chooses the provider for a try, of those that may be called.

    One with a free slot goes before one without, then the least asked, then the first.

    Args:
        providers: In order of failover, without those that have refused the message.
        attempts: What the dispatch has come to.
    """
    asked = [attempt.channel for attempt in attempts]
    may = [one for one in providers if one.unavailable_for(bool(attempts)) == 0]
    return min(may, key=lambda one: (one.is_full, asked.count(one.name)), default=None)
