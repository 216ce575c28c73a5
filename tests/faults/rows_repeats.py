"""Row 25: verifications that are broken off, and repeated by their `request_id`."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple

from tests.faults import proxy
from tests.faults.lab import Door, Lab
from tests.faults.oracle import Answer, Case, Figures
from tests.faults.processes import Replica, until
from tests.faults.rows_database import own_cluster
from tests.faults.table import BOTH, row

_CONFIRMS = 1000
_AT_ONCE = {"sqlite": (40, 240), "postgresql": (20, 60)}
"""Verifications, in small and in full; those on PostgreSQL are held over as many connections."""
_QUESTIONS = ("wrong", "wrong", "right", "confirm", "confirm")
_AGAIN = ("UNAVAILABLE", "DEADLINE_EXCEEDED")


class _Break(NamedTuple):
    """What ends, and where a verification is by then."""

    what: str
    point: str
    after: bool
    """The statement has taken effect; its answer is lost."""


_POINTS = ("read", "handled", "written")
_EACH = [_Break(what, point, after) for what in ("network", "process", "database")
         for point in _POINTS for after in (False, True)]  # fmt: skip
_MOSTLY = [one for one in _EACH if one.what == "network"] * 8 + _EACH
"""Where each break is to be tried often: a process takes its time to start."""


@row(25, "verify broken off at each point, then repeated by its id", BOTH, fast=72, full=10_000,
     slow=True)  # fmt: skip
async def verify_repeated(lab: Lab, times: int) -> Figures:
    """The repeat answers as the first would have, and one attempt is counted; a run is one."""
    in_full = times > 1000
    at_once = _AT_ONCE[lab.database.kind][in_full]
    lab.settings.update(
        satisfaction_confirms=str(_CONFIRMS), account_sessions_per_hour="0",
        database_pool_size=str(at_once + 4),
    )  # fmt: skip
    runs, lost, worst = 0, 0, 0.0
    breaker = await _breaker(lab, often=in_full)
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

    def __init__(
        self, lab: Lab, replica: Replica, breaks: Iterator[_Break], through: proxy.Proxy | None
    ) -> None:
        self._lab = lab
        self._replica = replica
        self._breaks = breaks
        self._through = through
        self.door = lab.door(replica)

    async def broken(self, question: str, asked: list[_Asked]) -> list[Answer]:
        """Asks all at once, and breaks it off; gives how the calls ended."""
        if self._through is None:
            return await self._killed(asked)
        how = next(self._breaks)
        marker = {"read": proxy.READ, "handled": proxy.HANDLED}.get(how.point) or (
            proxy.CONFIRM if question == "confirm" else proxy.ANSWER
        )
        if how.what == "network":
            trap = self._through.trap(marker, "cut_reply" if how.after else "cut", len(asked))
            answers = await self._ask(asked)
            trap.release()
            return answers
        action: proxy.Action = "hold_reply" if how.after else "hold"
        trap = self._through.trap(marker, action, len(asked))
        calls = asyncio.create_task(self._ask(asked))
        await until(lambda: trap.sprung == len(asked), 10.0, f"all are held, {how}")
        await (self._kill() if how.what == "process" else self._lab.database.cluster.stop())
        trap.release()
        answers = await calls
        await (self._restart() if how.what == "process" else self._lab.database.cluster.start())
        return answers

    async def _killed(self, asked: list[_Asked]) -> list[Answer]:
        """Kills the process anywhere: nothing stands between it and its file."""
        calls = asyncio.create_task(self._ask(asked))
        await asyncio.sleep(self._lab.rng.uniform(0, 0.001 * len(asked)))
        await self._kill()
        answers = await calls
        await self._restart()
        return answers

    async def _ask(self, asked: list[_Asked]) -> list[Answer]:
        return await asyncio.gather(*(self.door.ask(*each) for each in asked))

    async def _kill(self) -> None:
        await self._replica.kill()
        if self._through is not None:
            self._through.cut()

    async def _restart(self) -> None:
        self._replica = await self._lab.replica(proxied=self._through is not None)
        self.door = self._lab.door(self._replica)


async def _breaker(lab: Lab, *, often: bool) -> _Breaker:
    through = None
    if lab.database.several:
        await own_cluster(lab)
        through = await lab.proxied()
    breaks = list(_MOSTLY if often else _EACH)
    lab.rng.shuffle(breaks)
    replica = await lab.replica(proxied=through is not None)
    return _Breaker(lab, replica, itertools.cycle(breaks), through)


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
    return counted == (wrong, wrong, _CONFIRMS - confirmed)
