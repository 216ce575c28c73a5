"""What becomes of a dispatch.

`next_step` says it after an attempt; `give_up` where every provider has refused; `outlived` where
the code would come too late; `put_back` where no provider is free.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from service.challenges.rules import is_locked
from service.channels import Outcome, Result
from service.delivery.providers import REFUSALS, Attempts, Provider
from service.storage.rows import SessionRow, Settlement

_UNKNOWNS_ALLOWED = 1
"""Tries of unknown outcome after which another is made: one automatic retry."""

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 4.0, 30.0


def next_step(
    claimed: SessionRow, result: Result, attempts: Attempts, left: Sequence[Provider]
) -> Settlement:
    """Decides what becomes of a dispatch.

    A provider that refuses is not asked again. Any failure goes at once to one that has not been
    asked (with none, the first is tried again at once), then on after growing pauses with jitter,
    until the code expires.

    Args:
        claimed: The row as claimed for this try; `tries` counts it.
        result: How the attempt ended.
        attempts: All of the dispatch, this one too.
        left: Providers that have not refused, in order of failover.
    """
    unknown = result.outcome is Outcome.UNKNOWN
    if result.outcome is Outcome.ACCEPTED:
        return Settlement("sent")
    if unknown and too_many_unknowns(claimed.unknowns + 1):
        return Settlement("dead", result.reason, unknown=True)
    if not left:
        return give_up(attempts, result.reason)
    asked = {attempt.channel for attempt in attempts}
    others = any(
        one.name not in asked and one.unavailable_for(failed_before=True) == 0 for one in left
    )
    refused = result.outcome in REFUSALS
    if others or (claimed.tries == 1 and not refused and not result.retry_after):
        return Settlement("queued", result.reason, retry_in_ms=0, unknown=unknown)
    return _later(claimed, result, unknown)


def too_many_unknowns(tries: int) -> bool:
    """Whether so many tries of unknown outcome end a dispatch."""
    return tries > _UNKNOWNS_ALLOWED


def give_up(attempts: Attempts, reason: str | None = "every provider refuses") -> Settlement:
    """Ends a dispatch that every provider refuses.

    The payer is told that the destination is refused if one surely said so.
    """
    surely = any(attempt.outcome == Outcome.UNDELIVERABLE for attempt in attempts)
    return Settlement("dead", reason, refused=surely)


def _later(claimed: SessionRow, result: Result, unknown: bool) -> Settlement:
    pause = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(claimed.tries - 1, 10))
    pause = max(pause * random.uniform(0.5, 1.0), result.retry_after or 0)
    if claimed.now + pause * 1000 >= min(claimed.code_expires_at, claimed.expires_at):
        return Settlement("expired", result.reason, unknown=unknown)
    return Settlement("queued", result.reason, retry_in_ms=int(pause * 1000), unknown=unknown)


def outlived(claimed: SessionRow, elapsed: float) -> Settlement | None:
    """Ends a dispatch whose code would come too late.

    Args:
        claimed: The row as claimed.
        elapsed: Seconds since the claim was sent.
    """
    now = claimed.now + elapsed * 1000
    if now >= claimed.code_expires_at:
        return Settlement("expired", "code expired")
    if now >= claimed.expires_at:
        return Settlement("expired", "session expired")
    if is_locked(claimed):
        return Settlement("expired", "challenge locked")
    return None


def put_back(left: Sequence[Provider], attempts: Attempts) -> Settlement:
    """Puts back a dispatch that no provider can take now, until one may.

    Args:
        left: Providers that have not refused the message.
        attempts: What the dispatch has come to.
    """
    wait = min(provider.unavailable_for(bool(attempts)) for provider in left)
    pause = max(wait, 1.0) * random.uniform(1.0, 1.5)
    return Settlement("queued", "no provider is free", retry_in_ms=int(pause * 1000))
