"""A call that is refused, all that its caller is told, and the codes that there are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from govifi.challenge.v1 import challenge_pb2, error_pb2
from grpc_status import rpc_status

CODES = {
    "card_declined", "expired_card", "incorrect_cvc", "insufficient_funds", "processing_error",
    "network_error", "session_expired", "validation_error", "origin_not_allowed", "rate_limited",
    "challenge_required", "challenge_failed", "duplicate_payment", "already_confirmed",
    "insufficient_scope",
}  # fmt: skip
"""The closed set of the public API."""


class Refusal:
    """What the caller of a refused call sees."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        status: Any = rpc_status.from_call(error)
        assert status is not None, f"no google.rpc.Status: {error}"
        self._details = status.details
        self.status = error.code().name
        self.text = error.details()
        self.trailing = dict(error.trailing_metadata())
        self.error = self._detail(error_pb2.Error)
        self.code = error_pb2.Error.Code.Name(self.error.code)
        self.recoverable = self.error.recoverable
        self.request_id = self.error.request_id

    @property
    def http(self) -> int:
        """What Envoy is told to answer; a native caller is not told."""
        return int(self.trailing["x-rest-status"])

    @property
    def body(self) -> Any:
        """The JSON that Envoy is told to answer; a native caller is not told."""
        return json.loads(self.trailing["x-rest-body"])

    @property
    def brief(self) -> tuple[str, int, str, bool]:
        """What the contract's error table says of it."""
        return self.status, self.http, self.code, self.recoverable

    @property
    def retry_after(self) -> int:
        """Seconds that RetryInfo asks for."""
        return int(self._detail(error_details_pb2.RetryInfo).retry_delay.seconds)

    @property
    def waits(self) -> bool:
        """Whether it says, in any way, that waiting helps."""
        infos = [detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in self._details]
        return any(infos) or "retry-after" in self.trailing

    @property
    def fields(self) -> list[str]:
        """Fields that BadRequest names."""
        return [field for field, _ in self.violations]

    @property
    def violations(self) -> list[tuple[str, str]]:
        """Fields that BadRequest names, and what is wrong with each."""
        found = self._detail(error_details_pb2.BadRequest).field_violations
        return [(violation.field, violation.description) for violation in found]

    @property
    def kinds(self) -> list[str]:
        """The messages among the details."""
        return [detail.TypeName().rpartition(".")[2] for detail in self._details]

    @property
    def challenge(self) -> Any:
        """The Challenge that is required."""
        return self._detail(challenge_pb2.Challenge)

    @property
    def attempts_remaining(self) -> int:
        """Answers that may still be tried."""
        return int(self._detail(error_details_pb2.ErrorInfo).metadata["attempts_remaining"])

    @property
    def because(self) -> str:
        """Why a challenge is required."""
        return str(self._detail(error_details_pb2.ErrorInfo).metadata["because"])

    @property
    def seen(self) -> object:
        """All that the caller sees, but for the request's id."""
        trailing = {
            key: value.replace(self.request_id, "*") if isinstance(value, str) else None
            for key, value in self.trailing.items()
        }
        details = [detail.value.replace(self.request_id.encode(), b"*") for detail in self._details]
        return self.status, self.text, trailing, details

    def _detail(self, kind: Any) -> Any:
        found = [detail for detail in self._details if detail.Is(kind.DESCRIPTOR)]
        assert len(found) == 1, f"{len(found)} of {kind.__name__}"
        message = kind()
        found[0].Unpack(message)
        return message


async def refused(call: Awaitable[Any]) -> Refusal:
    """Makes a call that must be refused, before long."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        async with asyncio.timeout(15):
            await call
    return Refusal(raised.value)
