"""The session row as the rules see it: plain data, no database behind it."""

from __future__ import annotations

from typing import NamedTuple

from service.codes import Payment


class SessionRow(NamedTuple):
    """One row of `hosted_session`, its columns in order, and the time it was read.

    Times are milliseconds since the Unix epoch on the database's clock. `models.HostedSession` says
    what each column means.
    """

    session_id: str
    account_uid: str
    secret_sha256: bytes
    scope: str
    allowed_origins: str
    locale: str
    merchant_name: str
    state: str
    lifetime_ms: int
    expires_at: int
    sends: int
    wrong_code: int
    wrong_total: int
    challenge_id: str | None
    challenge_type: str | None
    challenge_state: str
    site_key: str | None
    destination: bytes | None
    fingerprint: str | None
    delivery_hint: str | None
    key_id: str | None
    amount_minor: int | None
    currency: str | None
    payee: str | None
    code_counter: int
    code_expires_at: int
    code_sent: bool
    fence: int
    dispatch_state: str
    tries: int
    unknowns: int
    claimed_at: int
    window_ends_at: int
    now: int

    @property
    def payment(self) -> Payment | None:
        """The payment that the code is bound to."""
        if self.amount_minor is None or self.currency is None or self.payee is None:
            return None
        return Payment(self.amount_minor, self.currency, self.payee)
