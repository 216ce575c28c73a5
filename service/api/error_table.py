"""Domain error → gRPC status, HTTP status, code and text: the only place that knows.

The table restates the public contract. A test holds that it is total: every error has a row, every
row an error, and every row of the contract is met.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import orjson
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from govifi.challenge.v1 import error_pb2
from grpc import StatusCode
from grpc_status import rpc_status

from service import errors
from service.api.replies import shown

_DOMAIN = "challenge.govifi.com"
_WORD = re.compile(r"(?<!^)(?=[A-Z])")
REST_BODY = "x-rest-body"
"""Metadata that carries the JSON which Envoy puts in place of the body."""
REST_STATUS = "x-rest-status"
"""Metadata that carries the HTTP status which Envoy puts in place of the transcoder's."""
REST_RETRY_AFTER = "retry-after"
"""Metadata that carries whole seconds; Envoy passes it on as the header of that name."""
REST_PATH = "x-envoy-original-path"
"""Metadata that Envoy adds to what it makes of a REST request; native gRPC calls lack it."""
REQUEST_ID = "x-request-id"
"""Metadata that carries the id of the request, both ways."""


class Row(NamedTuple):
    """What callers see of one error.

    Attributes:
        status: gRPC status.
        http: HTTP status of the REST answer.
        code: Name of an Error.Code.
        recoverable: Whether the payer can put it right in this session.
        message: Safe to show; says what to do next.
    """

    status: StatusCode
    http: int
    code: str
    recoverable: bool
    message: str


_NEW_SESSION = "This payment session is not available. Ask the merchant for a new one."

TABLE: dict[type[errors.ChallengeError], Row] = {
    errors.InvalidRequest: Row(
        StatusCode.INVALID_ARGUMENT, 422, "validation_error", False, "The request is malformed."
    ),
    errors.UnreadableRequest: Row(
        StatusCode.INVALID_ARGUMENT, 422, "validation_error", False, "The request is malformed."
    ),
    errors.RequestTooLarge: Row(
        StatusCode.RESOURCE_EXHAUSTED, 413, "validation_error", False, "The request is too large."
    ),
    errors.UnknownRpc: Row(
        StatusCode.UNIMPLEMENTED, 404, "validation_error", False, "There is no such method."
    ),
    errors.MissingCredential: Row(
        StatusCode.UNAUTHENTICATED, 401, "insufficient_scope", False,
        "Authorize with the session's credential.",
    ),
    errors.InsufficientScope: Row(
        StatusCode.PERMISSION_DENIED, 403, "insufficient_scope", False,
        "This credential does not cover challenges. Use the payment session's own.",
    ),
    errors.OriginNotAllowed: Row(
        StatusCode.PERMISSION_DENIED, 403, "origin_not_allowed", False,
        "This page may not use the session. Ask the merchant to allow its origin.",
    ),
    errors.SessionNotFound: Row(
        StatusCode.NOT_FOUND, 404, "session_expired", False, _NEW_SESSION
    ),
    errors.SessionCompleted: Row(
        StatusCode.FAILED_PRECONDITION, 409, "already_confirmed", False,
        "This payment is already complete.",
    ),
    errors.SessionExpired: Row(
        StatusCode.FAILED_PRECONDITION, 410, "session_expired", False,
        "This payment session has expired. Ask the merchant for a new one.",
    ),
    errors.SessionConflict: Row(
        StatusCode.ALREADY_EXISTS, 409, "validation_error", False,
        "This session id is taken with other values. Choose another.",
    ),
    errors.ChallengeLocked: Row(
        StatusCode.FAILED_PRECONDITION, 403, "challenge_failed", False,
        "Too many wrong codes. Ask the merchant for a new session.",
    ),
    errors.ChallengeRequired: Row(
        StatusCode.FAILED_PRECONDITION, 403, "challenge_required", True,
        "Please complete the challenge first.",
    ),
    errors.NoFallback: Row(
        StatusCode.FAILED_PRECONDITION, 403, "challenge_required", True,
        "There is no other way now. Please complete the challenge.",
    ),
    errors.MalformedResponse: Row(
        StatusCode.INVALID_ARGUMENT, 422, "validation_error", True,
        "That is not a code. Check it and try again.",
    ),
    errors.WrongAnswer: Row(
        StatusCode.FAILED_PRECONDITION, 400, "challenge_failed", True,
        "That code is not right. Check it and try again.",
    ),
    errors.CodeExpired: Row(
        StatusCode.FAILED_PRECONDITION, 400, "challenge_failed", True,
        "That code is no longer valid. Request a new one.",
    ),
    errors.CodeReplaced: Row(
        StatusCode.FAILED_PRECONDITION, 400, "challenge_failed", True,
        "A newer code is on its way. Use that one.",
    ),
    errors.QuotaOutlastsSession: Row(
        StatusCode.RESOURCE_EXHAUSTED, 429, "rate_limited", False,
        "Too many requests. Ask the merchant for a new session.",
    ),
    errors.RateLimited: Row(
        StatusCode.RESOURCE_EXHAUSTED, 429, "rate_limited", True,
        "Too many requests. Please wait, then try again.",
    ),
    errors.DestinationRefused: Row(
        StatusCode.FAILED_PRECONDITION, 400, "processing_error", False,
        "The code cannot be delivered there. Ask the merchant for another way.",
    ),
    errors.CaptchaRefused: Row(
        StatusCode.FAILED_PRECONDITION, 400, "challenge_failed", True,
        "The check was not passed. Please try again.",
    ),
    errors.CaptchaExpired: Row(
        StatusCode.FAILED_PRECONDITION, 400, "challenge_failed", True,
        "The check has expired. Please try again.",
    ),
    errors.CaptchaUnavailable: Row(
        StatusCode.UNAVAILABLE, 503, "network_error", True,
        "The check cannot be made now. Please try again in a moment.",
    ),
    errors.TokenInvalid: Row(
        StatusCode.UNAUTHENTICATED, 401, "insufficient_scope", False,
        "Authorize with a valid token.",
    ),
    errors.TokenScopeMissing: Row(
        StatusCode.PERMISSION_DENIED, 403, "insufficient_scope", False,
        "The token lacks the scope for this call.",
    ),
    errors.StoreUnavailable: Row(
        StatusCode.UNAVAILABLE, 503, "network_error", True, "Please try again in a moment."
    ),
    errors.EvidenceBroken: Row(
        StatusCode.DATA_LOSS, 500, "processing_error", False,
        "The evidence of this session was changed after it was written.",
    ),
    errors.DeadlinePassed: Row(
        StatusCode.DEADLINE_EXCEEDED, 504, "network_error", True,
        "This took too long. Please try again.",
    ),
}  # fmt: skip

BUG = Row(
    StatusCode.INTERNAL, 500, "processing_error", True,
    "Something went wrong on our side. Please try again.",
)  # fmt: skip
"""What callers see of anything that is not a ChallengeError."""


def row_of(error: BaseException) -> Row:
    """Finds what callers see of `error`."""
    return TABLE.get(type(error), BUG) if isinstance(error, errors.ChallengeError) else BUG


def is_rest(metadata: Iterable[tuple[str, str | bytes]]) -> bool:
    """Whether Envoy has made this call of a REST request."""
    return any(key == REST_PATH for key, _ in metadata)


def trailers(
    error: BaseException, request_id: str, *, rest: bool
) -> tuple[Row, tuple[tuple[str, str | bytes], ...]]:
    """Builds the trailing metadata that tells of `error`.

    Args:
        error: What went wrong.
        request_id: The call's.
        rest: Whether Envoy asks, which needs the REST answer beside the `google.rpc.Status`.

    Returns:
        The error's row, and the metadata.
    """
    row = row_of(error)
    metadata: list[tuple[str, str | bytes]] = [(REQUEST_ID, request_id)]
    if rest:
        metadata += _rest_answer(error, row, request_id)
    metadata += rpc_status.to_status(_status(error, row, request_id)).trailing_metadata
    return row, tuple(metadata)


def _rest_answer(
    error: BaseException, row: Row, request_id: str
) -> Iterator[tuple[str, str | bytes]]:
    body = {
        "code": row.code,
        "message": row.message,
        "recoverable": row.recoverable,
        "request_id": request_id,
    }
    yield REST_STATUS, str(row.http)
    yield REST_BODY, orjson.dumps(body).decode()
    if isinstance(error, errors.RateLimited):
        yield REST_RETRY_AFTER, str(error.retry_after)


def _status(error: BaseException, row: Row, request_id: str) -> status_pb2.Status:
    """Builds the `google.rpc.Status`; by AIP-193 each has an ErrorInfo among its details."""
    details: list[Message] = [
        error_pb2.Error(
            code=error_pb2.Error.Code.Value(row.code),
            message=row.message,
            recoverable=row.recoverable,
            request_id=request_id,
        ),
        error_details_pb2.ErrorInfo(
            reason=reason_of(error), domain=_DOMAIN, metadata=_particulars(error)
        ),
    ]
    match error:
        case errors.InvalidRequest():
            details.append(
                error_details_pb2.BadRequest(
                    field_violations=[
                        error_details_pb2.BadRequest.FieldViolation(
                            field=field, description=problem
                        )
                        for field, problem in error.violations
                    ]
                )
            )
        case errors.RateLimited():
            delay = duration_pb2.Duration(seconds=error.retry_after)
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        case errors.ChallengeRequired() if error.session and error.session.challenge_type:
            details.append(shown(error.session))
    code: int = row.status.value[0]
    return status_pb2.Status(code=code, message=row.message, details=map(_packed, details))


def reason_of(error: BaseException) -> str:
    """Names an error as ErrorInfo does: `CODE_EXPIRED` for CodeExpired, `BUG` for any other."""
    name = type(error).__name__ if isinstance(error, errors.ChallengeError) else "Bug"
    return _WORD.sub("_", name).upper()


def _particulars(error: BaseException) -> dict[str, str]:
    if isinstance(error, errors.WrongAnswer | errors.CaptchaRefused):
        return {"attempts_remaining": str(error.answers_left)}
    if isinstance(error, errors.ChallengeRequired):
        return {"because": error.because}
    if isinstance(error, errors.EvidenceBroken):
        return {"problem": error.problem}
    return {}


def _packed(detail: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed
