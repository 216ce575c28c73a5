"""How a caller is told of an error: the trailing metadata of its call."""

from __future__ import annotations

import re
from collections.abc import Iterator

import orjson
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from govifi.challenge.v1 import error_pb2
from grpc_status import rpc_status

from service import errors
from service.api.error_table import Row, row_of
from service.api.metadata import REQUEST_ID, REST_BODY, REST_RETRY_AFTER, REST_STATUS
from service.api.replies import challenge_of

_DOMAIN = "challenge.govifi.com"
_WORD = re.compile(r"(?<!^)(?=[A-Z])")


def of(
    error: BaseException, request_id: str, *, rest: bool
) -> tuple[Row, tuple[tuple[str, str | bytes], ...]]:
    """Builds the trailing metadata that tells of `error`.

    Args:
        error: What went wrong.
        request_id: The call's.
        rest: Whether Envoy asks, which needs the REST reply beside the `google.rpc.Status`.

    Returns:
        The error's row, and the metadata.
    """
    row = row_of(error)
    metadata: list[tuple[str, str | bytes]] = [(REQUEST_ID, request_id)]
    if rest:
        metadata += _rest_reply(error, row, request_id)
    metadata += rpc_status.to_status(_status(error, row, request_id)).trailing_metadata
    return row, tuple(metadata)


def _rest_reply(
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
            details.append(challenge_of(error.session))
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
