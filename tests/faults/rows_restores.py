"""Row 26: the database is restored to a point in time, and deploy/restored.sql is run."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from tests.faults.clusters import Archived
from tests.faults.databases import PostgresDatabase, Rows
from tests.faults.lab import Door, Lab
from tests.faults.load import load, send_until_answered, verify_until_answered
from tests.faults.oracle import Case, Figures
from tests.faults.processes import PATIENCE_SECONDS, ROOT, pause, until
from tests.faults.table import POSTGRES, row

SCRIPT = ROOT / "deploy/restored.sql"
_SWEEPS_SECONDS = 4.0
"""In which two replicas sweep several times."""
_LAST_MINUTE = (
    "UPDATE hosted_session SET code_expires_at = challenge_now() + 30000, window_ends_at = 0 "
    "WHERE session_id = ?"
)


@row(26, "restored to a point in time, from a base backup and WAL", POSTGRES, 1, 5, slow=True)
async def restored_to_a_point(lab: Lab, times: int) -> Figures:
    """Nothing is sent twice, no code counts twice, quotas are the point's; a run is a restore."""
    await lab.database.drop()
    directory = lab.directory.parent
    cluster = await asyncio.to_thread(Archived, directory / "server")
    database = lab.database = PostgresDatabase(cluster, own=True)
    await database.prepare()
    for number in range(times):
        cluster = await _restore(lab, database, cluster, directory / f"restored{number}")
    await lab.replica()
    return (await lab.conclude())._replace(runs=times)


async def _restore(
    lab: Lab, database: PostgresDatabase, cluster: Archived, directory: Path
) -> Archived:
    """Loses what a server knows since a point, while payers come before and after."""
    replicas = [await lab.replica(), await lab.replica()]
    door = lab.door(*replicas)
    async with load(lab, door, payers=4) as done:
        await _served(done)
        restored = await asyncio.to_thread(cluster.back_up, directory)
        await _served(done)
    settled, proved, owed = known = await door.cases(3)
    for case in (settled, proved):
        await send_until_answered(door, case)
    await lab.settled(time.monotonic())
    lab.sms.plan("hold", to=owed.destination)
    sending = asyncio.create_task(door.send(owed))
    await until(lambda: lab.sms.holding == 1, PATIENCE_SECONDS, "the provider has it")
    quotas = await _quotas(database)
    await cluster.execute(f"SELECT pg_create_restore_point('{directory.name}')")

    lab.sms.release()  # from here on, the point knows nothing of it
    assert (await sending).ok
    await verify_until_answered(door, proved, lab.wire.to(proved.destination)[0].code)
    await database.insert(_LAST_MINUTE, [[settled.session_id]])
    await send_until_answered(door, settled)  # makes its second code
    late = await door.case()
    await send_until_answered(door, late)
    late.forgotten = True
    await lab.settled(time.monotonic())
    await cluster.archive()
    cluster.kill()
    await asyncio.gather(*(replica.kill() for replica in replicas))

    await restored.restore(directory.name)
    database.move(restored)
    assert await _quotas(database) == quotas
    await database.run(SCRIPT)
    replicas = [await lab.replica(), await lab.replica()]
    door = lab.door(*replicas)
    await pause(_SWEEPS_SECONDS)
    assert await _quotas(database) == quotas
    for case in known:
        sent = lab.wire.to(case.destination)
        assert len(sent) == len(case.sends)  # and nothing more
        for message in sent:
            refused = await door.verify(case, message.code)
            assert refused.code == "challenge_failed", refused
        await _prove(lab, door, case)
    settled.forgotten = True  # a Send of it is, which the account would miss
    async with load(lab, door, payers=4) as done:
        await _served(done)
    await lab.settled(time.monotonic())
    await asyncio.gather(*(replica.stop() for replica in replicas))
    return restored


async def _prove(lab: Lab, door: Door, case: Case) -> None:
    """The payer asks again, and proves it with a code that nobody has had."""
    await send_until_answered(door, case)
    await until(
        lambda: len(lab.wire.to(case.destination)) == len(case.sends), 10.0, "the code comes"
    )
    *before, code = (message.code for message in lab.wire.to(case.destination))
    assert code not in before
    case.verifies.clear()  # those before the point
    await verify_until_answered(door, case, code)


async def _served(done: list[Case]) -> None:
    before = len(done)
    await until(lambda: len(done) > before + 8, 30.0, "payers are served")


async def _quotas(database: PostgresDatabase) -> Rows:
    return sorted(await database.rows("quota"), key=lambda quota: str(quota["key"]))
