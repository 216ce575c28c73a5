"""Replies and failures over HTTP, beyond what every channel is asked."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.channels import Outcome, Verdict
from service.channels.dsn import DSN
from service.channels.http import Client, Reply, identifier, judge, retry_after
from service.channels.twilio import Twilio
from tests.channels.http_provider import Answer, Break, http_provider
from tests.channels.kits import SMS


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.ACCEPTED),
        (202, Verdict.ACCEPTED),
        (301, Verdict.REFUSED),
        (304, Verdict.REFUSED),
        (400, Verdict.REFUSED),
        (404, Verdict.REFUSED),
        (408, Verdict.RETRY),
        (425, Verdict.RETRY),
        (429, Verdict.RETRY),
        (500, Verdict.RETRY),
        (502, Verdict.RETRY),
        (504, Verdict.UNKNOWN),
        (599, Verdict.RETRY),
    ],
)
def test_status(status: int, verdict: Verdict) -> None:
    assert judge(Reply(status, b"", None)).verdict is verdict


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("", None),
        ("0", 0),
        ("12", 12),
        ("9" * 400, 600),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 600),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after(value) == seconds


def test_retry_after_a_date() -> None:
    later = datetime.now(UTC) + timedelta(seconds=60)
    assert retry_after(format_datetime(later, usegmt=True)) == pytest.approx(60, abs=30)


@settings(deadline=None)
@given(st.text())
def test_retry_after_never_fails(value: str) -> None:
    seconds = retry_after(value)
    assert seconds is None or 0 <= seconds <= 600


@settings(deadline=None)
@given(st.binary())
def test_json_never_fails(body: bytes) -> None:
    assert isinstance(Reply(200, body, None).json(), dict)


def test_json_as_deep_as_it_may_be() -> None:
    assert Reply(200, b"[" * 60_000, None).json() == {}


@pytest.mark.parametrize("value", ["SM0123-4_5.6", "<a@b.example>", "x" * 128])
def test_identifier(value: str) -> None:
    assert identifier(value) == value


@pytest.mark.parametrize("value", [None, 1, ["x"], "", "a b", "a\0", "a\n", "é", "x" * 129])
def test_no_identifier(value: object) -> None:
    assert identifier(value) is None


async def test_a_handshake_that_never_ends_sent_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
        client = Client(DSN(f"twilio://127.0.0.1:{port}"), timeout=0.15)
        outcome = await client.post("/", b"x" * 10, {})
        await client.close()
    assert outcome == Outcome(Verdict.RETRY, reason="not connected: ConnectTimeout")


async def test_no_more_is_read_than_is_needed() -> None:
    async with http_provider(Break.ENDLESS_BODY) as provider:
        client = Client(DSN(f"twilio://{provider.address}?scheme=http", takes=("scheme",)), 5)
        reply = await client.post("/", b"", {})
        await client.close()
    assert isinstance(reply, Reply)
    assert len(reply.body) == 64 * 1024


async def test_no_proxy_leads_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with http_provider(Answer(201)) as provider:
        channel = Twilio(f"twilio://AC1:token@{provider.address}?from=Shop&scheme=http")
        outcome = await channel.deliver(SMS)
        await channel.close()
    assert outcome.verdict is Verdict.ACCEPTED
