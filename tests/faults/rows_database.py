"""Rows 6, 7 and 11: the database stops, cannot be reached, or is full."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.faults import proxy
from tests.faults.clusters import small_cluster
from tests.faults.databases import PostgresDatabase, SmallDisk
from tests.faults.lab import SHORT_LEASE, Door, Lab
from tests.faults.load import load
from tests.faults.oracle import Case, Figures
from tests.faults.processes import pause, until
from tests.faults.table import BOTH, POSTGRES, row

SERVER_CAP_SECONDS = 10.0
"""What no call takes longer than, whatever its caller allows."""


async def own_cluster(lab: Lab, directory_name: str = "cluster") -> PostgresDatabase:
    """Moves the lab to a PostgreSQL that no other row uses."""
    await lab.database.drop()
    cluster = await asyncio.to_thread(small_cluster, lab.directory.parent / directory_name)
    database = PostgresDatabase(cluster, own=True)
    await database.prepare()
    lab.database = database
    return database


@row(
    6,
    "PostgreSQL stopped with -m immediate under load, and started",
    POSTGRES,
    fast=1,
    full=10,
    slow=True,
)
async def database_restarts(lab: Lab, times: int) -> Figures:
    """Calls fail with UNAVAILABLE only; a run is one stop."""
    lab.settings["lease_seconds"] = "3"  # some outages are longer, some are not
    database = await own_cluster(lab)
    replicas = await asyncio.gather(lab.replica(), lab.replica())
    door = lab.door(*replicas)
    worst = 0.0
    async with load(lab, door, payers=8) as done:
        for number in range(times):
            before = len(done)
            await until(lambda before=before: len(done) > before + 20, 20.0, "payers are served")
            calls = []
            for each in map(lab.door, replicas):  # the provider has these when the database goes
                cases = await each.cases(4)
                for case in cases:
                    lab.sms.plan("hold", to=case.destination)
                calls += [asyncio.create_task(each.send(case)) for case in cases]
            await until(lambda: lab.sms.holding == 8, 10.0, "the provider holds all")
            await database.cluster.stop("immediate")
            lab.sms.release()
            await pause(4.0 if number == 0 else lab.rng.uniform(0.2, 4.0))
            await database.cluster.start()
            lifted, at = time.monotonic(), len(done)
            await until(lambda at=at: len(done) > at + 8, 20.0, "payers are served again")
            worst = max(worst, time.monotonic() - lifted)
            assert all(answer.ok for answer in await asyncio.gather(*calls))
    statuses = {answer.status for answer in lab.answers}
    assert statuses <= {"OK", "UNAVAILABLE", "FAILED_PRECONDITION"}, statuses
    worst = max(worst, await lab.settled(time.monotonic()))
    satisfied = {r["session_id"] for r in await database.rows() if r["satisfied_at"]}
    assert {case.session_id for case in lab.cases if case.satisfied} <= satisfied
    return (await lab.conclude())._replace(runs=times, recovery=worst)


@row(7, "connection cut before or after the reply to a commit", POSTGRES, fast=1, full=20)
async def connection_cut(lab: Lab, times: int) -> Figures:
    """What was committed counts once, what was not does not; a run is one cut."""
    lab.settings.update(SHORT_LEASE)
    through = await lab.proxied()
    replica = await lab.replica(proxied=True)
    door = lab.door(replica)
    runs, worst = 0, 0.0
    for _ in range(times):
        cases: dict[str, Case] = {}
        for action in ("cut", "cut_reply"):
            committed = action == "cut_reply"
            # A claim.
            case = cases[f"claim {action}"] = await door.case()
            assert (await _cut(through, proxy.CLAIM, action, door.send(case))) == "UNAVAILABLE"
            assert (await _kept(lab, case))["sends"] == committed
            assert (await door.send(case)).ok
            # How a try ended.
            case = cases[f"settle {action}"] = await door.case()
            assert (await _cut(through, proxy.SETTLE, action, door.send(case))) == "OK"
            # A wrong answer, then the right one.
            case = await door.case()
            assert (await door.send(case)).sent
            await lab.settled(time.monotonic())  # or the settlement comes between read and answer
            code = lab.wire.to(case.destination)[-1].code
            wrong = f"{(int(code) + 1) % 1_000_000:06}"
            status = await _cut(through, proxy.ANSWER, action, door.verify(case, wrong))
            assert status == "UNAVAILABLE"
            assert (await _kept(lab, case))["wrong_total"] == committed
            status = await _cut(through, proxy.ANSWER, action, door.verify(case, code))
            assert status == "UNAVAILABLE"
            again = await door.verify(case, code)
            assert again.already if committed else again.satisfied
            assert (await _kept(lab, case))["challenge_state"] == "satisfied"
            runs += 4
        lifted = time.monotonic()
        worst = max(worst, await lab.settled(lifted))
        for name, case in cases.items():
            assert len(lab.wire.to(case.destination)) == 1, name
            attempts = await lab.database.rows("attempt")
            counted = sum(attempt["session_id"] == case.session_id for attempt in attempts)
            assert counted == 1, f"{name}: {counted} rows in the ledger"
    return (await lab.conclude())._replace(runs=runs, recovery=worst)


async def _cut(through: proxy.Proxy, marker: str, action: proxy.Action, call) -> str:
    trap = through.trap(marker, action)
    answer = await call
    await until(lambda: trap.sprung == 1, 5.0, "the statement is cut")
    status: str = answer.status
    return status


async def _kept(lab: Lab, case: Case) -> dict[str, object]:
    [kept] = [r for r in await lab.database.rows() if r["session_id"] == case.session_id]
    return kept


@row(7, "connection to the database swallows everything", POSTGRES, fast=1, full=5, slow=True)
async def blackhole(lab: Lab, times: int) -> Figures:
    """Deadlines hold, nothing hangs, SIGTERM still works; a run is one black hole."""
    through = await lab.proxied()
    worst = 0.0
    for _ in range(times):
        replica = await lab.replica(proxied=True)
        door = lab.door(replica)
        flying, waiting = await door.cases(8), await door.cases(8)
        for case in flying:
            lab.sms.plan("hold", to=case.destination)
        calls = [asyncio.create_task(door.send(case)) for case in flying]
        await until(lambda: lab.sms.holding == 8, 5.0, "the provider holds all")
        through.blackhole()
        lab.sms.release()
        began = time.monotonic()
        short = [door.send(case, seconds=1.0) for case in waiting[:4]]
        long = [door.send(case, seconds=None) for case in waiting[4:]]
        answers = await asyncio.gather(*short, *long)
        assert {a.status for a in answers[:4]} <= {"DEADLINE_EXCEEDED"}
        assert max(a.ended for a in answers[:4]) < began + 2
        assert {a.status for a in answers[4:]} <= {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
        took = max(a.ended for a in answers[4:]) - began
        assert took < SERVER_CAP_SECONDS + 1, f"a call took {took:.1f} s"
        assert all(answer.ok and answer.sent for answer in await asyncio.gather(*calls))
        through.heal()
        lifted = time.monotonic()
        assert all(a.ok for a in await asyncio.gather(*map(door.send, waiting)))
        worst = max(worst, await lab.settled(lifted))
        await replica.idle()
        through.blackhole()
        late = asyncio.create_task(door.send(waiting[0], seconds=None))
        took = await replica.stop(seconds=20.0)
        assert took < 15.0, f"SIGTERM took {took:.1f} s"
        await late
        through.heal()
        through.cut()
    return (await lab.conclude())._replace(runs=times, recovery=worst)


@row(7, "one connection hangs while a lease is extended", POSTGRES, fast=1, full=10)
async def one_connection_hangs(lab: Lab, times: int) -> Figures:
    """The leases of the others are kept, or another replica took over; a run is one of them."""
    lab.settings.update(SHORT_LEASE)
    through = await lab.proxied()
    hanging, _ = await asyncio.gather(lab.replica(proxied=True), lab.replica())
    door = lab.door(hanging)
    runs, worst = 0, 0.0
    for _ in range(times):
        cases = await door.cases(4)
        for case in cases:
            lab.sms.plan("hold", to=case.destination)
            case.ambiguities += 1
        trap = through.trap(proxy.EXTEND, "hold")
        calls = [asyncio.create_task(door.send(case)) for case in cases]
        await until(lambda trap=trap: trap.sprung == 1, 5.0, "an extension hangs")
        await pause(3.0)  # longer than the lease, and the pause between sweeps
        kept = {row["session_id"]: row["tries"] for row in await lab.database.rows()}
        assert sorted(kept[case.session_id] for case in cases)[:3] == [1, 1, 1]
        lab.sms.release()
        trap.release()
        lifted = time.monotonic()
        await asyncio.gather(*calls)
        worst = max(worst, await lab.settled(lifted))
        runs += 3
    return (await lab.conclude())._replace(runs=runs, recovery=worst)


@row(11, "disk full", BOTH, fast=1, full=10)
async def disk_full(lab: Lab, times: int) -> Figures:
    """Nothing is acknowledged that is not committed; a run is one full disk."""
    worst = 0.0
    async with _small_disk(lab) as disk:
        if lab.database.kind == "sqlite":
            await _move_to(lab, disk)
        else:
            await own_cluster(lab, "disk/cluster")
        replica = await lab.replica()
        door = lab.door(replica)
        for _ in range(times):
            good = await door.cases(4)
            assert all(a.sent for a in await asyncio.gather(*map(door.send, good)))
            cases = await door.cases(8)
            disk.fill()
            cases += await _until_refused(lab, door)
            answers = await asyncio.gather(*map(door.send, cases))
            assert {answer.status for answer in answers} <= {"OK", "UNAVAILABLE"}
            for case in cases:  # the log may have had room for some
                committed = any(answer.ok for answer in case.sends)
                assert committed or not lab.sms.calls_to(case.destination)
            disk.clear()
            if lab.database.kind == "postgresql":
                await lab.database.cluster.start()  # it may have given up
            lifted = time.monotonic()
            for case in cases:
                while not (await door.send(case)).ok:
                    assert time.monotonic() - lifted < 20.0
                    await asyncio.sleep(0.05)
            worst = max(worst, await lab.settled(lifted))
            await verify_all(lab, door, [*cases, *good])
        return (await lab.conclude())._replace(runs=times, recovery=worst)


async def _until_refused(lab: Lab, door: Door) -> list[Case]:
    """Sends until the disk shows to be full; the log may have had room left."""
    tried = []
    for _ in range(500):
        case = await _opened(lab, door)
        if case is None:
            return tried
        tried.append(case)
        if (await door.send(case)).status == "UNAVAILABLE":
            return tried
    raise AssertionError("the disk never was full")


async def _opened(lab: Lab, door: Door) -> Case | None:
    try:
        async with asyncio.timeout(1.0):
            return await door.case()
    except TimeoutError:
        lab.cases.pop()
        return None


async def verify_all(lab: Lab, door: Door, cases: list[Case]) -> None:
    for case in cases:
        code = lab.wire.to(case.destination)[-1].code
        assert (await door.verify(case, code)).ok


class _Limit:
    """A limit on the size of files, where nothing may be mounted."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def fill(self) -> None:
        path = self._lab.database.path
        size = path.with_name(f"{path.name}-wal").stat().st_size
        self._set(min(size, path.stat().st_size))

    def clear(self) -> None:
        self._set(resource.RLIM_INFINITY)

    def _set(self, size: int) -> None:
        pid = self._lab.replicas[-1].pid
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@asynccontextmanager
async def _small_disk(lab: Lab) -> AsyncIterator[SmallDisk | _Limit]:
    directory = lab.directory.parent / "disk"
    try:
        # SQLite's log takes 4 MB before it is written back.
        disk = SmallDisk(directory, 16 if lab.database.kind == "sqlite" else 192)
    except (PermissionError, FileNotFoundError):  # or there is no `mount`
        if lab.database.kind == "postgresql":
            pytest.skip("a disk for PostgreSQL to fill cannot be mounted here")
        yield _Limit(lab)
        return
    try:
        yield disk
    finally:
        for replica in lab.replicas:
            replica.end()
        await lab.database.drop()
        disk.close()


async def _move_to(lab: Lab, disk: SmallDisk | _Limit) -> None:
    if isinstance(disk, SmallDisk):
        database = lab.database
        database.path = disk.directory / "challenge.db"
        database.url = f"sqlite:///{database.path}"
        await database.prepare()
