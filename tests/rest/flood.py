"""What internal callers without a token may do to a listener."""

from __future__ import annotations

from typing import NamedTuple

OPEN = "/govifi.challenge.v1.ChallengeAdminService/OpenSession"
HEALTH = "/grpc.health.v1.Health/Check"
CONNECTIONS, STREAMS = 60, 32
"""What the listener lets them have at once."""
GRPC = {"content-type": "application/grpc", "te": "trailers"}


class Flood(NamedTuple):
    """A kind of calls.

    Attributes:
        path: The rpc.
        body: Of each call, or what of it ever comes.
        ends: Whether calls are ended, or left open.
        headers: Beside those of every gRPC call.
    """

    path: str
    body: bytes | None
    ends: bool
    headers: tuple[tuple[str, str], ...] = ()


_NO_TOKEN = (("authorization", "Bearer eyJhbGciOiJFUzI1NiIsImtpZCI6ImsxIn0.e30.AAAA"),)
FLOODS = {
    "half-open": Flood(OPEN, None, ends=False),
    "half-open-health": Flood(HEALTH, None, ends=False),
    "half-a-message": Flood(OPEN, b"\0\0\0", ends=False),
    "no-message": Flood(OPEN, None, ends=True),
    "no-message-health": Flood(HEALTH, None, ends=True),
    "no-token": Flood(OPEN, b"\0\0\0\0\0", ends=True),
    "bad-token": Flood(OPEN, b"\0\0\0\0\0", ends=True, headers=_NO_TOKEN),
    "health": Flood(HEALTH, b"\0\0\0\0\0", ends=True),
}
