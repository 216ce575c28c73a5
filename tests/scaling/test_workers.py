"""`challenge serve --workers N`: a shared port, dead workers replaced, all drained together."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import psutil

from tests.faults.edge import Edge
from tests.faults.lab import Lab
from tests.faults.load import load
from tests.faults.oracle import Case
from tests.faults.processes import Replica, until
from tests.faults.rows_database import own_cluster
from tests.harness.ports import free_port
from tests.harness.timing import eventually
from tests.telemetry.process import samples, scraped, value

CONNECTIONS = 12
"""Which worker gets one is the kernel's choice; a test opens more until both have some."""


def workers_of(replica: Replica) -> list[psutil.Process]:
    return psutil.Process(replica.pid).children()


def served_by(worker: psutil.Process, replica: Replica) -> int:
    """Counts the connections of callers that a worker has."""
    port = int(replica.target.split(":")[1])
    return sum(
        one.status == psutil.CONN_ESTABLISHED and one.laddr.port == port
        for one in worker.net_connections("tcp")
    )


def woken(pid: int) -> int:
    """Counts how often threads of gRPC's pool have gone back to sleep."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):  # it has ended meanwhile
            if (task / "comm").read_text() == "event_engine\n":
                status = (task / "status").read_text()
                [count] = re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.MULTILINE)
                total += int(count)
    return total


@asynccontextmanager
async def payers(lab: Lab, replica: Replica) -> AsyncIterator[list[list[Case]]]:
    """Lets payers come, each over a connection of its own; both workers have some."""
    async with AsyncExitStack() as stack:
        done: list[list[Case]] = []
        while len(done) < CONNECTIONS or not all(
            served_by(worker, replica) for worker in workers_of(replica)
        ):
            assert len(done) < 4 * CONNECTIONS, "one worker gets all connections"
            done.append(await stack.enter_async_context(load(lab, lab.door(replica), payers=1)))
            await until(lambda: len(done[-1]) > 0, 20.0, "a payer is served")
        yield done


async def test_connections_are_spread_over_the_workers(lab: Lab) -> None:
    replica = await lab.replica(workers=2)
    async with payers(lab, replica) as done:
        counts = [served_by(worker, replica) for worker in workers_of(replica)]
        assert len(counts) == 2
        assert sum(counts) == len(done)
    await replica.stop()


async def test_no_thread_interrupts_another_when_it_wakes(lab: Lab) -> None:
    replica = await lab.replica(workers=2)
    threads = [thread.id for worker in workers_of(replica) for thread in worker.threads()]
    assert len(threads) > 4, "gRPC has threads of its own"
    assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_BATCH}
    await replica.stop()


async def test_grpcs_pool_of_threads_rests_while_calls_are_answered(lab: Lab) -> None:
    replica = await lab.replica()
    door = lab.door(replica)
    [case] = await door.cases(1)
    await door.send(case)
    before, began = woken(replica.pid), time.monotonic()
    for _ in range(200):
        assert (await door.send(case)).ok
    # Otherwise three times a call; one of them wakes by itself, up to 66 times a second.
    assert before > 0, "there are none of that name"
    assert woken(replica.pid) - before < 200 + 66 * (time.monotonic() - began)
    await replica.stop()


async def test_a_killed_worker_costs_its_own_calls_and_is_replaced(lab: Lab) -> None:
    replica = await lab.replica(workers=2)
    async with payers(lab, replica) as done:
        victim = workers_of(replica)[0]
        before = served_by(victim, replica)
        for case in lab.cases:  # its provider may have accepted what it could not write down
            case.ambiguities += 1
        victim.kill()
        await until(lambda: bool(replica.events("worker_replaced")), 20.0, "it is replaced")
        served = [len(each) for each in done]
        await until(
            lambda: all(len(each) > n + 2 for each, n in zip(done, served, strict=True)),
            30.0,
            "every payer is served again",
        )
    failed = [answer for answer in lab.answers if not answer.ok]
    assert {answer.status for answer in failed} <= {"UNAVAILABLE"}, failed[:2]
    assert len(failed) <= before
    [died] = replica.events("worker_died")
    assert (died["pid"], died["status"]) == (victim.pid, -signal.SIGKILL)
    assert len(workers_of(replica)) == 2
    await lab.settled(time.monotonic())
    await replica.stop()
    figures = await lab.conclude()
    assert figures.lost == figures.unexpected == 0


async def test_the_metrics_of_all_workers_are_served_by_their_supervisor(lab: Lab) -> None:
    replica = await lab.replica(workers=2, metrics_listen="127.0.0.1:0", database_pool_size="3")
    [served] = replica.events("metrics_served")
    found: dict[str, float | None] = {}

    async def shows(opened: int, connections: int) -> bool:
        now = samples(await scraped(f"http://127.0.0.1:{served['port']}/metrics"))
        found["opened"] = value(
            now, "challenge_call_duration_seconds_count", rpc="OpenSession", code="OK"
        )
        found["connections"] = value(now, "challenge_database_connections")
        return found == {"opened": opened, "connections": connections}

    for _ in range(3):
        await lab.door(replica).case()
    await eventually(lambda: shows(3, 6), 20)
    workers_of(replica)[0].kill()
    await until(lambda: bool(replica.events("worker_replaced")), 20.0, "it is replaced")
    await eventually(lambda: shows(3, 6), 20)  # the dead one's calls still count, not its gauges
    await replica.stop()


async def test_no_call_fails_when_a_replica_of_several_workers_goes(lab: Lab) -> None:
    ports = [free_port(), free_port()]
    both = await asyncio.gather(
        *(lab.replica(workers=2, grpc_listen=f"127.0.0.1:{port}") for port in ports)
    )
    edge = await Edge(lab.directory, ports).start()
    try:
        door = lab.door_to(f"127.0.0.1:{edge.port}")
        async with load(lab, door, payers=6) as done:
            await until(lambda: len(done) > 20, 20.0, "payers are served")
            assert all(replica.events("call") for replica in both)
            await both[0].stop()  # every worker has drained, or its status is not 0
            served = len(done)
            await until(lambda: len(done) > served + 10, 20.0, "payers are served by the other")
    finally:
        edge.end()
    assert not [answer for answer in lab.answers if not answer.ok]
    await lab.settled(time.monotonic())
    await both[1].stop()
    figures = await lab.conclude()
    assert figures.lost == figures.unexpected == figures.duplicated == 0


async def test_workers_drain_when_their_supervisor_is_killed(lab: Lab) -> None:
    replica = await lab.replica(workers=2)
    door = lab.door(replica)
    case = await door.case()
    lab.sms.plan("hold", to=case.destination)
    call = asyncio.create_task(door.send(case))
    await until(lambda: lab.sms.holding == 1, 10.0, "the provider has it")
    workers = workers_of(replica)

    await replica.kill()

    try:
        await until(lambda: len(replica.events("draining")) == 2, 10.0, "both drain")
        lab.sms.release()
        assert (await call).ok
        await until(lambda: not any(map(psutil.Process.is_running, workers)), 20.0, "both end")
    finally:
        for worker in workers:  # nobody else would
            with suppress(psutil.NoSuchProcess):
                worker.kill()


async def test_a_worker_is_replaced_once_the_database_is_back(lab: Lab) -> None:
    database = await own_cluster(lab)
    replica = await lab.replica(workers=2)
    await database.cluster.stop("immediate")
    os.kill(workers_of(replica)[0].pid, signal.SIGKILL)
    await until(lambda: len(replica.events("worker_died")) > 1, 20.0, "it is tried in vain")
    assert not replica.events("worker_replaced")
    await database.cluster.start()
    await until(lambda: bool(replica.events("worker_replaced")), 30.0, "it is replaced")
    await replica.stop()
