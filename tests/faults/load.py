"""Payers in numbers: they open, send and verify, and try again when told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from tests.faults.lab import Door, Lab
from tests.faults.oracle import Answer, Case
from tests.faults.processes import until

_AGAIN = ("UNAVAILABLE", "DEADLINE_EXCEEDED")


@asynccontextmanager
async def load(lab: Lab, door: Door, payers: int) -> AsyncIterator[list[Case]]:
    """Lets payers come as long as the block runs; gives the sessions that are done."""
    done: list[Case] = []
    stop = asyncio.Event()

    async def payer() -> None:
        while not stop.is_set():
            case = await door.case()
            await send_until_answered(door, case)
            # Outages may follow each other, and sweeps wait after each.
            await until(partial(lab.wire.to, case.destination), 90.0, "the code comes")
            await verify_until_answered(door, case, lab.wire.to(case.destination)[-1].code)
            done.append(case)

    tasks = [asyncio.create_task(payer()) for _ in range(payers)]
    try:
        yield done
    finally:
        stop.set()
        async with asyncio.timeout(30):
            await asyncio.gather(*tasks)


async def _again(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """Makes a call until the service can be reached."""
    while (answer := await call()).status in _AGAIN:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    return answer


async def send_until_answered(door: Door, case: Case) -> None:
    answer = await _again(lambda: door.send(case))
    assert answer.ok, answer


async def verify_until_answered(door: Door, case: Case, code: str) -> None:
    answer = await _again(lambda: door.verify(case, code))
    # The answer to an earlier one may have been lost after it was counted.
    assert answer.satisfied or (len(case.verifies) > 1 and answer.already), answer
