"""Rows 1 and 2: processes that die, and processes that come back from the dead."""

from __future__ import annotations

import asyncio
import signal
import time
from functools import partial

from tests.faults import proxy
from tests.faults.lab import SHORT_LEASE, SWEEP_SECONDS, Door, Lab
from tests.faults.oracle import Answer, Case, Figures
from tests.faults.processes import PATIENCE_SECONDS, Replica, pause, until
from tests.faults.table import BOTH, POSTGRES, row

_AT_EACH_POINT = 8


@row(1, "kill -9 at each point of a send", BOTH, fast=1, full=25)
async def kill_at_each_point(lab: Lab, times: int) -> Figures:
    """Kills while sends are held at every point that can be reached; a run is one held send."""
    lab.settings["lease_seconds"] = "2"  # no lease may end before the kill
    lab.settings["database_pool_size"] = str(5 * _AT_EACH_POINT)  # most are held
    lab.settings["send_wait_seconds"] = str(lab.rng.choice((0.05, 2)))
    with_proxy = lab.database.several
    if with_proxy:
        await lab.proxied()
    replica = await lab.replica(proxied=with_proxy)
    runs, worst = 0, 0.0
    for _ in range(times):
        cases, calls = await _hold_at_each_point(lab, replica)
        await replica.kill()
        if lab.proxy is not None:
            lab.proxy.cut()
        await asyncio.gather(*calls)
        lab.sms.release()
        replica = await lab.replica(proxied=with_proxy)
        lifted = time.monotonic()
        door = lab.door(replica)
        assert all(answer.ok for answer in await asyncio.gather(*map(door.send, cases)))
        worst = max(worst, await lab.settled(lifted))
        await verify_twice(lab, lab.door(replica), cases)
        runs += len(cases)
    return (await lab.conclude())._replace(runs=runs, recovery=worst)


async def _hold_at_each_point(
    lab: Lab, replica: Replica
) -> tuple[list[Case], list[asyncio.Task[Answer]]]:
    door = lab.door(replica)
    count = _AT_EACH_POINT
    cases = await door.cases(count * (5 if lab.proxy else 2))
    calls: list[asyncio.Task[Answer]] = []

    def send(several: list[Case]) -> None:
        calls.extend(asyncio.create_task(door.send(case)) for case in several)

    claimed, accepted, before_commit, committed, unmarked = (
        cases[count * part : count * (part + 1)] for part in range(5)
    )
    for case in claimed:
        lab.sms.plan("hold_for_ever", to=case.destination)
    for case in accepted:
        lab.sms.plan("accept_and_hold", to=case.destination)
        case.ambiguities += 1
    send(claimed + accepted)
    await until(lambda: lab.sms.holding == 2 * count, PATIENCE_SECONDS, "the provider holds all")
    if lab.proxy is not None:
        committing = proxy.COMMIT if lab.database.kind == "citus" else proxy.CLAIM
        for several, marker, action in (
            (before_commit, proxy.CLAIM, "hold"),
            (committed, committing, "hold_reply"),
            (unmarked, proxy.SETTLE, "hold"),
        ):
            trap = lab.proxy.trap(marker, action, count)
            send(several)
            await until(
                lambda trap=trap: trap.sprung == count, PATIENCE_SECONDS, "the proxy holds all"
            )
        for case in unmarked:
            case.ambiguities += 1
    return cases, calls


@row(1, "kill -9 at random under load", BOTH, fast=1, full=60)
async def kill_at_random(lab: Lab, times: int) -> Figures:
    """Kills at seeded times; a run is one send that was unanswered at the kill."""
    lab.settings.update(SHORT_LEASE)
    replica = await lab.replica()
    runs, worst = 0, 0.0
    for _ in range(times):
        door = lab.door(replica)
        cases = await door.cases(24)
        for case in cases:
            lab.sms.plan(("slow", lab.rng.uniform(0, 0.05)), to=case.destination)
        calls = []
        for case in cases:
            calls.append(asyncio.create_task(door.send(case)))
            await asyncio.sleep(lab.rng.uniform(0, 0.004))
        await pause(lab.rng.uniform(0, 0.05))
        runs += sum(not call.done() for call in calls)
        for case in cases:  # what was answered just now may not be marked yet
            case.ambiguities += 1
        await replica.kill()
        await asyncio.gather(*calls)
        replica = await lab.replica()
        lifted = time.monotonic()
        assert all(a.ok for a in await asyncio.gather(*map(lab.door(replica).send, cases)))
        worst = max(worst, await lab.settled(lifted))
        await verify_twice(lab, lab.door(replica), cases)
    return (await lab.conclude())._replace(runs=runs, recovery=worst)


async def verify_twice(lab: Lab, door: Door, cases: list[Case]) -> None:
    """Asserts that every code that was sent is accepted, and only once (U5)."""

    async def twice(case: Case) -> None:
        code = lab.wire.to(case.destination)[-1].code
        assert (await door.verify(case, code)).satisfied
        assert (await door.verify(case, code)).already

    await asyncio.gather(*map(twice, cases))


@row(2, "SIGSTOP past the lease during a provider's call, SIGCONT", BOTH, fast=1, full=10)
async def stall_alone(lab: Lab, times: int) -> Figures:
    """There is no other worker: the call is not made again; a run is one call."""
    lab.settings.update(SHORT_LEASE)
    through = await lab.proxied() if lab.database.several else None
    replica = await lab.replica(proxied=through is not None)
    door = lab.door(replica)
    runs, worst = 0, 0.0
    for _ in range(times):
        cases = await door.cases(16)
        # Where it can be done, no lease is extended before the next sweep.
        trap = through and through.trap(proxy.EXTEND, "hold", 1000)
        calls = await _held(lab, door, cases)
        replica.signal(signal.SIGSTOP)
        await pause(1.2)
        replica.signal(signal.SIGCONT)
        await pause(SWEEP_SECONDS)
        lab.sms.release()
        if trap:
            trap.release()
        lifted = time.monotonic()
        await asyncio.gather(*calls)
        worst = max(worst, await lab.settled(lifted))
        runs += len(cases)
        await verify_twice(lab, door, cases)
    return (await lab.conclude())._replace(runs=runs, recovery=worst)


async def _held(lab: Lab, door: Door, cases: list[Case]) -> list[asyncio.Task[Answer]]:
    """Sends until the provider has them all, and holds them."""
    for case in cases:
        lab.sms.plan("hold", to=case.destination)
    calls = [asyncio.create_task(door.send(case)) for case in cases]
    await until(partial(_holding, lab, len(cases)), PATIENCE_SECONDS, "the provider holds all")
    return calls


def _holding(lab: Lab, count: int) -> bool:
    return lab.sms.holding == count


@row(2, "SIGSTOP past the lease, another takes over, SIGCONT", POSTGRES, fast=1, full=10)
async def stop_in_call(lab: Lab, times: int) -> Figures:
    """The provider takes the stopped worker's message late; a run is one such message."""
    lab.settings.update(SHORT_LEASE)
    stale, other = await asyncio.gather(lab.replica(), lab.replica())
    door = lab.door(stale)
    runs, worst = 0, 0.0
    for _ in range(times):
        cases = await door.cases(4)
        calls = await _held(lab, door, cases)
        for case in cases:
            case.ambiguities += 1
        stale.signal(signal.SIGSTOP)
        await lab.settled(time.monotonic())
        fences = {row["session_id"]: row["fence"] for row in await lab.database.rows()}
        lab.sms.release()
        stale.signal(signal.SIGCONT)
        lifted = time.monotonic()
        await asyncio.gather(*calls)
        await stale.idle()
        worst = max(worst, await lab.settled(lifted))
        after = {row["session_id"]: row["fence"] for row in await lab.database.rows()}
        assert after == fences, "the stale worker wrote something"
        runs += len(cases)
        await verify_twice(lab, lab.door(other), cases)
    assert len(stale.events("dispatch_fenced_off")) == runs
    return (await lab.conclude())._replace(runs=runs, recovery=worst)


@row(2, "SIGSTOP past the lease, SIGCONT while another is at it", POSTGRES, fast=1, full=10)
async def stale_result(lab: Lab, times: int) -> Figures:
    """The stopped worker's call is refused late: its result does not count; a run is one call."""
    lab.settings.update(SHORT_LEASE)
    stale, other = await asyncio.gather(lab.replica(), lab.replica())
    door = lab.door(stale)
    runs, worst = 0, 0.0
    for _ in range(times):
        cases = await door.cases(4)
        for case in cases:
            lab.sms.plan(("hold", 400), "hold", to=case.destination)
        calls = [asyncio.create_task(door.send(case)) for case in cases]
        await until(lambda: lab.sms.holding == 4, PATIENCE_SECONDS, "the provider holds all")
        stale.signal(signal.SIGSTOP)
        await until(lambda: lab.sms.holding == 8, PATIENCE_SECONDS, "the other one takes over")
        lab.sms.release(4)
        stale.signal(signal.SIGCONT)
        lifted = time.monotonic()
        await asyncio.gather(*calls)
        runs += len(cases)
        fenced_off = partial(stale.events, "dispatch_fenced_off")
        all_are = lambda fenced_off=fenced_off, runs=runs: len(fenced_off()) == runs  # noqa: E731
        await until(all_are, PATIENCE_SECONDS, "the stale process is fenced off")
        lab.sms.release()
        worst = max(worst, await lab.settled(lifted))
        kept = {row["session_id"]: row["dispatch_state"] for row in await lab.database.rows()}
        assert {kept[case.session_id] for case in cases} == {"sent"}
        await verify_twice(lab, lab.door(other), cases)
    return (await lab.conclude())._replace(runs=runs, recovery=worst)


@row(2, "SIGSTOP past the lease before a provider's call, SIGCONT", POSTGRES, fast=1, full=10)
async def stop_before_call(lab: Lab, times: int) -> Figures:
    """The worker is stopped while its claim's reply is under way: it must not send at all."""
    lab.settings.update(SHORT_LEASE)
    through = await lab.proxied()
    stale, other = await asyncio.gather(lab.replica(proxied=True), lab.replica())
    door = lab.door(stale)
    runs, worst = 0, 0.0
    for _ in range(times):
        cases = await door.cases(4)
        trap = through.trap(proxy.CLAIM, "hold_reply", len(cases))
        calls = [asyncio.create_task(door.send(case)) for case in cases]
        await until(lambda trap=trap: trap.sprung == 4, PATIENCE_SECONDS, "claims are held")
        stale.signal(signal.SIGSTOP)
        trap.release()
        await lab.settled(time.monotonic())
        stale.signal(signal.SIGCONT)
        lifted = time.monotonic()
        await asyncio.gather(*calls)
        await stale.idle()
        worst = max(worst, await lab.settled(lifted))
        runs += len(cases)
        await verify_twice(lab, lab.door(other), cases)
    return (await lab.conclude())._replace(runs=runs, recovery=worst)
