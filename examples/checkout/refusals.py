"""Refusals, the service's and the shop's own, in one form."""

from __future__ import annotations

import uuid
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2
from govifi.challenge.v1 import challenge_pb2, error_pb2
from grpc_status import rpc_status

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
    def by_service(cls, error: Any) -> Refused:
        """Passes on what the service says in the details of its status."""
        told, info = error_pb2.Error(), error_details_pb2.ErrorInfo()
        challenge = challenge_pb2.Challenge()
        status = rpc_status.from_call(error)
        for detail in status.details if status else ():
            for known in (told, info, challenge):
                detail.Unpack(known)
        if not told.code:  # not the service's own words: it cannot be reached
            text = "Please try again in a moment."
            return cls.because(503, "network_error", text, recoverable=True)
        body: dict[str, Any] = {
            "code": error_pb2.Error.Code.Name(told.code),
            "message": told.message,
            "recoverable": told.recoverable,
            "request_id": told.request_id,
        }
        if "attempts_remaining" in info.metadata:
            body["attempts_remaining"] = int(info.metadata["attempts_remaining"])
        if challenge.type:
            body["challenge"] = as_json(challenge)
        return cls(_HTTP.get(error.code(), 502), body)


def as_json(challenge: challenge_pb2.Challenge) -> dict[str, Any]:
    """Writes a challenge as the REST API does."""
    written: dict[str, Any] = MessageToDict(challenge, preserving_proto_field_name=True)
    return written
