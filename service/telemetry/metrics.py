"""Every metric, in one place. docs/observing.md lists them; a test compares the two.

No label takes a value from a caller: each has a closed set of values, which are ours or the
operator's. With worker processes (see `exposition`) a gauge says how those of the workers combine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

import prometheus_client
from prometheus_client import Counter, Gauge, Histogram

# Nothing reads the _created series, and they would add a third to the output.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]

NO_CHANNEL = "none"

# Calls

_CALL_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

CALL_DURATION = Histogram(
    "challenge_call_duration_seconds", "Calls by rpc and gRPC code, and how long they took.",
    ("rpc", "code"), buckets=_CALL_BUCKETS,
)  # fmt: skip
CALL_ERRORS = Counter(
    "challenge_call_errors_total",
    "Calls that ended in an error, by its class in service/errors.py; `Bug` for any other.",
    ("rpc", "error"),
)
QUOTA_REFUSALS = Counter(
    "challenge_quota_refusals_total", "Calls refused because a quota is spent.", ("quota",)
)

# Delivery

DISPATCH_DURATION = Histogram(
    "challenge_dispatch_duration_seconds",
    "Dispatches by type, by the channel that their last try called, `none` where it called none, "
    "and by how they ended, `sent`, `dead` or `expired`; from Send to there.",
    ("type", "channel", "outcome"),
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
)  # fmt: skip
PROVIDER_CALL_DURATION = Histogram(
    "challenge_provider_call_duration_seconds",
    "Calls to providers by outcome, and how long they took.",
    ("channel", "outcome"), buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)  # fmt: skip

SMS_SEGMENTS = Histogram(
    "challenge_sms_segments",
    "SMS handed to a provider by alphabet, `gsm7` or `ucs2`, and the segments that each takes.",
    ("alphabet",), buckets=(1, 2, 3, 4),
)  # fmt: skip
PROVIDER_FAILURES = Counter(
    "challenge_provider_failures_total",
    "Calls that a provider did not take, by what its reply blames: `provider`, `account`, "
    "`message` or `recipient`.",
    ("channel", "blames"),
)

# Captchas

CAPTCHA_JUDGEMENTS = Counter(
    "challenge_captcha_judgements_total",
    "Captcha tokens by verdict and reason: a code of the provider's, or a word of ours.",
    ("provider", "verdict", "reason"),
)
CAPTCHA_DURATION = Histogram(
    "challenge_captcha_duration_seconds",
    "Captcha tokens by verdict, and how long it took to judge them, every try included.",
    ("provider", "verdict"), buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)  # fmt: skip

# Sampled: see `sampling`. All workers read the same queue, so the latest reading stands.

PROVIDER_CALLS = Gauge(
    "challenge_provider_calls", "Calls to providers under way, at most 64 per process and DSN.",
    ("channel",), multiprocess_mode="livesum",
)  # fmt: skip
PROVIDER_CALLS_WAITING = Gauge(
    "challenge_provider_calls_waiting", "Dispatches that wait for one of those.",
    ("channel",), multiprocess_mode="livesum",
)  # fmt: skip
PROVIDER_BREAKER_OPEN = Gauge(
    "challenge_provider_breaker_open",
    "1 while no call is made to the provider: it keeps failing, refuses us, or asked for a pause.",
    ("channel",), multiprocess_mode="livemax",
)  # fmt: skip
QUEUE_DISPATCHES = Gauge(
    "challenge_queue_dispatches",
    "Dispatches owed: `due`, or `waiting` for a provider's reply or a retry. Counted to 10,000.",
    ("state",), multiprocess_mode="livemostrecent",
)  # fmt: skip
QUEUE_OLDEST_DUE = Gauge(
    "challenge_queue_oldest_due_seconds", "How long the oldest that is due has been.",
    multiprocess_mode="livemostrecent",
)  # fmt: skip
DATABASE_STATEMENTS = Gauge(
    "challenge_database_statements", "Statements running, or waiting for a connection.",
    multiprocess_mode="livesum",
)  # fmt: skip
DATABASE_CONNECTIONS = Gauge(
    "challenge_database_connections", "The limit of connections.", multiprocess_mode="livesum"
)

# A series that begins at 1 shows no increase, so those that alerts wait for begin at 0.
for _quota in (
    "session", "issues", "sessions-hour", "account-hour", "wrong-day", "wrong-all-day",
    "sms-hour", "sms-day", "sms-all-hour", "sms-all-day",
    "email-hour", "email-day", "email-all-hour", "email-all-day",
):  # fmt: skip
    QUOTA_REFUSALS.labels(_quota)


def begin_dispatches(challenge_type: str, channels: Iterable[str]) -> None:
    """Has every series of DISPATCH_DURATION begin at 0, as those above do.

    Args:
        challenge_type: `sms` or `email`.
        channels: The names of its channels.
    """
    for channel in (NO_CHANNEL, *channels):
        for outcome in ("sent", "dead", "expired"):
            dispatch_duration(challenge_type, channel, outcome)


def begin_captchas(provider: str, verdicts: Iterable[str], codes: Mapping[str, str]) -> None:
    """Has every series that alerts may wait for begin at 0.

    Args:
        provider: A captcha's.
        verdicts: All that there are.
        codes: The provider's, each with its verdict.
    """
    for verdict in verdicts:
        CAPTCHA_DURATION.labels(provider, verdict)
    for code, verdict in codes.items():
        CAPTCHA_JUDGEMENTS.labels(provider, verdict, code)


# `labels` takes four times as long as these cached look-ups, which are on the hot path.


@cache
def call_duration(rpc: str, code: str) -> Histogram:
    """Finds the child of CALL_DURATION."""
    return CALL_DURATION.labels(rpc, code)


@cache
def dispatch_duration(challenge_type: str, channel: str, outcome: str) -> Histogram:
    """Finds the child of DISPATCH_DURATION."""
    return DISPATCH_DURATION.labels(challenge_type, channel, outcome)
