"""A rule that lets through what its statement refuses: a bug that ends at once, and is logged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2

from service.challenges import fallbacks, issuing, sessions, verifying
from service.challenges.rules import Gate, WrongCaps
from service.delivery import sending
from service.storage.store import Store
from tests.challenges.test_verify import CODE_LIFE, SESSION_LIFE, WRONG
from tests.harness.logs import Logs
from tests.harness.refusals import refused
from tests.harness.service import Service, Session
from tests.harness.timing import Pause

BUG = ("INTERNAL", 500, "processing_error", True)
SMS = admin_pb2.Sms(phone_number="+14155550123")
EMAIL = admin_pb2.Fallback(email=admin_pb2.Email(address="jane@example.com"), allow_weaker=True)
Call = Callable[[Service, Session], Awaitable[Any]]


def verify(service: Service, session: Session) -> Awaitable[Any]:
    return service.verify(session, "123456")


def lets_all_through(*_: object) -> None:
    """A rule that is none."""


def gate_says(gate: Gate) -> Callable[..., Gate]:
    """A gate that says the same of every row."""
    return lambda *_: gate


async def unsent(service: Service) -> Session:
    """A session whose code was never sent."""
    session = await service.open()
    await service.issue(session, sms=SMS, fallback=EMAIL)
    return session


async def past_its_time(service: Service) -> Session:
    """The same, after its end."""
    session = await unsent(service)
    await service.later(SESSION_LIFE)
    return session


async def past_its_satisfaction(service: Service) -> Session:
    """A session whose satisfaction is over."""
    session = await unsent(service)
    await service.send(session)
    await service.verify(session, service.provider.code())
    await service.later(900)
    return session


@pytest.mark.parametrize(
    ("state", "rule", "call"),
    [
        pytest.param(unsent, (verifying, "gate", gate_says(Gate.JUDGE)), verify, id="answer"),
        pytest.param(
            past_its_satisfaction, (verifying, "gate", gate_says(Gate.ALREADY_SATISFIED)), verify,
            id="confirm",
        ),
        pytest.param(unsent, (sending, "WRONG_CAPS", WrongCaps(0, 0)), Service.send, id="claim"),
        pytest.param(
            past_its_time, (issuing, "require_open", lets_all_through), Service.issue, id="issue"
        ),
        pytest.param(
            past_its_time, (sessions, "require_changeable", lets_all_through),
            lambda service, session: service.update(session, locale="fr"), id="update",
        ),
        pytest.param(
            past_its_time, (sessions, "require_open", lets_all_through), Service.waive, id="waive"
        ),
        pytest.param(
            past_its_time, (fallbacks, "require_open", lets_all_through), Service.use_fallback,
            id="fallback",
        ),
    ],
)  # fmt: skip
async def test_a_disagreement(
    logged: Logs,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    state: Callable[[Service], Awaitable[Session]],
    rule: tuple[Any, str, object],
    call: Call,
) -> None:
    session = await state(service)
    monkeypatch.setattr(*rule)
    refusal = await refused(call(service, session))
    assert refusal.brief == BUG
    (bug,) = logged.lines("bug")
    assert bug["exception"][0]["exc_type"] == "NotMoved"


async def test_a_repeat_that_one_rule_refuses_and_the_other_lets_go_on(
    logged: Logs, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await unsent(service)
    await service.send(session)
    again = {"code": service.provider.code(), "request_id": "1"}
    await service.verify(session, **again)
    monkeypatch.setattr(verifying, "ok_still_holds", lambda *_: False)
    assert (await refused(service.verify(session, **again))).brief == BUG
    (bug,) = logged.lines("bug")
    assert bug["exception"][0]["exc_type"] == "AlreadyHandled"


async def test_a_code_whose_time_comes_while_it_is_judged(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await unsent(service)
    await service.send(session)
    answer = Pause(monkeypatch, Store, "answer")
    verified = asyncio.create_task(refused(service.verify(session, service.provider.code())))
    await answer.reached()
    await service.later(CODE_LIFE)
    answer.resume()
    assert (await verified).brief == WRONG
