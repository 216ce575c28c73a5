"""The tables, as SQLModel: they own the schema, and migrations are checked against them.

Times are milliseconds since the Unix epoch on the database's clock, so that the same statements
run on SQLite and PostgreSQL and no replica's clock matters.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Index, false, text
from sqlmodel import Field, SQLModel


class HostedSession(SQLModel, table=True):
    """A session, its active challenge and the dispatch of its code: one row, one state machine."""

    __tablename__ = "hosted_session"
    __table_args__ = (
        CheckConstraint("state IN ('open', 'completed', 'expired')", name="session_state"),
        CheckConstraint(
            "challenge_state IN ('none', 'pending', 'refused', 'satisfied', 'waived')",
            name="challenge_state",
        ),
        CheckConstraint(
            "dispatch_state IN ('idle', 'queued', 'sending', 'sent', 'dead', 'expired')",
            name="dispatch_state",
        ),
        Index("hosted_session_due", "due_at", postgresql_where=text("due_at IS NOT NULL"),
              sqlite_where=text("due_at IS NOT NULL")),
        Index("hosted_session_to_wipe", "expires_at",
              postgresql_where=text("destination IS NOT NULL"),
              sqlite_where=text("destination IS NOT NULL")),
        Index("hosted_session_to_purge", "expires_at",  # no row is in both
              postgresql_where=text("destination IS NULL"),
              sqlite_where=text("destination IS NULL")),
        Index("hosted_session_fallback", "fallback_fingerprint",
              postgresql_where=text("fallback_fingerprint IS NOT NULL"),
              sqlite_where=text("fallback_fingerprint IS NOT NULL")),
        # Room in each page for the versions of a row, which is updated several times.
        {"postgresql_with": {"fillfactor": 70}},
    )  # fmt: skip

    session_id: str = Field(primary_key=True, description="`cs_…`, chosen by its owner")
    account_uid: str = Field(description="account of the owner")
    secret_sha256: bytes = Field(description="SHA-256 of the browser's credential")
    scope: str = Field(description="of that credential: payment or wallet")
    allowed_origins: str = Field(description="separated by spaces")
    locale: str = Field(description="BCP 47 tag of the payer's language")
    merchant_name: str = Field(description="as messages show it")
    state: str = Field(
        description="""
        open: until `expires_at`; past it as if expired
        completed: closed by its owner, paid
        expired: closed by its owner, not paid
        """
    )
    lifetime_ms: int = Field(
        sa_type=BigInteger, description="from its opening to `expires_at`, wherever that is moved"
    )
    challenge_expected: bool = Field(
        sa_column_kwargs={"server_default": false()},
        description="without a challenge no payment goes on",
    )
    expires_at: int = Field(sa_type=BigInteger, description="its end")

    issues: int = Field(
        sa_column_kwargs={"server_default": text("0")}, description="challenges that it was given"
    )
    sends: int = Field(
        description="dispatches that a Send began, less those handed back; no challenge resets it"
    )
    wrong_code: int = Field(
        description="wrong answers; CLAIM sets it to 0 for the code after one that ran out or was "
        "answered rightly, nothing does for a captcha"
    )
    wrong_total: int = Field(description="wrong answers in this session")

    challenge_id: str | None = Field(description="of the active challenge; null before the first")
    challenge_type: str | None = Field(description="hcaptcha, turnstile, sms or email")
    challenge_state: str = Field(
        description="""
        none: no challenge was issued
        pending: a response is needed
        refused: the destination will not do; only a fallback or a new challenge helps
        satisfied: payments may go on until `satisfied_until` and for `confirms_left`
        waived: for the payment that is named, or for all
        """
    )
    satisfied_at: int | None = Field(
        sa_type=BigInteger, description="when the right answer came; null while there is none"
    )
    satisfied_until: int | None = Field(
        sa_type=BigInteger, description="when it is pending again; null while not satisfied"
    )
    confirms_left: int | None = Field(
        description="payments that it still lets go on; null for any number"
    )
    site_key: str | None = Field(description="public key of a captcha's widget")
    destination: bytes | None = Field(
        description="destination and fallback, encrypted as one; null where there is none, once it "
        "was erased, and once the session has ended"
    )
    fingerprint: str | None = Field(description="keyed hash of the destination")
    delivery_hint: str | None = Field(description="masked destination, as browsers may see it")
    key_id: str | None = Field(description="key of the ring that made code and ciphertext")
    amount_minor: int | None = Field(
        sa_type=BigInteger,
        description="of the payment that challenge or waiver is for, in minor units; null for any",
    )
    currency: str | None = Field(description="of that payment, ISO 4217")
    payee: str | None = Field(description="of that payment, as messages show it")
    code_counter: int = Field(
        description="HOTP counter; 0 before the first code. A changed payment raises it too"
    )
    code_expires_at: int = Field(
        sa_type=BigInteger,
        description="end of the code's life; 0 before the first, 1 once answered rightly",
    )
    previous_code_expires_at: int = Field(
        sa_type=BigInteger,
        sa_column_kwargs={"server_default": text("0")},
        description="end of the previous code's life, if it was replaced before that; 0 for none",
    )
    code_sent: bool = Field(description="a provider accepted the current code")
    code_unknown: bool = Field(
        sa_column_kwargs={"server_default": false()},
        description="a try with the current code may have delivered without our knowing",
    )

    fence: int = Field(
        sa_type=BigInteger, description="fencing token: raised by whatever outdates a claim"
    )
    dispatch_state: str = Field(
        description="""
        idle: nothing was sent since it was issued or its payment changed
        sending: claimed by a process until `due_at`, or left by one that died
        queued: to be tried again at `due_at`
        sent: a provider accepted it
        dead: no provider takes it
        expired: too late, or not wanted any more
        """
    )
    dispatch_reason: str | None = Field(description="why it is in that state; null when sent")
    due_at: int | None = Field(
        sa_type=BigInteger, description="when anyone may claim it: retry time, or end of the lease"
    )
    tries: int = Field(description="claims of this dispatch")
    unknowns: int = Field(
        description="tries of this dispatch that may have delivered without our knowing"
    )
    claimed_at: int = Field(
        sa_type=BigInteger, description="when a Send claimed the dispatch; retries do not change it"
    )
    window_ends_at: int = Field(
        sa_type=BigInteger, description="until then a repeated Send sends nothing"
    )
    page_origin: str | None = Field(
        description="origin of the page whose Send claimed the dispatch, if it was a browser's"
    )
    opening: str | None = Field(
        description="keyed hash of what was registered; a repeated OpenSession is compared with it"
    )
    fallback_fingerprint: str | None = Field(
        description="keyed hash of the destination that the fallback would have"
    )
    waiver: str | None = Field(
        description="kind and reference of the proof made elsewhere, for which it was waived"
    )

    chain: str = Field(
        sa_column_kwargs={"server_default": text("''")},
        description="number, SHA-256 and MAC of the last event; empty before the first",
    )
    traceparent: str | None = Field(
        description="W3C trace context of the Send that claimed the dispatch, if it was sampled"
    )


class Quota(SQLModel, table=True):
    """How often something was done in a period: by an account, to a destination, with a token.

    More than is allowed breaks a constraint.
    """

    __tablename__ = "quota"
    __table_args__ = (
        CheckConstraint("used <= allowed", name="quota_spent"),
        Index("quota_ends_at", "ends_at"),
    )

    key: str = Field(primary_key=True, description="what it bounds; see `challenges.quotas`")
    started_at: int = Field(sa_type=BigInteger, description="start of the period, its first use")
    ends_at: int = Field(sa_type=BigInteger, description="end of the period; then it starts anew")
    used: int = Field(description="times in this period")
    allowed: int = Field(description="times that were allowed when it was last used")


class Attempt(SQLModel, table=True):
    """The ledger: one row per attempt at a provider. No destination, no code.

    On PostgreSQL it has a partition for each day, see `partitions`, so the key needs `claimed_at`.
    """

    __tablename__ = "attempt"
    __table_args__ = (
        Index("attempt_claimed_at", "claimed_at").ddl_if(dialect="sqlite"),
        {"postgresql_partition_by": "RANGE (claimed_at)"},
    )

    session_id: str = Field(primary_key=True, description="the session's")
    fence: int = Field(
        primary_key=True, sa_type=BigInteger, description="of the claim; rises from try to try"
    )
    claimed_at: int = Field(
        primary_key=True, sa_type=BigInteger, description="when the dispatch was, by a Send"
    )
    challenge_id: str = Field(description="whose code it was")
    dispatch_try: int = Field(description="which claim of the dispatch it was, from 1")
    channel: str = Field(description="name of the channel")
    provider_message_id: str | None = Field(description="the provider's own id, if it gave one")
    outcome: str = Field(description="a `channels.Outcome`")
    reason: str | None = Field(description="the provider's code, or what failed; null if accepted")
    started_at: int = Field(sa_type=BigInteger, description="when the provider was called")
    ended_at: int = Field(sa_type=BigInteger, description="when the outcome was written down")


class HandledRequest(SQLModel, table=True):
    """A request that was carried out, by its `request_id` (AIP-155): a repeat changes nothing."""

    __tablename__ = "handled_request"
    __table_args__ = (Index("handled_request_handled_at", "handled_at"),)

    session_id: str = Field(primary_key=True, description="the session's")
    rpc: str = Field(primary_key=True, description="issue, verify or fallback")
    request_id: str = Field(primary_key=True, description="the caller's")
    content: str = Field(description="keyed hash of what it asked for")
    outcome: str = Field(description="issued, satisfied, confirmed, wrong or taken")
    wrong_code: int = Field(description="the session's, as it left it")
    wrong_total: int = Field(description="likewise")
    handled_at: int = Field(sa_type=BigInteger, description="when it was carried out")


class Evidence(SQLModel, table=True):
    """What happened in a session: events that are only ever appended, see `evidence.chain`."""

    __tablename__ = "evidence"
    __table_args__ = (
        # One entry for a session: its evidence is purged whole.
        Index("evidence_opened", "at", postgresql_where=text("seq = 1"),
              sqlite_where=text("seq = 1")),
        Index("evidence_personal", "fingerprint",
              postgresql_where=text("fingerprint IS NOT NULL"),
              sqlite_where=text("fingerprint IS NOT NULL")),
    )  # fmt: skip

    session_id: str = Field(primary_key=True, description="the session's")
    seq: int = Field(primary_key=True, description="from 1, without a gap")
    account_uid: str = Field(description="the session's, which may be gone")
    event: str = Field(description="canonical JSON; the chain is over these bytes")
    personal: str | None = Field(
        description="salts and values of what the event commits to, JSON; null once erased"
    )
    fingerprint: str | None = Field(description="of a challenge's destination, until its erasure")
    chain: str | None = Field(
        description="of the first event: the session's, kept once its own row is deleted"
    )
    at: int = Field(sa_type=BigInteger, description="when it happened")
