"""What internal callers without a token may do to a listener."""

from __future__ import annotations

from typing import NamedTuple

OPEN = "/govifi.challenge.v1.ChallengeAdminService/OpenSession"
HEALTH = "/grpc.health.v1.Health/Check"
GRPC = {"content-type": "application/grpc", "te": "trailers"}


class Flood(NamedTuple):
    """A kind of calls.

    Attributes:
        path: The rpc.
        body: Of each call, or what of it ever comes.
        ends: Whether calls are ended, or left open.
    """

    path: str
    body: bytes | None
    ends: bool


FLOODS = {
    "half-open": Flood(OPEN, None, ends=False),
    "half-open-health": Flood(HEALTH, None, ends=False),
    "half-a-message": Flood(OPEN, b"\0\0\0", ends=False),
    "no-message": Flood(OPEN, None, ends=True),
    "no-message-health": Flood(HEALTH, None, ends=True),
    "no-token": Flood(OPEN, b"\0\0\0\0\0", ends=True),
    "health": Flood(HEALTH, b"\0\0\0\0\0", ends=True),
}
