"""What the state of a session row means: predicates that every use case shares."""

from __future__ import annotations

from typing import NamedTuple

from service.errors import SessionCompleted, SessionExpired
from service.storage.rows import SessionRow


class WrongCaps(NamedTuple):
    """How many wrong answers lock a challenge."""

    per_code: int
    per_session: int


WRONG_CAPS = WrongCaps(5, 10)
"""PSD2 RTS article 4: at most 5 in a row."""


def require_open(row: SessionRow) -> None:
    """Checks that the session lives.

    Raises:
        SessionCompleted: It is paid.
        SessionExpired: It is past its time, or was given up.
    """
    if row.state == "completed":
        raise SessionCompleted
    if row.state == "expired" or row.now >= row.expires_at:
        raise SessionExpired


def needs_challenge(row: SessionRow) -> bool:
    """Tells whether the payer still has to prove something."""
    return row.challenge_state in ("pending", "refused")


def is_code(row: SessionRow) -> bool:
    """Tells whether the challenge is a code that we send."""
    return row.challenge_type in ("sms", "email")


def is_locked(row: SessionRow) -> bool:
    """Tells whether too many answers were wrong; nothing but a new session unlocks it."""
    return row.wrong_code >= WRONG_CAPS.per_code or row.wrong_total >= WRONG_CAPS.per_session


def attempts_remaining(wrong_code: int, wrong_total: int) -> int:
    """Counts the answers that may still be tried with the current code."""
    return max(0, min(WRONG_CAPS.per_code - wrong_code, WRONG_CAPS.per_session - wrong_total))
