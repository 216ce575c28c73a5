"""Domain error → gRPC status, HTTP status, code and text: the only place that knows.

The table restates the public contract. A test holds that it is total: every error has a row, every
row an error, and every row of the contract is met.
"""

from __future__ import annotations

from typing import NamedTuple

from grpc import StatusCode

from service import errors


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
        "Too many requests. Ask the merchant for another way, or for a new session later.",
    ),
    errors.RateLimited: Row(
        StatusCode.RESOURCE_EXHAUSTED, 429, "rate_limited", True,
        "Too many requests. Please wait, then try again.",
    ),
    errors.SendsSpent: Row(
        StatusCode.RESOURCE_EXHAUSTED, 429, "rate_limited", True,
        "Too many codes were requested. Please use the last one.",
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
