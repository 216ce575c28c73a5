"""Row 15: what operators do, and what they do in a hurry."""

from __future__ import annotations

import asyncio
import signal
import time
from functools import partial

from tests.faults.edge import Edge
from tests.faults.lab import Door, Lab
from tests.faults.load import load
from tests.faults.oracle import Figures
from tests.faults.processes import PATIENCE_SECONDS, Replica, pause, until
from tests.faults.table import BOTH, POSTGRES, row
from tests.harness.ports import free_port


async def _replicas(lab: Lab) -> tuple[list[int], list[Replica]]:
    ports = [free_port() for _ in range(2 if lab.database.several else 1)]
    return ports, await asyncio.gather(*(_on(lab, port) for port in ports))


async def _on(lab: Lab, port: int) -> Replica:
    return await lab.replica(grpc_listen=f"127.0.0.1:{port}")


async def _roll(lab: Lab, door: Door, times: int, ports: list[int], running: list[Replica]) -> None:
    """Replaces one replica after the other, while payers come; no call may fail."""
    async with load(lab, door, payers=6) as done:
        for turn in range(2 * times):
            served = len(done)
            await until(
                lambda served=served: len(done) > served + 10, PATIENCE_SECONDS, "payers are served"
            )
            place = turn % 2
            await running[place].stop()
            running[place] = await _on(lab, ports[place])
            # The next one only goes when this one is in use again.
            await until(
                partial(running[place].events, "call"), PATIENCE_SECONDS, "calls reach the new one"
            )
    failed = [answer for answer in lab.answers if not answer.ok]
    assert not failed, f"{len(failed)} calls failed: {failed[:2]}"


@row(
    15,
    "rolling restart of two replicas behind Envoy, under load",
    POSTGRES,
    fast=1,
    full=10,
    slow=True,
)
async def rolling_restart(lab: Lab, times: int) -> Figures:
    """No call fails; a run is one replica replaced."""
    ports, running = await _replicas(lab)
    edge = await Edge(lab.directory, ports).start()
    try:
        await _roll(lab, lab.door_to(f"127.0.0.1:{edge.port}"), times, ports, running)
        recovery = await lab.settled(time.monotonic())
    finally:
        edge.end()
    return (await lab.conclude())._replace(runs=2 * times, recovery=recovery)


@row(15, "rolling restart of two replicas, called directly", POSTGRES, fast=0, full=10)
async def rolling_restart_direct(lab: Lab, times: int) -> Figures:
    """No call fails for clients that watch health; a run is one replica replaced."""
    ports, running = await _replicas(lab)
    await _roll(lab, lab.door(*running), times, ports, running)
    recovery = await lab.settled(time.monotonic())
    return (await lab.conclude())._replace(runs=2 * times, recovery=recovery)


@row(15, "SIGTERM with calls under way", BOTH, fast=1, full=10, slow=True)
async def sigterm(lab: Lab, times: int) -> Figures:
    """Every call under way is answered, every delivery ends; a run is one call."""
    # A busy machine is far from both, on either side.
    lab.settings.update(send_wait_seconds="5", drain_seconds="10")
    runs = 0
    for _ in range(times):
        replica = await lab.replica()
        door = lab.door(replica)
        cases = await door.cases(16)
        quick, lasting = cases[:8], cases[8:]
        for case in quick:  # shorter than Send waits
            lab.sms.plan(("slow", lab.rng.uniform(1.2, 1.6)), to=case.destination)
        for case in lasting:  # longer than Send waits
            lab.sms.plan(("slow", lab.rng.uniform(6.5, 7.0)), to=case.destination)
        calls = [asyncio.create_task(door.send(case)) for case in cases]
        await until(lambda: lab.sms.at_once == 16, PATIENCE_SECONDS, "the provider has all")
        replica.signal(signal.SIGTERM)
        answers = await asyncio.gather(*calls)
        assert all(answer.ok for answer in answers), answers
        assert [answer.sent for answer in answers] == [True] * 8 + [False] * 8
        await replica.stopped()
        kept = {row["session_id"]: row["dispatch_state"] for row in await lab.database.rows()}
        assert {kept[case.session_id] for case in cases} == {"sent"}
        runs += len(cases)
    await lab.replica()
    return (await lab.conclude())._replace(runs=runs)


@row(15, "kill -9 of Envoy under load, and start", BOTH, fast=1, full=10)
async def edge_killed(lab: Lab, times: int) -> Figures:
    """Payers try again and nothing is sent twice; a run is one kill."""
    ports, _ = await _replicas(lab)
    edge = await Edge(lab.directory, ports).start()
    worst = 0.0
    try:
        door = lab.door_to(f"127.0.0.1:{edge.port}")
        async with load(lab, door, payers=8) as done:
            for _ in range(times):
                served = len(done)
                await until(
                    lambda served=served: len(done) > served + 10, PATIENCE_SECONDS, "payers served"
                )
                await pause(lab.rng.uniform(0, 0.1))
                await edge.kill()
                await edge.start()
                lifted, served = time.monotonic(), len(done)
                await until(
                    lambda served=served: len(done) > served + 8, PATIENCE_SECONDS, "payers served"
                )
                worst = max(worst, time.monotonic() - lifted)
        await lab.settled(time.monotonic())
    finally:
        edge.end()
    return (await lab.conclude())._replace(runs=times, recovery=worst)
