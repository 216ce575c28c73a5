"""Every rule on a session row: what its state allows now, on one screen."""

from __future__ import annotations

from typing import NamedTuple

from service.errors import (
    CaptchaUnsupported,
    ChallengeClosed,
    ChallengeLocked,
    CodeExpired,
    DestinationRefused,
    QuotaOutlastsSession,
    RateLimited,
    SessionCompleted,
    SessionExpired,
)
from service.storage.rows import SessionRow


class WrongCaps(NamedTuple):
    """How many wrong answers lock a challenge."""

    per_code: int
    per_session: int


WRONG_CAPS = WrongCaps(5, 10)
"""PSD2 RTS article 4: at most 5 in a row."""
SENDS_PER_SESSION = 5
"""Claims in one session, whatever challenges it gets."""
LAST_MS = 60_000
"""In a code's last minute a Send makes the next: nobody can be told that it is valid for less."""


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
    """Whether the payer still has to prove something."""
    return row.challenge_state in ("pending", "refused")


def is_code(row: SessionRow) -> bool:
    """Whether the challenge is a code that we send."""
    return row.challenge_type in ("sms", "email")


def is_locked(row: SessionRow) -> bool:
    """Whether too many answers were wrong; nothing but a new session unlocks it."""
    return row.wrong_code >= WRONG_CAPS.per_code or row.wrong_total >= WRONG_CAPS.per_session


def attempts_remaining(wrong_code: int, wrong_total: int) -> int:
    """Counts the answers that may still be tried with the current code."""
    return max(0, min(WRONG_CAPS.per_code - wrong_code, WRONG_CAPS.per_session - wrong_total))


def may_have_arrived(row: SessionRow) -> bool:
    """Whether the payer may have the current code; one that was surely not sent is void."""
    return row.code_sent or row.code_unknown or row.dispatch_state == "sending"


def code_lives(row: SessionRow) -> bool:
    """Whether there is a code that can be answered, if it is the right one."""
    return may_have_arrived(row) and row.now < row.code_expires_at


def needs_next_code(row: SessionRow) -> bool:
    """Whether a Send makes a new code, instead of sending the current one again."""
    return row.now >= row.code_expires_at - LAST_MS


def follows_expired_code(row: SessionRow) -> bool:
    """Whether wrong answers to the next code are counted from 0.

    A new challenge's first code takes the count over, or reissuing would be a way to guess on; so
    does one that is made in the last minute of the code before.
    """
    return row.code_counter > 0 and row.now >= row.code_expires_at


def may_send_again(row: SessionRow) -> bool:
    """Whether a Send starts a new dispatch, or repeats the answer of the last one.

    Raises:
        ChallengeLocked: Too many wrong answers.
        DestinationRefused: The provider refused the destination for good.
        RateLimited, QuotaOutlastsSession: The session has had its sends.
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
        if code_lives(row):
            raise RateLimited("session", -(-(row.expires_at - row.now) // 1000))
        raise QuotaOutlastsSession("session")
    return True


def require_answerable(row: SessionRow) -> None:
    """Checks that an answer may be tried now.

    Raises:
        SessionCompleted, SessionExpired: The session has ended.
        ChallengeClosed: Nothing is to be proven.
        CaptchaUnsupported: It is a captcha.
        ChallengeLocked: Too many wrong answers.
        CodeExpired: No code is valid now.
    """
    require_open(row)
    if not needs_challenge(row):
        raise ChallengeClosed
    if not is_code(row):
        raise CaptchaUnsupported
    if is_locked(row):
        raise ChallengeLocked
    if row.challenge_state == "refused" or not code_lives(row):
        raise CodeExpired
