"""Erasure: nothing of a destination is left, and evidence holds all the same."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2

from service.settings import Settings
from tests.evidence.exports import exported, names_of
from tests.harness.logs import Logs
from tests.harness.providers import Provider
from tests.harness.refusals import refused
from tests.harness.service import Service, Session, running
from tests.harness.statements import CHANGES, TEXTS
from tests.harness.timing import eventually
from tests.harness.tokens import Issuer

ADDRESS, HINT = "jane.doe.7731@erased.example", "j--@erased.example"
IP = "203.0.113.77"
REFUSED = ("FAILED_PRECONDITION", 400, "processing_error", False)


@pytest.fixture
def logged(make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> Logs:
    return Logs(monkeypatch, make_settings(log_level="debug"))


async def mailed(service: Service, address: str = ADDRESS, **fields: Any) -> Session:
    session = await service.open(**fields)
    await service.issue(session, email=admin_pb2.Email(address=address))
    return session


async def erase(
    service: Service, address: str = ADDRESS, token: str | None = None
) -> admin_pb2.EraseDestinationResponse:
    request = admin_pb2.EraseDestinationRequest(email=admin_pb2.Email(address=address))
    return await service.admin("EraseDestination", request, token)


async def proven(service: Service) -> Session:
    session = await mailed(service)
    await service.send(session)
    await eventually(service.settled)
    await service.verify(session, service.provider.code(), remote_ip=IP)
    return session


async def test_an_open_challenge_is_refused(service: Service) -> None:
    session = await mailed(service)
    assert (await erase(service)).sessions == 1
    assert (await refused(service.send(session))).brief == REFUSED
    assert (await refused(service.verify(session, "123456"))).brief[2] == "challenge_failed"
    challenge = await service.get(session)
    assert challenge is not None
    assert challenge.delivery_hint == "--"
    assert await service.column(session, "destination") is None
    assert await service.column(session, "fingerprint") is None
    assert not service.provider.calls


async def test_a_code_that_was_sent_there_is_worth_nothing(service: Service) -> None:
    session = await mailed(service)
    await service.send(session)
    await eventually(service.settled)
    await erase(service)
    refusal = await refused(service.verify(session, service.provider.code()))
    assert refusal.brief[2] == "challenge_failed"
    assert await service.column(session, "challenge_state") == "refused"


async def test_a_satisfied_one_stays_so_and_can_be_sent_no_more(service: Service) -> None:
    session = await proven(service)
    await erase(service)
    assert (await service.verify(session, "123456")).outcome == 2
    await service.later(900)
    assert (await refused(service.send(session))).brief == REFUSED


async def test_evidence_holds_without_what_is_personal(service: Service) -> None:
    session = await proven(service)
    before = json.loads(await exported(service, session))
    assert HINT in str(before["personal"])
    assert IP in str(before["personal"])
    erased = await erase(service)
    assert (erased.sessions, erased.events) == (1, 2)
    after = json.loads(await exported(service, session))
    assert after["personal"] == {}
    assert after["events"][:-1] == before["events"]
    assert after["events"][-1]["event"] == "erased"


async def test_a_spelling_that_reaches_the_same_mailbox_is_meant(service: Service) -> None:
    await mailed(service)
    assert (await erase(service, ADDRESS.replace("@", "+tag@").upper())).sessions == 1


async def test_other_destinations_are_left_alone(service: Service) -> None:
    other = await mailed(service, f"not.{ADDRESS}")
    await erase(service)
    assert await names_of(service, other) == ["opened", "challenged"]
    assert (await service.send(other)).code_sent


async def test_a_destination_that_was_replaced_is_erased_from_evidence(service: Service) -> None:
    session = await mailed(service)
    await service.issue(session, sms=admin_pb2.Sms(phone_number="+14155550123"))
    erased = await erase(service)
    assert (erased.sessions, erased.events) == (0, 2)
    assert json.loads(await exported(service, session))["personal"] == {}
    assert (await service.send(session)).code_sent


async def test_a_fallback_is_erased_without_what_it_would_replace(service: Service) -> None:
    session = await service.open()
    phone, mail = admin_pb2.Sms(phone_number="+14155550123"), admin_pb2.Email(address=ADDRESS)
    await service.issue(session, sms=phone, fallback=admin_pb2.Fallback(email=mail))
    before = await service.column(session, "destination")
    erased = await erase(service)
    assert (erased.sessions, erased.events) == (1, 0)
    assert await service.column(session, "destination") not in (None, before)
    assert await service.column(session, "fallback_fingerprint") is None
    assert await names_of(service, session) == ["opened", "challenged", "erased"]
    use = admin_pb2.UseFallbackRequest(session_id=session.session_id)
    await refused(service.admin("UseFallback", use))
    assert (await service.send(session)).code_sent
    assert (await erase(service)).sessions == 0


async def test_an_erased_destination_falls_back_to_nothing(service: Service) -> None:
    session = await service.open()
    phone, mail = admin_pb2.Sms(phone_number="+14155550123"), admin_pb2.Email(address=ADDRESS)
    await service.issue(session, email=mail, fallback=admin_pb2.Fallback(sms=phone))
    await erase(service)
    assert (await refused(service.send(session))).brief == REFUSED


async def test_a_token_erases_in_its_own_account(service: Service) -> None:
    ours, theirs = await mailed(service), await mailed(service, account_uid="acct_2")
    token = service.issuer.token(account_uid="acct_2", scope="challenge:admin")
    assert (await erase(service, token=token)).sessions == 1
    assert await names_of(service, theirs) == ["opened", "challenged", "erased"]
    assert await names_of(service, ours) == ["opened", "challenged"]


async def test_it_is_found_after_the_sessions_row_is_gone(service: Service) -> None:
    session = await proven(service)
    await service.close(session, "COMPLETED")
    await service.database.rows("UPDATE evidence SET chain = ''")
    await service.database.rows("DELETE FROM hosted_session")
    assert (await erase(service)).events == 2
    assert (await erase(service)).events == 0


async def test_counters_stay_until_their_period_ends(service: Service) -> None:
    for _ in range(5):
        await service.send(await mailed(service))
        await eventually(service.settled)
    await erase(service)
    refusal = await refused(service.send(await mailed(service)))
    assert refusal.brief[2] == "rate_limited"


async def test_an_erasure_while_wrong_answers_come(service: Service) -> None:
    session = await mailed(service)
    await service.send(session)
    await eventually(service.settled)
    wrong = service.provider.wrong()
    await asyncio.gather(
        *(refused(service.verify(session, wrong)) for _ in range(4)), erase(service)
    )
    names = await names_of(service, session)
    assert names.count("erased") == 1
    assert names.count("answered") == await service.column(session, "wrong_total")
    assert (await refused(service.send(session))).brief == REFUSED


@pytest.mark.parametrize("address", ["", "jane", "jane@", "@example.com", "\0@example.com"])
async def test_what_is_no_address_is_refused(service: Service, address: str) -> None:
    refusal = await refused(erase(service, address))
    assert refusal.brief[0] == "INVALID_ARGUMENT"


async def test_a_number_that_gets_no_codes_any_more_can_be_erased(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> None:
    number = admin_pb2.Sms(phone_number="+14155550123")
    async with running(make_settings(sms_countries="!US"), provider, clock, issuer) as service:
        request = admin_pb2.EraseDestinationRequest(sms=number)
        assert (await service.admin("EraseDestination", request)).sessions == 0


# Database files and logs


@pytest.fixture
async def worn(
    make_settings: Callable[..., Settings], logged: Logs, clock: Any, issuer: Issuer
) -> AsyncIterator[Service]:
    """A service that has had many sessions, so that rows have moved about in their files."""
    async with running(make_settings(), Provider(), clock, issuer) as service:
        yield service


async def wear(service: Service, rounds: int) -> None:
    """Has rows rewritten, moved and deleted: of the address, and of others around it."""
    for number in range(rounds):
        session = await mailed(service, locale="en", merchant_display_name="A" * 40)
        await mailed(service, f"{number}@other.example")
        if number % 3 == 0:
            await service.issue(session, email=admin_pb2.Email(address=ADDRESS))
        if number % 7 == 0:
            await refused(service.verify(session, "123456", remote_ip=IP))
            await service.close(session, "EXPIRED")
        if number % 11 == 0:
            await service.database.rows(
                "DELETE FROM evidence WHERE session_id = $1", session.session_id
            )
            await service.database.rows(
                "DELETE FROM hosted_session WHERE session_id = $1", session.session_id
            )


async def files_of(database_url: str, service: Service) -> bytes:
    """Everything in the database's files, as someone finds it who copies them."""
    if database_url.startswith("sqlite"):
        path = Path(database_url.removeprefix("sqlite:///"))
        return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
    connection = await asyncpg.connect(database_url)

    async def nobody_reads() -> bool:  # who began before keeps what was deleted since
        return not await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)"
        )

    try:
        await eventually(nobody_reads)
        for table in ("hosted_session", "evidence"):
            await connection.execute(f"VACUUM FULL {table}")
        await connection.execute("CHECKPOINT")
        directory = await connection.fetchval("SHOW data_directory")
        paths = await connection.fetch(
            "SELECT pg_relation_filepath(oid) FROM pg_class WHERE relkind IN ('r', 'i', 't') "
            "AND pg_relation_filepath(oid) IS NOT NULL"
        )
    finally:
        await connection.close()
    return b"".join((Path(directory) / path).read_bytes() for (path,) in paths)


async def test_postgresql_samples_nothing_that_erasing_removes(postgres_url: str) -> None:
    erased = {
        (table, column)
        for table, statement in (
            ("hosted_session", CHANGES["ERASE"].statement),
            ("evidence", TEXTS["ERASE_EVIDENCE"]),
        )
        for column in re.findall(r"(\w+) = (?:NULL|'--')", statement)
    }
    assert len(erased) == 7
    connection = await asyncpg.connect(postgres_url)
    unsampled = await connection.fetch(
        "SELECT attrelid::regclass::text, attname FROM pg_attribute WHERE attstattarget = 0"
    )
    await connection.close()
    assert erased - {("hosted_session", "due_at")} < {tuple(row) for row in unsampled}
    assert ("quota", "key") in {tuple(row) for row in unsampled}


@pytest.mark.slow
async def test_nothing_is_left_in_database_files_and_logs(
    worn: Service, logged: Logs, database_url: str
) -> None:
    await proven(worn)
    await wear(worn, 60)
    if not database_url.startswith("sqlite"):
        await worn.database.rows("ANALYZE")  # as PostgreSQL does of itself, now and then
    assert HINT.encode() in await files_of(database_url, worn)
    assert IP.encode() in await files_of(database_url, worn)
    assert (await erase(worn)).sessions > 40
    left = await files_of(database_url, worn)
    for secret in (ADDRESS, "jane.doe.7731", HINT, IP):
        assert secret.encode() not in left, secret
        assert secret not in logged.text
    assert b"@other.example" in left
    assert "EraseDestination" in logged.text
