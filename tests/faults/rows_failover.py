"""Row 24: the primary fails, and its synchronous standby is promoted.

Recovery is measured from the fault on; the time until the promotion is part of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.serving.readiness import LIVENESS
from tests.faults.clusters import Pair
from tests.faults.databases import PairDatabase
from tests.faults.lab import Lab
from tests.faults.load import load
from tests.faults.oracle import Figures
from tests.faults.processes import Replica, pause, until
from tests.faults.table import POSTGRES, row
from tests.scaling import pgbouncer

SERVED_AGAIN_SECONDS = 10.0
SEEN_SECONDS = 7.0
"""How long replicas that cannot write may say that they are ready: all hosts hang, at worst."""
_PROMOTED_AFTER_SECONDS = 1.0
_TOO_EARLY_SECONDS = 3.0
"""How long before its promotion the standby is reached."""
_READ_ONLY = ("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")

Step = Callable[[], Awaitable[Any]]


@row(24, "primary killed, standby promoted", POSTGRES, fast=1, full=10, slow=True)
async def primary_killed(lab: Lab, times: int) -> Figures:
    """A run is one failover, here and below."""
    database = await _pair(lab)

    async def fault() -> None:
        await asyncio.to_thread(database.cluster.kill)

    return await _fail_over(lab, times, await _two(lab), fault, database.switch)


@row(24, "primary stopped by SIGSTOP, standby promoted", POSTGRES, fast=1, full=10, slow=True)
async def primary_stopped(lab: Lab, times: int) -> Figures:
    """It goes on when the other is the primary already."""
    database = await _pair(lab)

    async def fault() -> None:
        database.cluster.freeze()

    return await _fail_over(lab, times, await _two(lab), fault, database.switch)


@row(24, "primary made read-only, its sessions open", POSTGRES, fast=1, full=10, slow=True)
async def primary_read_only(lab: Lab, times: int) -> Figures:
    """It lives on as if nothing was."""
    database = await _pair(lab)

    async def fault() -> None:
        await database.cluster.execute(*_READ_ONLY)

    return await _fail_over(lab, times, await _two(lab), fault, database.switch)


@row(24, "one address, led to the standby too early", POSTGRES, fast=1, full=10, slow=True)
async def reconnected_too_early(lab: Lab, times: int) -> Figures:
    """Replicas live, say that they are not ready, and then that they are again."""
    database = await _pair(lab)
    address = await lab.proxied()
    replicas = await _two(lab, proxied=True)

    async def fault() -> None:
        address.lead_to(database.pair.standby.socket)
        await asyncio.to_thread(database.cluster.kill)
        for replica in replicas:
            await _says(lab, replica, ready=False)
        await pause(_TOO_EARLY_SECONDS)

    return await _fail_over(lab, times, replicas, fault, database.switch)


@row(24, "PgBouncer led to the standby, server_login_retry=1", POSTGRES, fast=1, full=10, slow=True)
async def through_pgbouncer(lab: Lab, times: int) -> Figures:
    """It is led there after the promotion, by a new configuration."""
    program = pgbouncer.require()
    database = await _pair(lab)
    uri = database.cluster.uri(database.name)
    with pgbouncer.running(program, uri, "server_login_retry = 1\n") as through:
        replicas = await _two(lab, database_url=through.url)

        async def fault() -> None:
            await asyncio.to_thread(database.cluster.kill)

        async def switch() -> None:
            await database.switch()
            through.lead_to(database.cluster.uri(database.name))

        return await _fail_over(lab, times, replicas, fault, switch)


async def _pair(lab: Lab) -> PairDatabase:
    """Moves the lab to a primary and a standby of its own."""
    await lab.database.drop()
    pair = await asyncio.to_thread(Pair, lab.directory.parent / "pair")
    database = PairDatabase(pair)
    lab.database = database
    await database.prepare()
    return database


async def _two(lab: Lab, **options: Any) -> list[Replica]:
    return list(await asyncio.gather(lab.replica(**options), lab.replica(**options)))


async def _fail_over(
    lab: Lab, times: int, replicas: list[Replica], fault: Step, switch: Step
) -> Figures:
    """Has the primary fail and the standby take its place under load, again and again."""
    database = lab.database
    worst = 0.0
    async with load(lab, lab.door(*replicas), payers=8) as done:

        async def served(more: int) -> None:
            at = len(done)
            await until(lambda: len(done) > at + more, 20.0, "payers are served")

        for number in range(times):
            if number:
                await database.pair.rejoin()
            await served(20)
            began = time.monotonic()
            await fault()
            await pause(_PROMOTED_AFTER_SECONDS)
            await switch()
            await served(8)
            worst = max(worst, time.monotonic() - began)
            for replica in replicas:
                await _says(lab, replica, ready=True)
            database.pair.standby.thaw()  # where it is frozen: as far as it knows nothing was
            await served(20)
    assert worst < SERVED_AGAIN_SECONDS, f"served again after {worst:.1f} s"
    allowed = {"OK", "UNAVAILABLE", "DEADLINE_EXCEEDED", "FAILED_PRECONDITION"}
    statuses = {answer.status for answer in lab.answers}
    assert statuses <= allowed, statuses
    await lab.settled(time.monotonic())
    satisfied = {r["session_id"] for r in await database.rows() if r["satisfied_at"]}
    assert {case.session_id for case in lab.cases if case.satisfied} <= satisfied
    return (await lab.conclude())._replace(runs=times, recovery=worst)


async def _says(lab: Lab, replica: Replica, *, ready: bool) -> None:
    """Waits until a replica's health service says so; it lives all the time."""
    door = lab.door(replica)
    health = health_pb2_grpc.HealthStub(door.channel)
    said = health_pb2.HealthCheckResponse
    alive = await health.Check(health_pb2.HealthCheckRequest(service=LIVENESS), timeout=5)
    assert alive.status == said.SERVING
    wanted = said.SERVING if ready else said.NOT_SERVING
    async with asyncio.timeout(SEEN_SECONDS):
        async for answer in health.Watch(health_pb2.HealthCheckRequest()):
            if answer.status == wanted:
                return
