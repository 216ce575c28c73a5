"""The rows of the contract's error table that the service makes, and how to get into each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest
from google.protobuf.duration_pb2 import Duration

from service.channels import Outcome, Result
from service.errors import StoreUnavailable
from service.storage.store import Store
from tests.harness.refusals import refused
from tests.harness.service import Service, Session
from tests.rest.edge import nobody

SHOP = "https://shop.example"
PHONE = "+14155550123"
ACCOUNT_SENDS = 6
LONG: dict[str, Any] = {"expires_in": Duration(seconds=86_400)}
"""A session that lives to see a quota's end."""
"""An hour, in the services that rows are tried on: more than any other row needs."""


class Call(NamedTuple):
    """A call to Send: REST headers and gRPC metadata are alike.

    Attributes:
        session_id: Whose code is to be sent.
        headers: Of REST, and metadata of gRPC.
    """

    session_id: str
    headers: dict[str, str]


class Row(NamedTuple):
    """A row of the table.

    Attributes:
        name: Of the row, as an id of tests.
        status: Of gRPC.
        http: Status of REST.
        code: Of the Error.
        recoverable: Of the Error.
        arrange: Brings a service into the situation; gives a call that meets it.
    """

    name: str
    status: str
    http: int
    code: str
    recoverable: bool
    arrange: Callable[[Service, pytest.MonkeyPatch], Awaitable[Call]]


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def of(session: Session) -> Call:
    return Call(session.session_id, bearer(session.secret))


def unauthorized(authorization: str | None) -> Callable[..., Awaitable[Call]]:
    async def arrange(service: Service, _: pytest.MonkeyPatch) -> Call:
        session = await service.challenged()
        headers = {} if authorization is None else {"authorization": authorization}
        return Call(session.session_id, headers)

    return arrange


def from_page(origin: str) -> Callable[..., Awaitable[Call]]:
    async def arrange(service: Service, _: pytest.MonkeyPatch) -> Call:
        session = await service.challenged(allowed_origins=[SHOP])
        return Call(session.session_id, {**bearer(session.secret), "origin": origin})

    return arrange


def failing(error: Exception) -> Callable[..., Awaitable[Call]]:
    async def arrange(service: Service, monkeypatch: pytest.MonkeyPatch) -> Call:
        session = await service.challenged()

        async def read(*_: Any) -> None:
            raise error

        monkeypatch.setattr(Store, "read", read)
        return of(session)

    return arrange


async def malformed_id(service: Service, _: pytest.MonkeyPatch) -> Call:
    session = await service.challenged()
    return Call("cs_not-an-id", bearer(session.secret))


async def long_id(service: Service, _: pytest.MonkeyPatch) -> Call:
    session = await service.challenged()
    return Call("cs_" + "a" * 126, bearer(session.secret))


async def wallet(service: Service, _: pytest.MonkeyPatch) -> Call:
    return of(await service.challenged(scope="SCOPE_WALLET"))


async def unknown_session(_: Service, __: pytest.MonkeyPatch) -> Call:
    return of(nobody())


async def credential_of_another(service: Service, _: pytest.MonkeyPatch) -> Call:
    session, other = await service.challenged(), await service.challenged()
    return Call(session.session_id, bearer(other.secret))


async def completed(service: Service, _: pytest.MonkeyPatch) -> Call:
    session = await service.challenged()
    await service.close(session, "COMPLETED")
    return of(session)


async def past_its_time(service: Service, _: pytest.MonkeyPatch) -> Call:
    session = await service.challenged(expires_in=Duration(seconds=60))
    await service.clock.advance(61)
    return of(session)


async def given_up(service: Service, _: pytest.MonkeyPatch) -> Call:
    session = await service.challenged()
    await service.close(session, "EXPIRED")
    return of(session)


async def locked(service: Service, _: pytest.MonkeyPatch) -> Call:
    session = await service.challenged()
    await service.send(session)
    for _ in range(5):
        await refused(service.verify(session, service.provider.wrong()))
    return of(session)


async def session_quota(service: Service, _: pytest.MonkeyPatch) -> Call:
    session = await service.challenged()
    for _ in range(5):
        await service.send(session)
        await service.clock.advance(31)
    return of(session)


async def destination_quota(service: Service, _: pytest.MonkeyPatch) -> Call:
    for _ in range(5):
        await service.send(await service.challenged(PHONE))
    return of(await service.challenged(PHONE, **LONG))


async def account_quota(service: Service, _: pytest.MonkeyPatch) -> Call:
    for digit in range(ACCOUNT_SENDS):
        await service.send(await service.challenged(f"+1415555013{digit}"))
    return of(await service.challenged("+14155550140", **LONG))


async def destination_refused(service: Service, _: pytest.MonkeyPatch) -> Call:
    service.provider.results = [Result(Outcome.UNDELIVERABLE, reason="unroutable")]
    return of(await service.challenged())


BAD, AUTH, DENIED = "INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED"
GONE, STATE, SPENT = "NOT_FOUND", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED"

ROWS = [
    Row("malformed-session-id", BAD, 422, "validation_error", False, malformed_id),
    Row("malformed-session-id-too-long", BAD, 422, "validation_error", False, long_id),
    Row("no-bearer", AUTH, 401, "insufficient_scope", False, unauthorized(None)),
    Row("no-bearer-basic", AUTH, 401, "insufficient_scope", False, unauthorized("Basic YTpi")),
    Row("bearer-not-a-session-credential", AUTH, 401, "insufficient_scope", False,
        unauthorized("Bearer something-else")),
    Row("scope-wallet", DENIED, 403, "insufficient_scope", False, wallet),
    Row("origin-not-allowlisted", DENIED, 403, "origin_not_allowed", False,
        from_page("https://evil.example")),
    Row("origin-null", DENIED, 403, "origin_not_allowed", False, from_page("null")),
    Row("unknown-session", GONE, 404, "session_expired", False, unknown_session),
    Row("credential-of-another-session", GONE, 404, "session_expired", False,
        credential_of_another),
    Row("session-completed", STATE, 409, "already_confirmed", False, completed),
    Row("session-past-its-time", STATE, 410, "session_expired", False, past_its_time),
    Row("session-expired-by-its-owner", STATE, 410, "session_expired", False, given_up),
    Row("challenge-locked", STATE, 403, "challenge_failed", False, locked),
    Row("quota-per-session", SPENT, 429, "rate_limited", True, session_quota),
    Row("quota-per-destination", SPENT, 429, "rate_limited", True, destination_quota),
    Row("quota-per-account", SPENT, 429, "rate_limited", True, account_quota),
    Row("destination-refused", STATE, 400, "processing_error", False, destination_refused),
    Row("database-unreachable", "UNAVAILABLE", 503, "network_error", True,
        failing(StoreUnavailable("down"))),
    Row("bug", "INTERNAL", 500, "processing_error", True, failing(RuntimeError("a bug"))),
]  # fmt: skip
