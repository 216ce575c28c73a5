"""A breaker: it stops calls to a provider that keeps failing, and finds out when to go on."""

from __future__ import annotations

import time
from collections.abc import Callable

from service.channels import Blame, Outcome, Result

_FAILURES_TO_OPEN = 5
_OPEN_SECONDS = 10.0
_ACCOUNT_REFUSED_SECONDS = 60.0
_LONGEST_PAUSE_SECONDS = 300.0
_FRESH_FIRST_SECONDS = 5.0


class Breaker:
    """Whether one provider may be called, as its replies tell.

    It opens after failures that blame the provider, five in a row, or one that blames our account;
    then one call at a time is a probe. Replies about a message or a recipient change nothing.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._failures = 0
        self._open_until = 0.0
        self._paused_until = 0.0  # by Retry-After: no success of another call takes it back

    def unavailable_for(self, failed_before: bool = False) -> float:
        """Returns the seconds until a call may be made; 0 for now.

        Args:
            failed_before: Whether the message has failed already. A provider in doubt is probed
                first with messages that have not failed: for 5 s one that has failed waits.
        """
        wait_until = max(self._open_until, self._paused_until)
        if failed_before and self._in_doubt:
            wait_until += _FRESH_FIRST_SECONDS
        return max(0.0, wait_until - self._monotonic())

    def begin(self) -> bool:
        """Notes that a call begins.

        Returns:
            Whether it is a probe: the provider is in doubt, and other calls wait for it.
        """
        if self._in_doubt:
            self._open_until = self._monotonic() + _OPEN_SECONDS
        return self._in_doubt

    def note(self, result: Result, is_probe: bool = False) -> None:
        """Learns from a call that ended.

        Args:
            result: How.
            is_probe: What `begin` returned.
        """
        now = self._monotonic()
        if result.retry_after:
            pause = min(result.retry_after, _LONGEST_PAUSE_SECONDS)
            self._paused_until = max(self._paused_until, now + pause)
        if result.outcome is Outcome.ACCEPTED:
            self._failures = 0
            self._open_until = 0.0
        elif result.blames is Blame.ACCOUNT:
            self._failures = _FAILURES_TO_OPEN
            self._open_until = now + _ACCOUNT_REFUSED_SECONDS
        elif result.blames is Blame.PROVIDER and not result.retry_after:
            self._failures += 1
            if self._in_doubt:
                self._open_until = max(self._open_until, now + _OPEN_SECONDS)
        elif is_probe:
            self._open_until = now  # it has shown nothing; the next call tries

    @property
    def _in_doubt(self) -> bool:
        return self._failures >= _FAILURES_TO_OPEN
