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
    then one call at a time may find out. Replies about a message or a recipient change nothing.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._failures = 0
        self._open_until = 0.0
        self._asked_until = 0.0  # by Retry-After: no success of another call takes it back

    def open_for(self, failed_before: bool = False) -> float:
        """Returns the seconds until a call may be made; 0 for now.

        Args:
            failed_before: Whether the message has failed already. While the provider is in doubt
                others go first, for a few seconds: that one may be what is wrong.
        """
        wait_until = max(self._open_until, self._asked_until)
        if failed_before and self._in_doubt:
            wait_until += _FRESH_FIRST_SECONDS
        return max(0.0, wait_until - self._monotonic())

    def begin(self) -> bool:
        """Notes that a call begins.

        Returns:
            Whether it is to find out: the provider is in doubt, and the others wait for it.
        """
        if self._in_doubt:
            self._open_until = self._monotonic() + _OPEN_SECONDS
        return self._in_doubt

    def note(self, result: Result, to_find_out: bool = False) -> None:
        """Learns from a call that ended.

        Args:
            result: How.
            to_find_out: What `begin` returned.
        """
        now = self._monotonic()
        if result.retry_after:
            pause = min(result.retry_after, _LONGEST_PAUSE_SECONDS)
            self._asked_until = max(self._asked_until, now + pause)
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
        elif to_find_out:
            self._open_until = now  # it has shown nothing; the next call tries

    @property
    def _in_doubt(self) -> bool:
        return self._failures >= _FAILURES_TO_OPEN
