"""What goes into the tables and comes out of them: plain data, no database behind it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

CODE_TYPES = ("sms", "email")
"""Challenge types whose payer types a code that we send."""
CAPTCHA_TYPES = ("hcaptcha", "turnstile")
"""Challenge types that are met in a widget, whose token its provider judges."""


class Payment(NamedTuple):
    """The payment a code is bound to (PSD2 RTS article 5).

    Attributes:
        amount_minor: In the currency's minor unit.
        currency: ISO 4217 code.
        payee: Name as shown to the payer.
    """

    amount_minor: int
    currency: str
    payee: str


class SessionRow(NamedTuple):
    """The columns of `hosted_session` that are read, and the database's time.

    The statements select these fields in this order; `now`, the database's time, stays last. Times
    are milliseconds since the Unix epoch on the database's clock. `tables.HostedSession` says what
    each column means.
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
    challenge_expected: bool
    expires_at: int
    issues: int
    sends: int
    wrong_code: int
    wrong_total: int
    challenge_id: str | None
    challenge_type: str | None
    challenge_state: str
    satisfied_at: int | None
    satisfied_until: int | None
    confirms_left: int | None
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
    previous_code_expires_at: int
    code_sent: bool
    code_unknown: bool
    fence: int
    dispatch_state: str
    tries: int
    unknowns: int
    claimed_at: int
    window_ends_at: int
    page_origin: str | None
    traceparent: str | None
    chain: str
    now: int

    @property
    def payment(self) -> Payment | None:
        """The payment that the challenge, or its waiver, is for; None for any."""
        return _payment(self)


def session_of(row: Sequence[Any] | None) -> SessionRow | None:
    """Makes a session's row of what a statement returned, if it did."""
    return None if row is None else SessionRow._make(row)


class NewSession(NamedTuple):
    """What an owner registers; see `tables.HostedSession`."""

    session_id: str
    account_uid: str
    secret_sha256: bytes
    scope: str
    allowed_origins: str
    locale: str
    merchant_name: str
    lifetime_ms: int
    challenge_expected: bool = False


class SessionChanges(NamedTuple):
    """What of a session changes; None for what does not.

    Attributes:
        allowed_origins: See `tables.HostedSession`.
        locale: Likewise.
        merchant_name: Likewise.
        expires_at: When it ends.
        expires_in_ms: How long from now it lasts, in place of that.
        payment: What its challenge is for.
    """

    allowed_origins: str | None = None
    locale: str | None = None
    merchant_name: str | None = None
    expires_at: int | None = None
    expires_in_ms: int | None = None
    payment: Payment | None = None


class NewChallenge(NamedTuple):
    """A challenge as its row keeps it; see `tables.HostedSession`."""

    challenge_id: str
    challenge_type: str
    site_key: str | None = None
    destination: bytes | None = None
    fingerprint: str | None = None
    delivery_hint: str | None = None
    key_id: str | None = None
    amount_minor: int | None = None
    currency: str | None = None
    payee: str | None = None
    fallback_fingerprint: str | None = None

    @property
    def payment(self) -> Payment | None:
        """The payment that the challenge is for; None for any."""
        return _payment(self)


class Quota(NamedTuple):
    """A bound on how often something may happen.

    Attributes:
        key: What it bounds, `sms-hour:<account>:<fingerprint>`.
        period_ms: Length of a period, which begins with its first use.
        allowed: Times in a period; 0 for no bound.
    """

    key: str
    period_ms: int
    allowed: int


Quotas = tuple[Quota, ...]
"""Quotas that one change counts against, in the order of its statement."""


def flat(quotas: Quotas) -> list[object]:
    """Lists key, period and limit of each quota, for a statement's parameters."""
    return [part for quota in quotas for part in quota]


NO_CHANNEL = "no channel is configured"
UNKNOWN_TWICE = "outcome unknown twice"
CANNOT_COMPOSE = "cannot compose"
"""Reasons of a settlement that evidence explains; of the last, what follows it is an error's."""


class Settlement(NamedTuple):
    """How a try ended, for the row.

    Attributes:
        state: The dispatch's next state, `queued`, `sent`, `dead` or `expired`.
        reason: Why, for whoever looks into it; None when sent.
        retry_in_ms: When it is due again; None for never.
        unknown: Whether the try may have delivered without our knowing.
        refused: Whether the destination is refused for good.
    """

    state: str
    reason: str | None = None
    retry_in_ms: int | None = None
    unknown: bool = False
    refused: bool = False


class NewAttempt(NamedTuple):
    """An attempt as the ledger is to have it; see `tables.Attempt`."""

    challenge_id: str
    dispatch_try: int
    channel: str
    provider_message_id: str | None
    outcome: str
    reason: str | None
    took_ms: int


class Attempt(NamedTuple):
    """An attempt as the ledger has it; see `tables.Attempt`."""

    fence: int
    challenge_id: str
    dispatch_try: int
    channel: str
    provider_message_id: str | None
    outcome: str
    reason: str | None
    started_at: int
    ended_at: int


class Event(NamedTuple):
    """One event for a session's evidence; see `tables.Evidence`.

    Attributes:
        before: The row's chain, as it was read.
        chain: What takes its place.
        account_uid: The session's.
        seq: Which event of the session it is, from 1.
        text: The event; None where a change has none, and leaves the chain as it is.
        personal: Salts and values of what the event only commits to.
        fingerprint: Of the destination whose erasure takes them.
        at: When, milliseconds since the Unix epoch on the database's clock.
    """

    before: str
    chain: str
    account_uid: str
    seq: int
    text: str | None
    personal: str | None
    fingerprint: str | None
    at: int


class Rpc(StrEnum):
    """An rpc whose repeats are known, as `tables.HandledRequest` names it."""

    ISSUE = "issue"
    VERIFY = "verify"
    FALL_BACK = "fallback"


class RequestKey(NamedTuple):
    """What a repeat of a request is known by; see `tables.HandledRequest`.

    Attributes:
        request_id: The caller's; empty for a request that is carried out each time.
        content: Keyed hash of what it asks for.
    """

    request_id: str = ""
    content: str = ""


class Handled(NamedTuple):
    """How a request ended that was carried out; see `tables.HandledRequest`."""

    content: str
    outcome: str
    wrong_code: int
    wrong_total: int


class Answered(NamedTuple):
    """The row after an answer was counted or accepted."""

    session_id: str
    wrong_code: int
    wrong_total: int
    satisfied_at: int | None


def _payment(of: SessionRow | NewChallenge) -> Payment | None:
    if of.amount_minor is None or of.currency is None or of.payee is None:
        return None
    return Payment(of.amount_minor, of.currency, of.payee)
