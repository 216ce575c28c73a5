"""Codes, credentials and destinations stay out of logs, answers and databases."""

from __future__ import annotations

import logging
import re
import sqlite3
from collections.abc import Callable
from typing import Any, NamedTuple

import asyncpg
import pytest
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2

from service.channels import Message, Outcome, Result
from service.settings import Settings
from service.storage.dispatches import Dispatches
from service.storage.store import Store
from service.telemetry import logs
from tests.harness.logs import Logs
from tests.harness.marks import one_database
from tests.harness.providers import Provider
from tests.harness.refusals import refused
from tests.harness.service import Service, Session, running
from tests.harness.tokens import Issuer

PHONE, OTHER_PHONE, ADDRESS = "+14155550142", "+14155550199", "jane.doe@example.com"
TABLES = ("hosted_session", "quota", "attempt")


class Talkative(Provider):
    """A provider whose client library tells all in its exceptions, as some do."""

    async def deliver(self, message: Message) -> Result:
        first = not self.calls
        result = await super().deliver(message)
        if first:
            raise RuntimeError(f"could not send {message.text!r} to {message.recipient}")
        return result


class Told(NamedTuple):
    """What a run has told to whom."""

    secrets: list[str]
    answers: str


async def play(service: Service) -> Told:
    """Goes through everything that touches a secret, well and badly."""
    answers: list[object] = []

    async def fails(call: Any) -> None:
        answers.append((await refused(call)).seen)

    satisfied = await service.challenged(phone=PHONE)
    answers.append(await service.send(satisfied, **{"x-request-id": "req-1"}))
    await fails(service.verify(satisfied, service.provider.wrong()))
    await service.later(30)
    answers.append(await service.send(satisfied))
    answers.append(await service.verify(satisfied, service.provider.code(), request_id="r-1"))
    await fails(service.verify(satisfied, service.provider.wrong(), request_id="r-1"))
    await service.close(satisfied, "COMPLETED")

    mailed = await service.open()
    answers.append(await service.issue(mailed, email=admin_pb2.Email(address=ADDRESS)))
    answers.append(await service.send(mailed))
    answers.append(await service.get(mailed))
    await service.close(mailed, "EXPIRED")
    await fails(service.send(mailed))

    still_open = await service.challenged(phone=OTHER_PHONE)
    service.provider.results = [Result(Outcome.UNDELIVERABLE, reason="invalid number")]
    await fails(service.send(still_open))
    await fails(service.send(still_open, secret=mailed.secret))
    await fails(service.send(Session(still_open.secret, still_open.secret)))
    await fails(service.send(Session(PHONE, still_open.secret)))
    await fails(service.issue(still_open, sms=admin_pb2.Sms(phone_number=f"{PHONE}{PHONE}")))
    await fails(service.issue(still_open, email=admin_pb2.Email(address=f"{ADDRESS}\r\n")))
    attempts = admin_pb2.ListAttemptsRequest(session_id=satisfied.session_id)
    answers.append(await service.admin("ListAttempts", attempts))

    codes = set(re.findall(r"\b\d{8}\b", " ".join(call.text for call in service.provider.calls)))
    sessions = (satisfied, mailed, still_open)
    return Told(
        [
            *codes,
            *(session.secret for session in sessions),
            *(session.secret.rpartition("_secret_")[2] for session in sessions),
            *(part for phone in (PHONE, OTHER_PHONE) for part in (phone, phone[1:])),
            *(ADDRESS, ADDRESS.partition("@")[0]),
        ],
        "\n".join(map(str, answers)),
    )


async def dumped(database_url: str) -> bytes:
    """Everything that the database holds: SQLite's file, or all rows of PostgreSQL."""
    if database_url.startswith("sqlite"):
        return _vacuumed(database_url.removeprefix("sqlite:///"))
    connection = await asyncpg.connect(database_url)
    tables = [await connection.fetch(f"SELECT * FROM {table}") for table in TABLES]
    await connection.close()
    values = [value for rows in tables for row in rows for value in row.values()]
    return b"\n".join(
        value if isinstance(value, bytes) else str(value).encode() for value in values
    )


def _vacuumed(path: str) -> bytes:
    connection = sqlite3.connect(path)
    connection.execute("VACUUM")
    connection.close()
    with open(path, "rb") as file:
        return file.read()


def found(secrets: list[str], haystack: str | bytes) -> list[str]:
    """The secrets that stand in it."""
    text = haystack if isinstance(haystack, bytes) else haystack.encode()
    return [secret for secret in secrets if secret.encode() in text]


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    """Codes so long that they stand nowhere by chance, and logs as full as can be."""
    return make_settings(code_digits=8, log_level="debug")


@pytest.fixture
def logged(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Logs:
    """What production would log."""
    return Logs(monkeypatch, settings)


async def test_no_secret_is_in_logs_answers_or_database(
    logged: Logs, settings: Settings, clock: Any, issuer: Issuer, database_url: str
) -> None:
    async with running(settings, Talkative(), clock, issuer) as service:
        told = await play(service)
    assert logged.lines("channel_failed")
    assert len(logged.lines("call")) > 15
    assert found(told.secrets, logged.text) == []
    assert found(told.secrets, told.answers) == []
    assert found(told.secrets, await dumped(database_url)) == []


async def test_a_secret_that_leaks_would_be_found(
    logged: Logs, settings: Settings, clock: Any, issuer: Issuer, database_url: str
) -> None:
    async with running(settings, Provider(), clock, issuer) as service:
        told = await play(service)
        for number, secret in enumerate(told.secrets):
            logs.info("canary", text=secret)
            await service.database.row(
                "INSERT INTO quota VALUES ($1, 0, 0, 0, 0)", f"canary {number} {secret}"
            )
    assert found(told.secrets, logged.text) == told.secrets
    assert found(told.secrets, await dumped(database_url)) == told.secrets


async def test_a_bugs_text_stays_out_of_the_log(
    logged: Logs, settings: Settings, clock: Any, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(settings, Provider(), clock, issuer) as service:
        session = await service.challenged(phone=PHONE)

        async def broken(self: Store, *args: object, **kwargs: object) -> None:
            raise RuntimeError(f"{session.secret} {PHONE}")

        monkeypatch.setattr(Dispatches, "claim", broken)
        await refused(service.send(session))
    (bug,) = logged.lines("bug")
    assert bug["exception"][0]["exc_type"] == "RuntimeError"
    assert bug["exception"][0]["frames"]
    assert found([session.secret, PHONE], logged.text) == []


@one_database
def test_what_a_library_quotes_stays_out_of_the_log(logged: Logs) -> None:
    library = logging.getLogger("library")
    library.warning("cannot reach %s", PHONE)
    library.error(f"Task exception was never retrieved\nfuture: <RuntimeError({PHONE!r})>")
    try:
        raise RuntimeError(PHONE)
    except RuntimeError:
        library.exception("failed")
    assert [line["text"] for line in logged.lines("library")] == [
        "cannot reach %s", "Task exception was never retrieved", "failed",
    ]  # fmt: skip
    assert logged.lines("library")[-1]["error"] == "RuntimeError"
    assert found([PHONE], logged.text) == []
