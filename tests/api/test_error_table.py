"""The error table: total in both directions, and true to the contract."""

from __future__ import annotations

import json
import re

import pytest
from google.protobuf.any_pb2 import Any
from google.rpc import error_details_pb2, status_pb2
from govifi.challenge.v1 import error_pb2

from service import errors
from service.api import error_table, trailers
from tests.harness.refusals import CODES

CONTRACT = """
INVALID_ARGUMENT    | 422 | validation_error   | false | InvalidRequest
UNAUTHENTICATED     | 401 | insufficient_scope | false | MissingCredential
PERMISSION_DENIED   | 403 | insufficient_scope | false | InsufficientScope
PERMISSION_DENIED   | 403 | origin_not_allowed | false | OriginNotAllowed
NOT_FOUND           | 404 | session_expired    | false | SessionNotFound
FAILED_PRECONDITION | 409 | already_confirmed  | false | SessionCompleted
FAILED_PRECONDITION | 410 | session_expired    | false | SessionExpired
FAILED_PRECONDITION | 403 | challenge_failed   | false | ChallengeLocked
RESOURCE_EXHAUSTED  | 429 | rate_limited       | true  | RateLimited
RESOURCE_EXHAUSTED  | 429 | rate_limited       | true  | SendsSpent
RESOURCE_EXHAUSTED  | 429 | rate_limited       | false | QuotaOutlastsSession
FAILED_PRECONDITION | 400 | processing_error   | false | DestinationRefused
UNAVAILABLE         | 503 | network_error      | true  | StoreUnavailable
DEADLINE_EXCEEDED   | 504 | network_error      | true  | DeadlinePassed
"""
"""The table of the contract's section 1: gRPC status, HTTP, code, recoverable, and our error."""
INTERNAL_API = """
INVALID_ARGUMENT    | 422 | validation_error   | false | UnreadableRequest
RESOURCE_EXHAUSTED  | 413 | validation_error   | false | RequestTooLarge
UNIMPLEMENTED       | 404 | validation_error   | false | UnknownRpc
UNAUTHENTICATED     | 401 | insufficient_scope | false | TokenInvalid
PERMISSION_DENIED   | 403 | insufficient_scope | false | TokenScopeMissing
ALREADY_EXISTS      | 409 | validation_error   | false | SessionConflict
FAILED_PRECONDITION | 403 | challenge_required | true  | ChallengeRequired
FAILED_PRECONDITION | 403 | challenge_required | true  | NoFallback
INVALID_ARGUMENT    | 422 | validation_error   | true  | MalformedResponse
FAILED_PRECONDITION | 400 | challenge_failed   | true  | CaptchaRefused
FAILED_PRECONDITION | 400 | challenge_failed   | true  | CaptchaExpired
UNAVAILABLE         | 503 | network_error      | true  | CaptchaUnavailable
FAILED_PRECONDITION | 400 | challenge_failed   | true  | WrongAnswer
FAILED_PRECONDITION | 400 | challenge_failed   | true  | CodeExpired
FAILED_PRECONDITION | 400 | challenge_failed   | true  | CodeReplaced
DATA_LOSS           | 500 | processing_error   | false | EvidenceBroken
"""
"""What the comments of challenge_admin.proto promise beyond it."""
ARGUMENTS = {
    errors.InvalidRequest: ("session_id", "is malformed"),
    errors.WrongAnswer: (3,),
    errors.CaptchaRefused: (3,),
    errors.MalformedResponse: ("code", "is not one"),
    errors.RateLimited: ("session", 42_000),
    errors.SendsSpent: ("session", 42_000),
    errors.QuotaOutlastsSession: ("session",),
    errors.ChallengeRequired: (errors.Because.NO_RESPONSE,),
    errors.NoFallback: (errors.Because.NO_FALLBACK,),
    errors.EvidenceBroken: ("event 3 is missing",),
}
"""What those errors need that need anything."""


def rows(table: str) -> list[tuple[str, int, str, bool, str]]:
    found = []
    for line in table.strip().splitlines():
        status, http, code, recoverable, name = (cell.strip() for cell in line.split("|"))
        found.append((status, int(http), code, recoverable == "true", name))
    return found


def every_error() -> list[type[errors.ChallengeError]]:
    found, todo = [], [errors.ChallengeError]
    while todo:
        subclasses = todo.pop().__subclasses__()
        found += subclasses
        todo += subclasses
    return found


def told(error: BaseException) -> tuple[dict[str, str | bytes], status_pb2.Status]:
    """Returns the metadata of an error for REST, and the status, which is all that gRPC gets."""
    _, rest = trailers.of(error, "req-1", rest=True)
    _, native = trailers.of(error, "req-1", rest=False)
    assert [key for key, _ in native] == ["x-request-id", "grpc-status-details-bin"]
    assert set(native) <= set(rest)
    return dict(rest), status_pb2.Status.FromString(dict(native)["grpc-status-details-bin"])  # type: ignore[arg-type]


def an(kind: type[errors.ChallengeError]) -> errors.ChallengeError:
    return kind(*ARGUMENTS.get(kind, ()))


@pytest.mark.parametrize(
    ("status", "http", "code", "recoverable", "name"), rows(CONTRACT) + rows(INTERNAL_API)
)
def test_a_row_of_the_contract_is_met(
    status: str, http: int, code: str, recoverable: bool, name: str
) -> None:
    row = error_table.TABLE[getattr(errors, name)]
    assert (row.status.name, row.http, row.code, row.recoverable) == (
        status, http, code, recoverable,
    )  # fmt: skip


def test_every_error_has_a_row_and_every_row_an_error() -> None:
    assert set(error_table.TABLE) == set(every_error())


def test_every_row_stands_in_the_contract() -> None:
    listed = {getattr(errors, row[-1]) for row in rows(CONTRACT) + rows(INTERNAL_API)}
    assert set(error_table.TABLE) == listed


@pytest.mark.parametrize("error", [RuntimeError("secret"), KeyError("x"), errors.ChallengeError()])
def test_anything_else_is_a_bug(error: Exception) -> None:
    row = error_table.row_of(error)
    assert (row.status.name, row.http, row.code, row.recoverable) == (
        "INTERNAL", 500, "processing_error", True,
    )  # fmt: skip


def test_the_codes_are_the_public_api_s() -> None:
    assert set(error_pb2.Error.Code.keys()) == CODES | {"CODE_UNSPECIFIED"}
    assert {row.code for row in error_table.TABLE.values()} <= CODES


@pytest.mark.parametrize(
    "row", [*error_table.TABLE.values(), error_table.BUG], ids=lambda row: row.message
)
def test_a_message_is_a_sentence_in_ascii(row: error_table.Row) -> None:
    assert row.message.isascii()
    assert row.message[0].isupper()
    assert row.message.endswith(".")
    assert '"' not in row.message


@pytest.mark.parametrize("kind", error_table.TABLE, ids=lambda kind: kind.__name__)
def test_grpc_and_rest_are_told_the_same(kind: type[errors.ChallengeError]) -> None:
    trailing, status = told(an(kind))
    error = error_pb2.Error()
    assert status.details[0].Unpack(error)
    body = json.loads(trailing["x-rest-body"])
    row = error_table.TABLE[kind]
    assert body == {
        "code": row.code, "message": row.message, "recoverable": row.recoverable,
        "request_id": "req-1",
    }  # fmt: skip
    assert body["code"] == error_pb2.Error.Code.Name(error.code)
    assert (error.message, error.recoverable, error.request_id) == (
        body["message"], body["recoverable"], body["request_id"],
    )  # fmt: skip
    assert trailing["x-rest-status"] == str(row.http)
    assert trailing["x-request-id"] == "req-1"
    assert (status.code, status.message) == (row.status.value[0], row.message)


def test_a_malformed_field_is_named_beside_the_error() -> None:
    violation = unpacked(errors.InvalidRequest("a.b", "is bad"), error_details_pb2.BadRequest())
    assert [(v.field, v.description) for v in violation.field_violations] == [("a.b", "is bad")]


def test_a_spent_quota_says_when_to_try_again() -> None:
    error = errors.RateLimited("session", 42_000)
    assert unpacked(error, error_details_pb2.RetryInfo()).retry_delay.seconds == 42
    assert told(error)[0]["retry-after"] == "42"


@pytest.mark.parametrize("ms", [0, 1, -5])
def test_to_try_again_at_once_is_never_the_advice(ms: int) -> None:
    assert told(errors.RateLimited("session", ms))[0]["retry-after"] == "1"


def test_a_wrong_answer_says_how_many_remain() -> None:
    info = unpacked(errors.WrongAnswer(3), error_details_pb2.ErrorInfo())
    assert (info.reason, dict(info.metadata)) == ("WRONG_ANSWER", {"attempts_remaining": "3"})


@pytest.mark.parametrize("kind", error_table.TABLE, ids=lambda kind: kind.__name__)
def test_each_error_has_a_reason_for_machines(kind: type[errors.ChallengeError]) -> None:
    info = unpacked(an(kind), error_details_pb2.ErrorInfo())
    assert info.reason.replace("_", "").lower() == kind.__name__.lower()
    assert re.fullmatch(r"[A-Z][A-Z_]+[A-Z]", info.reason), "AIP-193"
    assert info.domain == "challenge.govifi.com"


def test_why_a_challenge_is_required_is_said() -> None:
    info = unpacked(
        errors.ChallengeRequired(errors.Because.OTHER_PAYMENT), error_details_pb2.ErrorInfo()
    )
    assert dict(info.metadata) == {"because": "other_payment"}


def test_a_bug_has_one_too() -> None:
    assert unpacked(KeyError("x"), error_details_pb2.ErrorInfo()).reason == "BUG"


def unpacked(error: BaseException, into: Any) -> Any:
    assert any(detail.Unpack(into) for detail in told(error)[1].details)
    return into
