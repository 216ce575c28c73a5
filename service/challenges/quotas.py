"""Quotas on sends: which ones a session's send counts against."""

from __future__ import annotations

from typing import NamedTuple

from service.storage.rows import Quota, Quotas, SessionRow

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS


class Limits(NamedTuple):
    """Sends that are allowed, 0 for any number.

    Attributes:
        account_hour: Per account and hour.
        sms_hour: Per phone number and hour.
        sms_day: Per phone number and day.
        email_hour: Per email address and hour.
        email_day: Per email address and day.
    """

    account_hour: int
    sms_hour: int = 5
    sms_day: int = 10
    email_hour: int = 10
    email_day: int = 0


def quotas_of(row: SessionRow, limits: Limits) -> Quotas:
    """Lists the quotas that a send of `row`'s code counts against.

    The widest first, always in this order: two sends that share rows lock them alike.
    """
    kind, destination = row.challenge_type, row.fingerprint
    hour, day = (
        (limits.sms_hour, limits.sms_day)
        if kind == "sms"
        else (limits.email_hour, limits.email_day)
    )
    return (
        Quota(f"account-hour:{row.account_uid}", _HOUR_MS, limits.account_hour),
        Quota(f"{kind}-hour:{destination}", _HOUR_MS, hour),
        Quota(f"{kind}-day:{destination}", _DAY_MS, day),
    )
