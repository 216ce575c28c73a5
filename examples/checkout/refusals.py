"""Refusals, the service's and the shop's own, in one form."""

from __future__ import annotations

import uuid
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from govifi.challenge.client import ChallengeError
from govifi.challenge.v1 import challenge_pb2

_HTTP = {
    grpc.StatusCode.INVALID_ARGUMENT: 422,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


class Refused(Exception):
    """What the page asked for is refused.

    Attributes:
        status: HTTP status of the answer.
        body: The Error object. Where the service tells them, `attempts_remaining` and the
            `challenge` that is to be met; after a payment that may go on, its `outcome`.
    """

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(body["code"])
        self.status = status
        self.body = body

    @classmethod
    def because(cls, status: int, code: str, message: str, *, recoverable: bool) -> Refused:
        """Makes a refusal of the shop's own, in the form of the service's."""
        body = {"code": code, "message": message, "recoverable": recoverable}
        return cls(status, {**body, "request_id": uuid.uuid4().hex})

    @classmethod
    def by_service(cls, error: ChallengeError) -> Refused:
        """Passes on what the service says."""
        body: dict[str, Any] = {
            "code": error.code,
            "message": error.message,
            "recoverable": error.recoverable,
            "request_id": error.request_id or uuid.uuid4().hex,  # it may not have been reached
        }
        if error.attempts_remaining is not None:
            body["attempts_remaining"] = error.attempts_remaining
        if error.challenge is not None:
            body["challenge"] = as_json(error.challenge)
        return cls(_HTTP.get(error.status, 502), body)


def as_json(challenge: challenge_pb2.Challenge) -> dict[str, Any]:
    """Writes a challenge as the REST API does."""
    written: dict[str, Any] = MessageToDict(challenge, preserving_proto_field_name=True)
    return written
