"""What follows an attempt: the one table of verdicts."""

from __future__ import annotations

import random
from collections.abc import Sequence

from service.challenges.rules import is_locked
from service.channels import Outcome, Verdict
from service.delivery.providers import Provider
from service.storage.rows import SessionRow, Settlement

UNKNOWNS_ALLOWED = 1
"""Tries that may have delivered, before no more is risked: one automatic retry."""

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 2.0, 30.0


def next_step(claimed: SessionRow, outcome: Outcome, providers: int) -> Settlement:
    """Decides what becomes of a dispatch.

    A failure is retried at once with each provider that has not had its turn (with the only one,
    once), then after growing pauses with jitter, until the code expires.

    Args:
        claimed: The row as claimed for this try; `tries` counts it.
        outcome: How the attempt ended.
        providers: How many there are.
    """
    last_turn = claimed.tries >= providers
    match outcome.verdict:
        case Verdict.ACCEPTED:
            return Settlement("sent")
        case Verdict.UNDELIVERABLE:
            return Settlement("dead", outcome.reason, refused=True)
        case Verdict.REFUSED if last_turn:
            return Settlement("dead", outcome.reason)
        case Verdict.UNKNOWN if claimed.unknowns >= UNKNOWNS_ALLOWED:
            return Settlement("dead", outcome.reason, unknown=True)
    unknown = outcome.verdict is Verdict.UNKNOWN
    if claimed.tries < max(2, providers) and not (outcome.retry_after and last_turn):
        return Settlement("queued", outcome.reason, retry_in_ms=0, unknown=unknown)
    return _later(claimed, outcome, unknown)


def _later(claimed: SessionRow, outcome: Outcome, unknown: bool) -> Settlement:
    pause = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(claimed.tries, 10))
    pause = max(pause * random.uniform(0.5, 1.0), outcome.retry_after or 0)
    if claimed.now + pause * 1000 >= min(claimed.code_expires_at, claimed.expires_at):
        return Settlement("expired", outcome.reason, unknown=unknown)
    return Settlement("queued", outcome.reason, retry_in_ms=int(pause * 1000), unknown=unknown)


def outlived(claimed: SessionRow, elapsed: float) -> Settlement | None:
    """Ends a dispatch whose code would come too late.

    Args:
        claimed: The row as claimed.
        elapsed: Seconds since the claim was asked for.
    """
    now = claimed.now + elapsed * 1000
    if now >= claimed.code_expires_at:
        return Settlement("expired", "code expired")
    if now >= claimed.expires_at:
        return Settlement("expired", "session expired")
    if is_locked(claimed):
        return Settlement("expired", "challenge locked")
    return None


def put_back(providers: Sequence[Provider]) -> Settlement:
    """Puts back a dispatch that no provider can take now, until one may."""
    if not providers:
        return Settlement("dead", "no channel is configured")
    wait = min(provider.unavailable_for() for provider in providers)
    pause = max(wait, 1.0) * random.uniform(1.0, 1.5)
    return Settlement("queued", "every provider is busy or down", retry_in_ms=int(pause * 1000))
