"""A provider with what protects it and us: bounded concurrency, a deadline, a breaker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from service.aio.deadlines import Deadlines
from service.channels import Channel, Message, Outcome, Verdict
from service.telemetry import logs, metrics, tracing

_CONCURRENCY = 64
_SLOT_SECONDS = 2.0
_DEADLINE_SECONDS = 10.0
_FAILURES_TO_OPEN = 5
_OPEN_SECONDS = 10.0
_LONGEST_THROTTLE_SECONDS = 300.0


class Breaker:
    """Stops calling a provider that keeps failing, then lets one call through to find out."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._failures = 0
        self._closed_again_at = 0.0

    def open_for(self) -> float:
        """Returns the seconds for which it stays open; 0 when a call may be made."""
        return max(0.0, self._closed_again_at - self._monotonic())

    def probe(self) -> None:
        """Notes that a call begins; while the provider is in doubt, the others wait for it."""
        if self._failures >= _FAILURES_TO_OPEN:
            self._closed_again_at = self._monotonic() + _OPEN_SECONDS

    def note(self, outcome: Outcome) -> None:
        """Learns from a call that ended."""
        if outcome.retry_after:
            pause = min(outcome.retry_after, _LONGEST_THROTTLE_SECONDS)
            self._closed_again_at = self._monotonic() + pause
        elif outcome.verdict in (Verdict.RETRY, Verdict.UNKNOWN):
            self._failures += 1
            if self._failures >= _FAILURES_TO_OPEN:
                self._closed_again_at = self._monotonic() + _OPEN_SECONDS
        else:
            self._failures = 0
            self._closed_again_at = 0.0


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
            verdict: metrics.PROVIDER_CALL_DURATION.labels(channel.name, verdict.value)
            for verdict in Verdict
        }

    def unavailable_for(self) -> float:
        """Returns the seconds until the provider may be called; 0 for now."""
        return self._breaker.open_for()

    async def enter(self) -> bool:
        """Takes one of the concurrent calls, to be given back by `leave`.

        Returns:
            False when there is none to be had: none came free in time, or the provider was found to
            be down meanwhile.
        """
        self.waiting += 1
        try:
            with self._deadlines.within(_SLOT_SECONDS):
                await self._slots.acquire()
        except TimeoutError:
            return False
        finally:
            self.waiting -= 1
        self.under_way += 1
        if self.unavailable_for() == 0:
            return True
        self.leave()
        return False

    def leave(self) -> None:
        """Lets the next call have its turn."""
        self.under_way -= 1
        self._slots.release()

    async def deliver(self, message: Message) -> tuple[Outcome, float]:
        """Calls the provider once, within the deadline; returns the seconds that it took, too."""
        self._breaker.probe()
        started = time.monotonic()
        with tracing.provider_call(self.name) as span:
            outcome = await self._call(message)
            if span is not None:
                span.set_attribute("challenge.verdict", outcome.verdict.value)
        took = time.monotonic() - started
        self._breaker.note(outcome)
        self._durations[outcome.verdict].observe(took)
        return outcome, took

    async def _call(self, message: Message) -> Outcome:
        try:
            with self._deadlines.within(_DEADLINE_SECONDS):
                return await self._channel.deliver(message)
        except TimeoutError:
            return Outcome(Verdict.UNKNOWN, reason="timed out")
        except Exception as error:  # a bug in a channel: the message may have left
            logs.exception("channel_failed", channel=self.name)
            return Outcome(Verdict.UNKNOWN, reason=type(error).__name__)

    async def close(self) -> None:
        """Lets go of the channel's connections."""
        await self._channel.close()


def next_provider(providers: Sequence[Provider], tries: int) -> Provider | None:
    """Chooses the provider for a try: each in turn, passing over those that are down.

    Args:
        providers: In order of failover.
        tries: Which try it is, from 1.
    """
    for turn in range(len(providers)):
        provider = providers[(tries - 1 + turn) % len(providers)]
        if provider.unavailable_for() == 0:
            return provider
    return None
