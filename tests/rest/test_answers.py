"""200: a Challenge, or null."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2

from service.channels import Outcome, Result
from tests.harness.service import Service, Session
from tests.rest.edge import Edge, answer_on, path_of

Arrange = Callable[[Service], Awaitable[Session]]
PHONE = admin_pb2.Sms(phone_number="+14155550123")
MAILBOX = admin_pb2.Email(address="jane@example.com")
CAPTCHA = admin_pb2.Captcha(site_key='key-"\\<e>')


def issued(**method: admin_pb2.Sms | admin_pb2.Email | admin_pb2.Captcha) -> Arrange:
    async def arrange(service: Service) -> Session:
        session = await service.open()
        await service.issue(session, **method)
        return session

    return arrange


def undelivered(**method: admin_pb2.Sms | admin_pb2.Email) -> Arrange:
    async def arrange(service: Service) -> Session:
        service.provider.results = [Result(Outcome.RETRY)] * 5
        return await issued(**method)(service)

    return arrange


async def none_issued(service: Service) -> Session:
    return await service.open()


async def satisfied(service: Service) -> Session:
    session = await service.challenged()
    await service.send(session)
    await service.verify(session, service.provider.code())
    return session


async def waived(service: Service) -> Session:
    session = await service.challenged()
    await service.waive(session)
    return session


@pytest.mark.parametrize(
    ("arrange", "text"),
    [
        pytest.param(
            issued(hcaptcha=CAPTCHA),
            rb'{"type":"hcaptcha","site_key":"key-\"\\\u003ce\u003e"}',
            id="hcaptcha",
        ),
        pytest.param(
            issued(turnstile=admin_pb2.Captcha(site_key="0x4AAA")),
            b'{"type":"turnstile","site_key":"0x4AAA"}',
            id="turnstile",
        ),
        pytest.param(
            issued(sms=PHONE),
            b'{"type":"sms","delivery_hint":"--0123","code_sent":true}',
            id="sms",
        ),
        pytest.param(
            issued(email=MAILBOX),
            b'{"type":"email","delivery_hint":"j--@example.com","code_sent":true}',
            id="email",
        ),
        pytest.param(
            undelivered(sms=PHONE),
            b'{"type":"sms","delivery_hint":"--0123","code_sent":false}',
            id="sms-not-taken-stays-queued",
        ),
        pytest.param(
            undelivered(email=MAILBOX),
            b'{"type":"email","delivery_hint":"j--@example.com","code_sent":false}',
            id="email-not-taken-stays-queued",
        ),
        pytest.param(none_issued, b"null", id="null-none-issued"),
        pytest.param(satisfied, b"null", id="null-satisfied"),
        pytest.param(waived, b"null", id="null-waived"),
    ],
)
async def test_200(service: Service, edge: Edge, arrange: Arrange, text: bytes) -> None:
    session = await arrange(service)
    for _ in "once", "again":
        answer = await edge.send(session)
        assert answer.status_code == 200
        assert answer.content == text
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["content-length"] == str(len(text))


@pytest.mark.parametrize(
    "request_of",
    [
        pytest.param({}, id="none"),
        pytest.param({"headers": {"content-type": "application/json"}}, id="none-with-type"),
        pytest.param({"json": {}}, id="empty-object"),
        pytest.param(
            {"content": b" {\n} ", "headers": {"content-type": "application/json"}}, id="spaced"
        ),
        pytest.param(
            {"content": b"{}", "headers": {"content-type": "Application/JSON; charset=UTF-8"}},
            id="charset",
        ),
        pytest.param(
            {"content": b"{" + b" " * 8000 + b"}", "headers": {"content-type": "application/json"}},
            id="just-under-8-KiB",
        ),
    ],
)
async def test_bodies_that_are_fine(
    service: Service, edge: Edge, request_of: dict[str, object]
) -> None:
    session = await service.open()
    edge.http.headers["authorization"] = f"Bearer {session.secret}"
    answer = await edge.http.post(path_of(session.session_id), **request_of)  # type: ignore[arg-type]
    assert (answer.status_code, answer.content) == (200, b"null")


async def test_a_chunked_body(service: Service, edge: Edge) -> None:
    session = await service.open()
    head = (
        f"POST {path_of(session.session_id)} HTTP/1.1\r\nhost: x\r\n"
        f"authorization: Bearer {session.secret}\r\ncontent-type: application/json\r\n"
        "transfer-encoding: chunked\r\n\r\n"
    ).encode()
    for chunks in (b"0\r\n\r\n", b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"):
        answer = await edge.raw(head + chunks)
        assert (answer.status_code, answer.content) == (200, b"null")


async def test_a_client_that_asks_before_it_sends_the_body(service: Service, edge: Edge) -> None:
    session = await service.open()
    async with edge.connection() as (reader, writer):
        writer.write(
            f"POST {path_of(session.session_id)} HTTP/1.1\r\nhost: x\r\n"
            f"authorization: Bearer {session.secret}\r\ncontent-type: application/json\r\n"
            "content-length: 2\r\nexpect: 100-continue\r\n\r\n".encode()
        )
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"{}")
        answer = await answer_on(reader)
    assert (answer.status_code, answer.content) == (200, b"null")


async def test_nothing_secret_is_answered(service: Service, edge: Edge) -> None:
    session = await service.challenged("+14155550177")
    text = str((await edge.send(session)).content)
    for secret in ("415", "555", service.provider.code(), session.secret):
        assert secret not in text
