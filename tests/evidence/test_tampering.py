"""Whatever is changed in the database or in an export is found: every event, every field."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2

from examples.check_evidence import check as check_evidence
from service.evidence.chain import Chain, canonical, digest
from service.evidence.documents import Wrong, check
from service.evidence.documents import write as write_document
from service.evidence.signing import Signer
from service.keyring import EvidenceKeys
from tests.evidence.exports import exported
from tests.harness.refusals import refused
from tests.harness.service import Service, Session
from tests.harness.timing import eventually

BROKEN = ("DATA_LOSS", 500, "processing_error", False)
COLUMNS = ("event", "personal", "seq")
REFUSED = (InvalidSignature, KeyError, TypeError, ValueError)
"""What the page that anybody can run raises."""


@pytest.fixture
async def session(service: Service) -> Session:
    """A session in which all sorts of things happened."""
    session = await service.open()
    payment = admin_pb2.Payment(amount_minor=1, currency="EUR", payee="Acme")
    await service.issue(session, sms=admin_pb2.Sms(phone_number="+14155550123"), payment=payment)
    await service.send(session)
    await eventually(service.settled)
    more = {"payment": payment, "remote_ip": "203.0.113.9"}
    await refused(service.verify(session, service.provider.wrong(), **more))
    await service.verify(session, service.provider.code(), **more)
    await service.verify(session, "000000", **more)
    await service.close(session, "COMPLETED")
    return session


@pytest.fixture
async def rows(service: Service, session: Session) -> list[list[Any]]:
    """The evidence as the database has it."""
    everything = f"SELECT seq, event, personal FROM evidence WHERE session_id = '{session[0]}'"
    kept = [list(row) for row in await service.database.rows(f"{everything} ORDER BY seq")]
    assert len(kept) == 7
    return kept


async def write(service: Service, session: Session, rows: list[list[Any]]) -> None:
    """Has the database tell another story."""
    await service.database.rows("DELETE FROM evidence WHERE session_id = $1", session.session_id)
    for seq, event, personal in rows:
        await service.database.rows(
            "INSERT INTO evidence (session_id, account_uid, seq, event, personal, at) "
            "VALUES ($1, 'acct_1', $2, $3, $4, 0)",
            session.session_id, seq, event, personal,
        )  # fmt: skip


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Walks to everything that holds a value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, found in inside:
        if isinstance(found, dict | list) and found:
            yield from leaves(found, (*path, key))
        else:
            yield (*path, key)


def another(value: Any) -> Any:
    """Returns something else of the same kind."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return f"{value}x" if value == "" or value[-1] != "0" else f"{value[:-1]}1"
        case _:
            return "x"


def changed(document: Any, path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> Any:
    """Returns a copy in which something is changed at one place."""
    other = copy.deepcopy(document)
    place = other
    for key in path[:-1]:
        place = place[key]
    change(place, path[-1])
    return other


def alter(place: Any, key: Any) -> None:
    place[key] = another(place[key])


def leave_out(place: Any, key: Any) -> None:
    del place[key]


def damaged(rows: list[list[Any]]) -> Iterator[tuple[str, list[list[Any]]]]:
    """Every field of every event changed and left out, every event gone, doubled and moved."""
    for index, (seq, text, personal) in enumerate(rows):
        event = json.loads(text)
        for path in leaves(event):
            for change in (alter, leave_out):
                other = copy.deepcopy(rows)
                other[index][1] = canonical(changed(event, path, change))
                yield f"event {seq} {change.__name__} {path}", other
        other = copy.deepcopy(rows)
        other[index][1] = canonical({**event, "added": 1})
        yield f"event {seq} has a field more", other
        for path in leaves(json.loads(personal or "{}")):
            other = copy.deepcopy(rows)
            other[index][2] = json.dumps(changed(json.loads(personal), path, alter))
            yield f"event {seq} personal {path}", other
        yield f"event {seq} is gone", rows[:index] + rows[index + 1 :]
        closed_up = rows[:index] + [[n - 1, *rest] for n, *rest in rows[index + 1 :]]
        yield f"event {seq} is gone, the others closed up", closed_up
        later = [[n + 1, *rest] for n, *rest in rows[index:]]
        yield f"event {seq} is doubled", [*rows[: index + 1], *later]
    for index in range(len(rows) - 1):
        other = copy.deepcopy(rows)
        other[index][1:], other[index + 1][1:] = other[index + 1][1:], other[index][1:]
        yield f"events {index + 1} and {index + 2} are swapped", other
    yield "all are gone", []


@pytest.mark.slow
async def test_a_changed_row_is_found(
    service: Service, session: Session, rows: list[list[Any]]
) -> None:
    count = 0
    for what, other in damaged(rows):
        await write(service, session, other)
        assert (await refused(exported(service, session))).brief == BROKEN, what
        count += 1
    assert count > 100
    await write(service, session, rows)
    check(await exported(service, session))


async def test_whoever_lacks_the_key_cannot_write_another_story(
    service: Service, session: Session, rows: list[list[Any]]
) -> None:
    for keep in range(1, len(rows)):
        chain, forged = Chain.parse("", session.session_id), []
        for seq, text, personal in rows[:keep]:
            event = json.loads(text)
            event = {name: event[name] for name in event if name not in ("seq", "previous")}
            if seq == keep:
                event["at"] = "2026-01-01T00:00:00.000Z"
            text, chain = chain.append(bytes(32), event)
            forged.append([seq, text, personal])
        await write(service, session, forged)
        await service.database.rows(
            "UPDATE hosted_session SET chain = $2 WHERE session_id = $1",
            session.session_id, str(chain),
        )  # fmt: skip
        assert (await refused(exported(service, session))).brief == BROKEN


async def test_what_is_appended_later_does_not_make_a_forgery_good(service: Service) -> None:
    session = await service.challenged()
    chain = Chain.parse(await service.column(session, "chain"), session.session_id)
    (row,) = await service.database.rows(
        "SELECT event FROM evidence WHERE session_id = $1 AND seq = 2", session.session_id
    )
    forged = canonical({**json.loads(row[0]), "type": "email"})
    await service.database.rows(
        "UPDATE evidence SET event = $2 WHERE session_id = $1 AND seq = 2",
        session.session_id, forged,
    )  # fmt: skip
    await service.database.rows(
        "UPDATE hosted_session SET chain = $2 WHERE session_id = $1",
        session.session_id, str(chain._replace(head=digest(forged))),
    )  # fmt: skip
    await service.waive(session)
    assert (await refused(exported(service, session))).brief == BROKEN


async def test_a_truncation_without_the_rows_chain_is_found(
    service: Service, session: Session, rows: list[list[Any]]
) -> None:
    for keep in range(len(rows)):
        await write(service, session, rows[:keep])
        assert (await refused(exported(service, session))).brief == BROKEN


async def test_a_changed_export_is_found(service: Service, session: Session) -> None:
    document = json.loads(await exported(service, session))
    check(json.dumps(document))
    paths = list(leaves(document))
    assert len(paths) > 60
    for path in paths:
        for change in (alter, leave_out):
            other = changed(document, path, change)
            with pytest.raises(Wrong):
                check(json.dumps(other))
            with pytest.raises(REFUSED):
                check_evidence(other)
    for seq in document["personal"]:
        other = changed(document, ("personal", seq), leave_out)
        with pytest.raises(Wrong, match="what is personal"):
            check(json.dumps(other))
        with pytest.raises(ValueError, match="signature"):
            check_evidence(other)
    for index in range(7):
        for events in (
            document["events"][:index] + document["events"][index + 1 :],
            document["events"][: index + 1] + document["events"][index:],
            document["events"][index:] + document["events"][:index] if index else [],
        ):
            with pytest.raises(Wrong):
                check(json.dumps({**document, "events": events}))


async def test_no_part_of_a_value_moves_into_its_salt(service: Service, session: Session) -> None:
    document = json.loads(await exported(service, session))
    moved = 0
    for values in document["personal"].values():
        for one in values.values():
            kept = dict(one)
            one.update(salt=kept["salt"] + kept["value"][0], value=kept["value"][1:])
            with pytest.raises(Wrong, match="salt"):
                check(json.dumps(document))
            with pytest.raises(ValueError, match="signature"):
                check_evidence(document)
            one.update(kept)
            moved += 1
    assert moved > 2
    check_evidence(document)


@pytest.mark.parametrize("session_id", ["cs_\x1b]0;a\x07", "cs_1\rit holds", "", "1"])
def test_what_is_shown_of_any_export_is_plain(session_id: str) -> None:
    signer = Signer(EvidenceKeys(bytes(32)))
    event = {
        "event": "closed", "seq": 1, "previous": digest(session_id), "state": "completed",
        "at": "2026-01-01T00:00:00.000Z",
    }  # fmt: skip
    text = canonical(event)
    with pytest.raises(Wrong, match="session_id"):
        check(write_document(signer, session_id, [(text, None)], digest(text), 0))


async def test_an_export_that_was_rewritten_does_not_fit_its_signature(
    service: Service, session: Session
) -> None:
    document = json.loads(await exported(service, session))
    for index, event in enumerate(document["events"]):
        if event["event"] == "answered" and event["verdict"] == "wrong":
            document["events"].pop(index)
    head = digest(document["session_id"])
    for seq, event in enumerate(document["events"], start=1):
        event.update(seq=seq, previous=head)
        head = digest(canonical(event))
    document |= {"head": head, "personal": {}}
    with pytest.raises(Wrong, match="the signed head"):
        check(json.dumps(document))


async def test_an_export_by_another_key_has_another_thumbprint(
    service: Service, session: Session
) -> None:
    document = json.loads(await exported(service, session))
    theirs = Signer(EvidenceKeys(bytes(32)))
    claims = {
        "session_id": document["session_id"], "events": 7, "head": document["head"],
        "personal": digest(canonical(document["personal"])),
        "at": "2026-01-01T00:00:00.000Z",
    }  # fmt: skip
    forged = {
        **document, "jwks": {"keys": [theirs.jwk]}, "signature": theirs.sign(claims),
        "thumbprint": theirs.thumbprint,
    }  # fmt: skip
    assert check(json.dumps(forged)).thumbprint != check(json.dumps(document)).thumbprint


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"format": "challenge-evidence-1"}', "["]
)
def test_what_is_no_document_is_told(text: str) -> None:
    with pytest.raises(Wrong):
        check(text)
