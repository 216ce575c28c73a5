"""Calls the challenge service's internal API: with a token, a deadline, retries, typed errors.

channel = grpc.insecure_channel("127.0.0.1:50052")
admin = connect(channel, token=mint)
admin.OpenSession(OpenSessionRequest(…))
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.rpc import error_details_pb2
from govifi.challenge.v1 import challenge_pb2, error_pb2
from govifi.challenge.v1.challenge_admin_pb2_grpc import ChallengeAdminServiceStub
from grpc_status import rpc_status

_FIRST_WAIT, _LONGEST_WAIT = 0.1, 2.0


class ChallengeError(Exception):
    """A call failed. Decide on `code` and `recoverable`; `message` is safe to show to the payer.

    Attributes:
        code: Name of an `Error.Code`, such as `challenge_failed`.
        message: One sentence.
        recoverable: Whether the payer can put it right in this session.
        request_id: What logs know the call by; empty where nobody answered.
        status: gRPC's.
        retry_after: Seconds to wait before trying again; None where that is not said.
        fields: What is wrong with each field of a malformed request.
        challenge: What the payer must satisfy first, if that is why.
        attempts_remaining: Answers that may still be tried; None where that is not said.
        reason: Tells errors of one code apart, such as `CODE_EXPIRED`; empty where it is not said.
        because: Why a challenge is required, such as `other_payment`; empty for other errors.
    """

    def __init__(self, refused: grpc.RpcError) -> None:
        error = error_pb2.Error(
            code=error_pb2.Error.network_error,
            message="The service cannot be reached.",
            recoverable=True,
        )
        self.status: grpc.StatusCode = refused.code()
        self.retry_after: float | None = None
        self.fields: Mapping[str, str] = {}
        self.challenge: challenge_pb2.Challenge | None = None
        self.attempts_remaining: int | None = None
        self.reason = self.because = ""
        for detail in _details(refused):
            match detail:
                case error_pb2.Error():
                    error = detail
                case challenge_pb2.Challenge():
                    self.challenge = detail
                case error_details_pb2.RetryInfo(retry_delay=delay):
                    self.retry_after = delay.seconds + delay.nanos / 1e9
                case error_details_pb2.BadRequest(field_violations=violations):
                    self.fields = {each.field: each.description for each in violations}
                case error_details_pb2.ErrorInfo(reason=reason, metadata=told):
                    self.reason, self.because = reason, told.get("because", "")
                    if "attempts_remaining" in told:
                        self.attempts_remaining = int(told["attempts_remaining"])
        self.code: str = error_pb2.Error.Code.Name(error.code)
        self.message: str = error.message
        self.recoverable: bool = error.recoverable
        self.request_id: str = error.request_id
        super().__init__(f"{self.status.name}, {self.code}: {self.message}")


def connect(
    channel: grpc.Channel,
    token: Callable[[], str],
    deadline: float = 10.0,
    sleep: Callable[[float], object] = time.sleep,
) -> ChallengeAdminServiceStub:
    """Makes the stub of a channel, whose calls raise ChallengeError.

    A call is repeated, within its deadline, where that helps and is safe: when the service is
    unavailable, if the rpc is idempotent or the request has a `request_id`; when a quota is spent,
    if the service says for how long. It waits in the calling thread.

    Args:
        channel: Where the service is.
        token: Mints a token. It is asked for the first call, and again when the service refuses
            the one that it gave: tokens expire, and keys change.
        deadline: Seconds that a call and its repeats may take, where the call names no `timeout`.
        sleep: Waits.
    """
    return ChallengeAdminServiceStub(
        grpc.intercept_channel(channel, _Caller(_Tokens(token), deadline, sleep))
    )


class _Tokens:
    def __init__(self, mint: Callable[[], str]) -> None:
        self._mint = mint
        self._lock = threading.Lock()
        self._token: str | None = None

    def current(self, refused: str | None) -> str:
        """Returns the token; a new one where there is none but the one that was refused."""
        with self._lock:
            if self._token is None or self._token == refused:
                self._token = self._mint()
            return self._token


class _Details(grpc.ClientCallDetails):
    def __init__(self, given: grpc.ClientCallDetails, timeout: float, token: str) -> None:
        self.method = given.method
        self.timeout = timeout
        self.metadata = (*(given.metadata or ()), ("authorization", f"Bearer {token}"))
        self.credentials = given.credentials
        self.wait_for_ready = given.wait_for_ready
        self.compression = given.compression


class _Caller(grpc.UnaryUnaryClientInterceptor):
    def __init__(self, tokens: _Tokens, deadline: float, sleep: Callable[[float], object]) -> None:
        self._tokens = tokens
        self._deadline = deadline
        self._sleep = sleep

    def intercept_unary_unary(
        self, continuation: Any, client_call_details: grpc.ClientCallDetails, request: Any
    ) -> Any:
        given = client_call_details
        seconds = self._deadline if given.timeout is None else given.timeout
        end = time.monotonic() + seconds
        safe = _may_repeat(given.method, request)
        refused, wait = None, _FIRST_WAIT
        while True:
            token = self._tokens.current(refused)
            call = continuation(_Details(given, max(0.0, end - time.monotonic()), token), request)
            if call.code() is grpc.StatusCode.OK:
                return call
            error = ChallengeError(call)
            if error.status is grpc.StatusCode.UNAUTHENTICATED and refused is None:
                refused = token
                continue
            pause = _pause(error, safe, wait)
            if pause is None or time.monotonic() + pause >= end:
                raise error
            wait = min(2 * wait, _LONGEST_WAIT)
            self._sleep(pause)


def _pause(error: ChallengeError, safe: bool, wait: float) -> float | None:
    """Returns seconds until the call may be repeated; None if that helps nothing or is not safe."""
    if error.status is grpc.StatusCode.RESOURCE_EXHAUSTED:  # nothing was carried out
        return error.retry_after
    if error.status is grpc.StatusCode.UNAVAILABLE and safe:
        return error.retry_after or random.uniform(wait / 2, wait)
    return None


def _may_repeat(method: str, request: Any) -> bool:
    """Whether a call may be sent again although it may have been carried out."""
    pool = descriptor_pool.Default()
    rpc = pool.FindMethodByName(method.removeprefix("/").replace("/", "."))
    return bool(rpc.GetOptions().idempotency_level or getattr(request, "request_id", ""))


def _details(refused: grpc.RpcError) -> Iterator[object]:
    status = rpc_status.from_call(refused)
    kinds = (
        error_pb2.Error,
        challenge_pb2.Challenge,
        error_details_pb2.RetryInfo,
        error_details_pb2.BadRequest,
        error_details_pb2.ErrorInfo,
    )
    for detail in status.details if status else ():
        for kind in kinds:
            if detail.Is(kind.DESCRIPTOR):
                yield kind.FromString(detail.value)
