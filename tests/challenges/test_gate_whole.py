"""VerifyChallenge's table as a whole: each state × response × type × payment × repeat, by a rule.

The rows of `test_gate` are written down one by one; here the contract's table is a function.
"""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import pytest
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from govifi.challenge.v1 import challenge_pb2

from tests.challenges import test_gate as gate
from tests.challenges.test_gate import (
    ALREADY,
    COMPLETED,
    EMAIL,
    EXPIRED,
    FAILED,
    LOCKED,
    MALFORMED,
    NOT_REQUIRED,
    OTHER,
    PAYMENT,
    REQUIRED,
    SATISFIED,
    SMS,
    UNAVAILABLE,
    UNNAMED,
    State,
    ask,
)  # fmt: skip
from tests.harness.service import Service, Session

DAY = 24 * 3600
TURNSTILE = challenge_pb2.Challenge.turnstile
RESPONSES = ("", "right", "wrong", "malformed", "token")
TYPES = (None, SMS, EMAIL, TURNSTILE)
PAYMENTS = (None, PAYMENT, OTHER)


class Stand(NamedTuple):
    """What a state is in the contract's words.

    Attributes:
        kind: A row of its table; `void` is pending without a code that is valid.
        payment: That challenge or waiver are for; None for any.
        type: The challenge's.
    """

    kind: str
    payment: admin_pb2.Payment | None = None
    type: Any = SMS


STATES: dict[State, Stand] = {
    gate.completed: Stand("completed"), gate.expired: Stand("expired"),
    gate.none: Stand("none"), gate.expected: Stand("expected"),
    gate.waived: Stand("waived"), gate.waived_for_one: Stand("waived", PAYMENT),
    gate.waived_for_one_and_none_issued: Stand("waived", PAYMENT),
    gate.waived_and_updated: Stand("void", OTHER), gate.waived_for_all_and_updated: Stand("waived"),
    gate.satisfied: Stand("satisfied"), gate.satisfied_and_bound: Stand("satisfied", PAYMENT),
    gate.satisfied_and_updated: Stand("void", OTHER),
    gate.locked: Stand("locked"), gate.locked_and_bound: Stand("locked", PAYMENT),
    gate.pending: Stand("pending"), gate.bound: Stand("pending", PAYMENT),
    gate.unsent: Stand("void"), gate.erased: Stand("void"), gate.lapsed_code: Stand("void"),
    gate.updated: Stand("void", OTHER), gate.updated_and_sent: Stand("pending", OTHER),
    gate.fallen_back: Stand("void", PAYMENT, EMAIL),
    gate.fallen_back_and_sent: Stand("pending", PAYMENT, EMAIL),
    gate.captcha: Stand("captcha", None, TURNSTILE),
}  # fmt: skip


def wanted(
    stand: Stand, response: str, said: Any, payment: admin_pb2.Payment | None
) -> tuple[object, bool]:
    """What the contract's table says, and whether that is counted or satisfies."""
    refused: dict[str, object] = {
        "completed": COMPLETED, "expired": EXPIRED, "none": NOT_REQUIRED, "expected": REQUIRED,
        "locked": LOCKED,
    }  # fmt: skip
    let_on = {"waived": NOT_REQUIRED, "satisfied": ALREADY}
    if stand.kind in refused:
        return refused[stand.kind], False
    if stand.kind in let_on and stand.payment in (None, payment):
        return let_on[stand.kind], stand.kind == "satisfied"
    if stand.payment and payment is None:
        return UNNAMED, False
    if stand.payment not in (None, payment):
        return REQUIRED, False
    other = (response == "token") is not (stand.type == TURNSTILE)
    if not response or other or said not in (None, stand.type):
        return REQUIRED, False
    if stand.kind == "captcha":
        return UNAVAILABLE, False  # its site key has no secret
    if stand.kind == "void":
        return FAILED, False
    judged = {"right": (SATISFIED, True), "wrong": (FAILED, True)}
    return judged.get(response, (MALFORMED, False))


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
async def test_each_row_of_the_table_and_its_repeat(service: Service, state: State) -> None:
    session: Session | None = None
    asked = 0
    for response, said, payment in product(RESPONSES, TYPES, PAYMENTS):
        outcome, moves = wanted(STATES[state], response, said, payment)
        if session is None:
            await service.later(DAY)  # whatever quotas it spends are its own
            session = await state(service)
        fields: dict[str, Any] = {"type": said, "payment": payment, "request_id": f"r-{asked}"}
        fields = {name: value for name, value in fields.items() if value is not None}
        sent = service.provider.accepted
        typed = "000000" if response in ("right", "wrong") and not sent else response
        before = await service.column(session, "wrong_total")
        answers = [await ask(service, session, typed, fields) for _ in range(2)]
        assert answers == [outcome] * 2, (response, said, payment)
        counted = int(moves and outcome == FAILED)
        assert await service.column(session, "wrong_total") == before + counted
        asked += 1
        session = None if moves else session
    assert asked == len(RESPONSES) * len(TYPES) * len(PAYMENTS)


def test_every_state_of_the_rows_is_here() -> None:
    assert {state for state, *_ in gate.TABLE} == set(STATES)
