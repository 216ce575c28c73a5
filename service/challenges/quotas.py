"""Quotas that rows of their own count: sends, wrong answers, tokens, sessions of an account.

What one session counts itself, its sends, challenges and wrong answers, is bounded in `rules`.
"""

from __future__ import annotations

from collections.abc import Mapping

from service.challenges.rules import code_lives
from service.errors import QuotaOutlastsSession, RateLimited, SendsSpent
from service.storage.rows import Quota, Quotas, SessionRow

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_COARSE_MS = 900_000
"""What the wait for a quota over all accounts is rounded up to: it tells nothing of others."""
_OVER_ALL = "-all-"
_NONE = Quota("", 0, 0)


def sends_of(row: SessionRow, per_account: int) -> Quotas:
    """Lists the five quotas that a send of `row`'s code takes from.

    The widest first, always in this order: two sends that share rows lock them alike.

    Args:
        row: The session.
        per_account: Sends that its account has in an hour; 0 for any number.
    """
    challenge_type, to = row.challenge_type, row.fingerprint
    ours = f"{row.account_uid}:{row.fingerprint}"
    return (
        Quota(f"account-hour:{row.account_uid}", _HOUR_MS, per_account),
        Quota(f"{challenge_type}-all-hour:{to}", _HOUR_MS, 15),
        Quota(f"{challenge_type}-all-day:{to}", _DAY_MS, 30),
        Quota(f"{challenge_type}-hour:{ours}", _HOUR_MS, 5),
        Quota(f"{challenge_type}-day:{ours}", _DAY_MS, 10),
    )


def answers_of(row: SessionRow, token: str | None) -> Quotas:
    """Lists the three quotas that an answer takes from, one without a limit where none applies.

    Args:
        row: The session.
        token: Fingerprint of a captcha's token; None for a code.
    """
    if token is None:
        return (*wrong_answers_of(row), _NONE)
    # Once, for longer than any token lives (300 s): what was judged is not judged again.
    return (_NONE, _NONE, Quota(f"token:{token}", _HOUR_MS, 1))


def wrong_answers_of(row: SessionRow) -> Quotas:
    """Lists the two quotas that a wrong answer to `row`'s code takes from; a right one clears them.

    NIST SP 800-63B-4 allows 100 failures in a row per account, here per destination.
    """
    return (
        Quota(f"wrong-all-day:{row.fingerprint}", _DAY_MS, 100),
        Quota(f"wrong-day:{row.account_uid}:{row.fingerprint}", _DAY_MS, 20),
    )


def sessions_of(account_uid: str, per_account: int) -> Quota:
    """Returns the quota that a new session takes from.

    Args:
        account_uid: Who opens it.
        per_account: Sessions that an account may open in an hour; 0 for any number.
    """
    return Quota(f"sessions-hour:{account_uid}", _HOUR_MS, per_account)


def refusal(row: SessionRow, spent: Mapping[str, int]) -> RateLimited | QuotaOutlastsSession:
    """Returns the error of a call whose quotas are spent.

    Args:
        row: The session.
        spent: Keys of the quotas, and for how many ms each is.
    """
    waits = {key.partition(":")[0]: _rounded_up(key, ms) for key, ms in spent.items()}
    # The period may have ended meanwhile.
    name, wait_ms = max(waits.items(), key=lambda item: item[1], default=("quota", 1000))
    if row.now + wait_ms < row.expires_at:
        return RateLimited(name, wait_ms)
    if code_lives(row) and not any(name.startswith("wrong-") for name in waits):
        return SendsSpent(name, wait_ms)
    return QuotaOutlastsSession(name)


def _rounded_up(key: str, ms: int) -> int:
    """Returns a wait as callers are told of it, in whole seconds or quarters of an hour."""
    step = _COARSE_MS if _OVER_ALL in key.partition(":")[0] else 1000
    return -(-ms // step) * step
