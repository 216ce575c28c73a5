"""Row 15, too: one release takes the other's place, forwards and back, as deploy/README.md says."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path

from service.storage.schema import SCHEMA
from tests.faults import releases
from tests.faults.edge import Edge
from tests.faults.lab import Lab
from tests.faults.load import load
from tests.faults.oracle import Case, Figures
from tests.faults.processes import ROOT, Replica, until
from tests.faults.releases import Release
from tests.faults.table import POSTGRES, row
from tests.harness.ports import free_port

_SERVED = 10
"""Payers between two steps."""


class _Roll:
    """Two replicas behind Envoy, which are replaced one by one."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.ports = [free_port(), free_port()]
        self.running: list[Replica] = []

    async def start(self) -> None:
        self.running = list(await asyncio.gather(*(self._on(port) for port in self.ports)))

    async def replace(self, tree: Path, done: list[Case]) -> None:
        """Replaces each, by a replica of the release in `tree`."""
        for place, port in enumerate(self.ports):
            await served(done)
            await self.running[place].stop()
            self.running[place] = await self._on(port, tree)
            calls = partial(self.running[place].events, "call")
            await until(calls, 20.0, "calls reach the new one")
        await served(done)

    async def _on(self, port: int, tree: Path = ROOT) -> Replica:
        return await self._lab.replica(grpc_listen=f"127.0.0.1:{port}", tree=tree)


async def served(done: list[Case]) -> None:
    """Waits until more payers are done."""
    before = len(done)
    await until(lambda: len(done) > before + _SERVED, 30.0, "payers are served")


@row(15, "the next release migrates and rolls in, and back, under load", POSTGRES, 1, 5, slow=True)
async def rolling_upgrade(lab: Lab, times: int) -> Figures:
    """No call fails; a run is one replica replaced."""
    url, roll = lab.database.url, _Roll(lab)
    following = Release(lab.directory / "following", f"9000_from_{SCHEMA[:4]}")
    await roll.start()
    edge = await Edge(lab.directory, roll.ports).start()
    try:
        async with load(lab, lab.door_to(f"127.0.0.1:{edge.port}"), payers=6) as done:
            for _ in range(times):
                for tree in (following.tree, ROOT):
                    await served(done)
                    migrated = await asyncio.to_thread(releases.migrate, tree, url)
                    assert migrated.stdout == "the schema is up to date\n", migrated
                    await roll.replace(tree, done)
        recovery = await lab.settled(time.monotonic())
    finally:
        edge.end()
    failed = [answer for answer in lab.answers if not answer.ok]
    assert not failed, f"{len(failed)} calls failed: {failed[:2]}"
    [(revision,)] = [row.values() for row in await lab.database.rows("alembic_version")]
    assert revision == following.revision
    return (await lab.conclude())._replace(runs=4 * times, recovery=recovery)
