"""Rows as callers see them: the messages that both gRPC services answer with."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from govifi.challenge.v1 import challenge_pb2

from service.challenges.rules import has_sent_code, is_code, needs_challenge
from service.storage.rows import Attempt, SessionRow

_TYPES = dict(challenge_pb2.Challenge.Type.items())


def open_challenge(row: SessionRow) -> challenge_pb2.Challenge | None:
    """Builds the browser-safe Challenge; None where the session needs none."""
    return challenge_of(row) if needs_challenge(row) else None


def challenge_of(row: SessionRow) -> challenge_pb2.Challenge:
    """Builds the browser-safe Challenge of a session that has been issued one."""
    challenge_type = _TYPES[str(row.challenge_type)]
    if is_code(row):
        return challenge_pb2.Challenge(
            type=challenge_type, delivery_hint=row.delivery_hint, code_sent=has_sent_code(row)
        )
    return challenge_pb2.Challenge(type=challenge_type, site_key=row.site_key)


def attempt_of(attempt: Attempt) -> admin_pb2.Attempt:
    """Builds the message of a row of the ledger."""
    return admin_pb2.Attempt(
        challenge_id=attempt.challenge_id,
        dispatch_try=attempt.dispatch_try,
        channel=attempt.channel,
        provider_message_id=attempt.provider_message_id or "",
        outcome=admin_pb2.Attempt.Outcome.Value(f"OUTCOME_{attempt.outcome.upper()}"),
        reason=attempt.reason or "",
        start_time=timestamp(attempt.started_at),
        end_time=timestamp(attempt.ended_at),
    )


def timestamp(ms: int) -> Timestamp:
    """Builds a Timestamp of milliseconds since the Unix epoch."""
    return Timestamp(seconds=ms // 1000, nanos=ms % 1000 * 1_000_000)
