"""Row 25: verifications that are broken off, and repeated by their `request_id`."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from tests.faults import proxy
from tests.faults.lab import Door, Lab
from tests.faults.oracle import Answer, Case, Figures
from tests.faults.processes import PATIENCE_SECONDS, until
from tests.faults.relay import Relay
from tests.faults.rows_database import own_cluster
from tests.faults.table import BOTH, row

_PAYMENTS = 1000
_AT_ONCE = {"sqlite": (40, 240), "postgresql": (20, 120)}
"""Verifications that one break meets, in small and in full; on PostgreSQL each has a connection."""
_QUESTIONS = ("wrong", "wrong", "right", "confirm", "confirm")
_AGAIN = ("UNAVAILABLE", "DEADLINE_EXCEEDED")


class _Break(NamedTuple):
    """What ends, and where a verification is by then."""

    what: str
    """The caller's connection, the `network` to the database, the process, or the database."""
    point: str
    """A statement; anywhere where nothing stands between the process and its file."""
    after: bool
    """The statement has taken effect; its answer is lost."""


_BREAKS = {
    "sqlite": [_Break(what, "anywhere", False) for what in ("caller", "process")],
    "postgresql": [
        _Break(what, point, after) for what in ("caller", "network", "process", "database")
        for point in ("read", "handled", "written") for after in (False, True)
    ],
}  # fmt: skip


@row(25, "verify broken off at each point, then repeated by its id", BOTH, fast=72, full=10_000,
     slow=True)  # fmt: skip
async def verify_repeated(lab: Lab, times: int) -> Figures:
    """The repeat answers as the first would have, and one attempt is counted; a run is one."""
    at_once = _AT_ONCE[lab.database.kind][times > 1000]
    lab.settings.update(
        satisfaction_payments=str(_PAYMENTS), account_sessions_per_hour="0",
        database_pool_size=str(at_once + 4),
    )  # fmt: skip
    runs, lost, worst = 0, 0, 0.0
    breaker = await _Breaker(lab).start()
    while runs < times:
        cases = await breaker.door.cases(at_once)
        assert all(a.ok for a in await asyncio.gather(*map(breaker.door.send, cases)))
        await lab.settled(time.monotonic())  # however long that takes at once
        codes = {case: lab.wire.to(case.destination)[-1].code for case in cases}
        for number, question in enumerate(_QUESTIONS):
            asked = [(case, _response(question, codes[case]), f"r-{number}") for case in cases]
            answers = await breaker.broken(question, asked)
            lifted = time.monotonic()
            repeats = await asyncio.gather(*(_until_answered(breaker.door, *a) for a in asked))
            worst = max(worst, time.monotonic() - lifted)
            runs += sum(answer.status in _AGAIN for answer in answers)
            lost += sum(not _is_answer_to(question, answer) for answer in repeats)
        kept = {kept["session_id"]: kept for kept in await lab.database.rows()}
        lost += sum(not _counted_once(kept[case.session_id]) for case in cases)
    figures = await lab.conclude()
    return figures._replace(runs=runs, lost=figures.lost + lost, recovery=worst)


_Asked = tuple[Case, str, str]
"""A session, the payer's response and the request's id."""


class _Breaker:
    """Breaks verifications off; `door` leads to what serves."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        breaks = list(_BREAKS[lab.database.kind])
        lab.rng.shuffle(breaks)
        self._breaks = itertools.cycle(breaks)
        self._relay = Relay()

    async def start(self) -> _Breaker:
        """Starts what is to be broken."""
        if self._lab.database.several:
            await own_cluster(self._lab)
            await self._lab.proxied()
        self._relay = await self._lab.relayed()
        self.door = self._lab.door_to(self._relay.target)
        await self._restart()
        return self

    async def broken(self, question: str, asked: list[_Asked]) -> list[Answer]:
        """Asks all at once, and breaks it off; gives how the calls ended."""
        how = next(self._breaks)
        trap = self._trap(how, question, len(asked))
        calls = asyncio.create_task(self._ask(asked))
        if trap is not None:
            reached = f"all are held or cut, {how}"
            await until(lambda: trap.sprung == len(asked), PATIENCE_SECONDS, reached)
        else:
            await asyncio.sleep(self._lab.rng.uniform(0, 0.001 * len(asked)))
        match how.what:
            case "caller":
                self._relay.cut()
            case "process":
                await self._replica.kill()
                if self._lab.proxy is not None:
                    self._lab.proxy.cut()
            case "database":
                await self._lab.database.cluster.stop()
        if trap is not None:
            trap.release()
        answers = await calls
        match how.what:
            case "process":
                await self._restart()
            case "database":
                await self._lab.database.cluster.start()
        return answers

    def _trap(self, how: _Break, question: str, count: int) -> proxy.Trap | None:
        if self._lab.proxy is None:
            return None
        marker = {"read": proxy.READ, "handled": proxy.HANDLED}.get(how.point) or (
            proxy.CONFIRM if question == "confirm" else proxy.ANSWER
        )
        action = "cut" if how.what == "network" else "hold"
        return self._lab.proxy.trap(marker, f"{action}_reply" if how.after else action, count)

    async def _ask(self, asked: list[_Asked]) -> list[Answer]:
        return await asyncio.gather(*(self.door.ask(*each) for each in asked))

    async def _restart(self) -> None:
        self._replica = await self._lab.replica(proxied=self._lab.proxy is not None)
        self._relay.lead_to(self._replica.target)


def _response(question: str, code: str) -> str:
    wrong = f"{(int(code) + 1) % 1_000_000:06}"
    return {"wrong": wrong, "right": code, "confirm": ""}[question]


async def _until_answered(door: Door, *asked: str | Case) -> Answer:
    ask: Callable[..., Awaitable[Answer]] = door.ask
    while (answer := await ask(*asked)).status in _AGAIN:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    return answer


def _is_answer_to(question: str, answer: Answer) -> bool:
    match question:
        case "wrong":
            return answer.text.startswith("That code is not right")
        case "right":
            return answer.satisfied
        case _:
            return answer.already


def _counted_once(kept: dict[str, object]) -> bool:
    confirmed = 1 + _QUESTIONS.count("confirm")
    counted = (kept["wrong_code"], kept["wrong_total"], kept["confirms_left"])
    wrong = _QUESTIONS.count("wrong")
    return counted == (wrong, wrong, _PAYMENTS - confirmed)
