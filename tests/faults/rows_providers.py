"""Rows 8, 9, 13 and 14: providers that misbehave, and what is put before them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from tests.faults import proxy
from tests.faults.lab import Door, Lab
from tests.faults.oracle import Case, Figures
from tests.faults.processes import PATIENCE_SECONDS, until
from tests.faults.table import BOTH, POSTGRES, SQLITE, row

_FLOWS_SECONDS = 3.0
"""A payer beside the trouble is served within it."""
_ROOM = 64
"""Calls that a process makes of one provider at once."""
_PROVIDER_SECONDS = 8.0
"""How long the service waits for a provider."""


async def _flows(lab: Lab, door: Door, kind: str) -> None:
    """Asserts that another payer is served in the meantime."""
    case = await door.case(kind)
    answer = await door.send(case)
    assert answer.sent and answer.ended - answer.began < _FLOWS_SECONDS, answer


async def _ends(lab: Lab, case: Case, seconds: float = 15.0) -> str:
    """Waits for the end of a dispatch; gives its state."""
    deadline = time.monotonic() + seconds
    while True:
        [kept] = [r for r in await lab.database.rows() if r["session_id"] == case.session_id]
        if kept["dispatch_state"] in ("sent", "dead", "expired"):
            return str(kept["dispatch_state"])
        assert time.monotonic() < deadline, kept
        await asyncio.sleep(0.05)


class Trouble:
    """One misbehaviour and what must come of it."""

    def __init__(
        self, behaviours: tuple[object, ...], state: str, calls: int, messages: int
    ) -> None:
        self.behaviours = behaviours
        self.state = state
        self.calls = calls
        self.messages = messages


async def _try(
    lab: Lab, door: Door, provider: Any, kind: str, trouble: Trouble, calls_to: Callable[[str], int]
) -> None:
    case = await door.case(kind)
    case.ambiguities = max(0, trouble.messages - 1)
    provider.plan(*trouble.behaviours, to=case.destination)
    await door.send(case)
    assert await _ends(lab, case) == trouble.state, trouble.behaviours
    assert calls_to(case.destination) == trouble.calls, trouble.behaviours
    assert len(lab.wire.to(case.destination)) == trouble.messages, trouble.behaviours
    if trouble.state == "sent":
        code = lab.wire.to(case.destination)[-1].code
        assert (await door.verify(case, code)).ok


_MAIL = (
    Trouble((("rcpt", "450 4.2.1 busy"),), "sent", 2, 1),
    Trouble((("rcpt", "451 4.3.0 later"),), "sent", 2, 1),
    Trouble((("end", "451 4.3.0 later"),), "sent", 2, 1),
    Trouble((("data", "421 4.3.2 closing"),), "sent", 2, 1),
    Trouble((("rcpt", "550 5.1.1 no such user"),), "dead", 1, 0),
    Trouble((("end", "554 5.7.1 spam"),), "dead", 1, 0),
    Trouble((("data", "554 5.5.1 no valid recipients"),), "dead", 1, 0),
    Trouble(("drop_after_end",), "sent", 2, 1),
    Trouble(("accept_and_drop",), "sent", 2, 2),
    Trouble(("accept_and_drop", "accept_and_drop", "accept"), "dead", 2, 2),
    Trouble(("reset_in_data",), "sent", 2, 1),
)


@row(
    8,
    "SMTP 421, 45x, 55x, tarpit, drops before and after the final dot",
    BOTH,
    fast=1,
    full=5,
    quick=SQLITE,
    slow=True,
)
async def mail_troubles(lab: Lab, times: int) -> Figures:
    """A run is one message in trouble; others flow beside it."""
    replica = await lab.replica()
    door = lab.door(replica)

    def calls_to(destination: str) -> int:
        return lab.mail.calls.count(destination)

    runs, worst = 0, 0.0
    for _ in range(times):
        stuck = [await door.case("email") for _ in range(3)]
        for case in stuck:
            lab.mail.plan("tarpit", to=case.destination)
        calls = [asyncio.create_task(door.send(case)) for case in stuck]
        await until(lambda: lab.mail.holding == 3, PATIENCE_SECONDS, "the tarpit holds all")
        held = time.monotonic()
        lab.mail.greetings.append("421 4.3.2 too busy")
        await _flows(lab, door, "email")
        for trouble in lab.rng.sample(_MAIL, len(_MAIL)):
            await _try(lab, door, lab.mail, "email", trouble, calls_to)
            await _flows(lab, door, "email")
        never = await door.case("email")  # greylisted for longer than its code lives
        lab.mail.plan(*([("rcpt", "450 4.7.1 greylisted")] * 20), to=never.destination)
        assert (await door.send(never)).sent is False
        await _flows(lab, door, "email")
        await asyncio.gather(*calls)
        for case in stuck:
            assert await _ends(lab, case) == "sent"
        worst = max(worst, time.monotonic() - held - _PROVIDER_SECONDS)
        await lab.database.advance(601)
        assert await _ends(lab, never) == "expired"
        assert not lab.wire.to(never.destination)
        after = await door.case("email")  # the breaker may be open; this one closes it
        await door.send(after)
        assert await _ends(lab, after) == "sent"
        runs += len(_MAIL) + len(stuck) + 3
    return (await lab.conclude())._replace(runs=runs, recovery=worst)


_SMS = (
    Trouble((500,), "sent", 2, 1),
    Trouble((503,), "sent", 2, 1),
    Trouble((400,), "dead", 1, 0),
    Trouble(("garbage",), "sent", 1, 1),
    Trouble(("redirect",), "dead", 1, 0),
    Trouble(("drop",), "sent", 2, 1),
    Trouble(("accept_and_drop",), "sent", 2, 2),
    Trouble(("accept_and_drop", "accept_and_drop", "accept"), "dead", 2, 2),
)


@row(
    9,
    "SMS API 429, 500, timeout after accepting, garbage, redirect",
    BOTH,
    fast=1,
    full=5,
    quick=POSTGRES,
    slow=True,
)
async def sms_troubles(lab: Lab, times: int) -> Figures:
    """A run is one message in trouble."""
    replica = await lab.replica()
    door = lab.door(replica)
    runs, worst = 0, 0.0
    for _ in range(times):
        stuck = [await door.case() for _ in range(2)]
        for case in stuck:
            lab.sms.plan("accept_and_hold", to=case.destination)
            case.ambiguities += 1
        calls = [asyncio.create_task(door.send(case)) for case in stuck]
        await until(lambda: lab.sms.holding == 2, PATIENCE_SECONDS, "the provider holds both")
        held = time.monotonic()
        for trouble in lab.rng.sample(_SMS, len(_SMS)):
            await _try(lab, door, lab.sms, "sms", trouble, lab.sms.calls_to)
            await _flows(lab, door, "sms")
        await _throttled(lab, door)
        await asyncio.gather(*calls)
        for case in stuck:
            assert await _ends(lab, case) == "sent"
            assert len({message.code for message in lab.wire.to(case.destination)}) == 1
            assert lab.sms.calls_to(case.destination) == 2
        worst = max(worst, time.monotonic() - held - _PROVIDER_SECONDS)
        runs += len(_SMS) + len(stuck) + 1
    assert lab.sms.followed == 0
    return (await lab.conclude())._replace(runs=runs, recovery=worst)


async def _throttled(lab: Lab, door: Door) -> None:
    """Asserts that the provider is left in peace for as long as it asked."""
    case, *others = await door.cases(_ROOM + 26)
    lab.sms.plan(("throttle", 1.0, 2), to=case.destination)
    for other in others:  # more than have room: some wait for it when the provider has had enough
        lab.sms.plan(("slow", 1.5), to=other.destination)
    calls = [asyncio.create_task(door.send(each)) for each in (case, *others)]
    await asyncio.gather(*calls)
    for each in (case, *others):
        assert await _ends(lab, each) == "sent"
    end = lab.sms.throttled_at + 1.9
    early = [at for at, _ in lab.sms.calls if lab.sms.throttled_at + 0.5 < at < end]
    assert not early, f"{len(early)} calls before Retry-After was over"


_POISON: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("email", "victim@pay.example\r\nRCPT TO:<thief@pay.example>", {}),
    ("email", "victim@pay.example\0", {}),
    ("email", "v" * 100_000 + "@pay.example", {}),
    ("email", "ok1@pay.example", {"merchant_name": "Acme\r\nBcc: thief@pay.example"}),
    ("sms", "+12025550100\r\nX-Thief: 1", {}),
    ("sms", "+1202555\0", {}),
    ("sms", "+1" + "2" * 100_000, {}),
    ("sms", "", {"key_id": "gone"}),
    ("sms", "", {"destination": b"not of this key"}),
    ("sms", "", {"destination": None}),
    ("sms", "", {"amount_minor": 1, "currency": "€€€", "payee": "{code.__class__}"}),
    ("sms", "", {"amount_minor": 10**18, "currency": "ZZZ", "payee": "P"}),
)


@row(13, "poison rows among good ones", BOTH, fast=1, full=10)
async def poison(lab: Lab, times: int) -> Figures:
    """Written past the API, before the start; a run is one poison row."""
    bad, good = [], []
    for _ in range(times):
        for kind, destination, changes in _POISON:
            case = lab.new_case(kind, destination)
            case.sends.append(lab.acknowledged())
            bad.append((case, changes))
            good.append((lab.new_case(kind), {}))
    mixed = [entry for pair in zip(bad, good, strict=True) for entry in pair]
    await lab.insert_due(mixed)
    # The extreme amounts do have a message; it may be sent.
    replica = await lab.replica()
    lifted = time.monotonic()
    recovery = await lab.settled(lifted)
    for case, _ in good:
        assert len(lab.wire.to(case.destination)) == 1
    assert not [line for line in lab.mail.commands if b"thief" in line.lower()]
    unknown = {message.to for message in lab.wire.read()} - {case.destination for case in lab.cases}
    assert not unknown
    assert replica.runs
    return (await lab.conclude())._replace(runs=len(bad), recovery=recovery)


_DUE = "SELECT session_id FROM hosted_session WHERE due_at <= 0 ORDER BY due_at LIMIT 100"


@row(14, "two sweeps at the same moment", POSTGRES, fast=1, full=20)
async def two_sweeps(lab: Lab, times: int) -> Figures:
    """Each row has one taker, and one that is locked holds up no other; a run is one row."""
    cases = [(lab.new_case("sms"), {}) for _ in range(50 * times)]
    for case, _ in cases:
        case.sends.append(lab.acknowledged())
    await lab.insert_due(cases)
    through = await lab.proxied()
    trap = through.trap(proxy.RECLAIM_DUE, "hold", 2)
    replicas = [lab.launch(proxied=True) for _ in range(2)]
    await until(lambda: trap.sprung == 2, PATIENCE_SECONDS, "both sweep")
    [(locked, _), *others] = cases
    async with lab.database.locked(locked.session_id):
        trap.release()
        await until(lambda: len(lab.wire.accepted) >= min(len(others), 99), 10.0, "others flow")
    lifted = time.monotonic()
    recovery = await lab.settled(lifted)
    await asyncio.gather(*(replica.ready() for replica in replicas))
    return (await lab.conclude())._replace(runs=len(cases), recovery=recovery)


@row(14, "backlog after a 10-minute outage", BOTH, fast=4, full=100)
async def backlog(lab: Lab, times: int) -> Figures:
    """A hundred rows each time, half of them too late; a run is one row."""
    late, live = [], []
    for number in range(100 * times):
        case = lab.new_case("sms")
        case.sends.append(lab.acknowledged())
        if number % 2:
            late.append((case, {"code_expires_at": -lab.rng.randrange(1, 600_000)}))
        else:
            live.append((case, {"code_expires_at": lab.rng.randrange(120_000, 600_000)}))
    await lab.insert_due([entry for pair in zip(late, live, strict=True) for entry in pair])
    lab.sms.default = ("slow", 0.02)
    replicas = await asyncio.gather(*(lab.replica() for _ in range(1 + lab.database.several)))
    lifted = time.monotonic()
    recovery = await lab.settled(lifted, 300.0)
    assert lab.sms.most_at_once <= _ROOM * len(replicas)
    if lab.database.kind != "citus":  # a shard of so few rows is read whole
        assert "hosted_session_due" in await lab.database.plan(_DUE)
    kept = {row["session_id"]: row["dispatch_state"] for row in await lab.database.rows()}
    assert {kept[case.session_id] for case, _ in late} == {"expired"}
    assert {kept[case.session_id] for case, _ in live} == {"sent"}
    figures = await lab.conclude()
    sent_to = {message.to for message in lab.wire.read()}
    assert not sent_to & {case.destination for case, _ in late}, "a code was sent late"
    return figures._replace(runs=len(lab.cases), recovery=recovery)
