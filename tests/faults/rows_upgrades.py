"""Row 15, too: one release takes the other's place, forwards and back, as deploy/README.md says."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path

import pytest

from service.storage.schema import SCHEMA
from tests.faults import releases
from tests.faults.edge import Edge
from tests.faults.lab import Lab
from tests.faults.load import load
from tests.faults.oracle import Case, Figures
from tests.faults.processes import PATIENCE_SECONDS, ROOT, Replica, until
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
            await until(calls, PATIENCE_SECONDS, "calls reach the new one")
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
    following = Release(lab.directory / "following", f"9000_from_{SCHEMA[:4]}")
    return await _rolled(lab, [following.tree, ROOT] * times, following)


@row(15, "releases that expand and then contract roll in, under load", POSTGRES, 1, 5, slow=True)
async def rolling_contraction(lab: Lab, times: int) -> Figures:
    """No call fails, of those before as of those after; a run is one replica replaced."""
    trees: list[Path] = []
    last: Release | None = None
    for number in range(9000, 9000 + 2 * times, 2):
        floor = last.revision if last else SCHEMA[:4]
        expands = Release(lab.directory / f"{number}", f"{number}_from_{floor}", last)
        last = Release(lab.directory / f"{number + 1}", f"{number + 1}", expands)
        trees += [expands.tree, last.tree]
    assert last
    figures = await _rolled(lab, trees, last)
    with pytest.raises(AssertionError, match=f"start one that needs {last.revision} or later"):
        await lab.replica(tree=trees[-2])
    return figures


async def _rolled(lab: Lab, trees: list[Path], newest: Release) -> Figures:
    """Has releases take each other's place, each after its `challenge migrate`."""
    url, roll = lab.database.url, _Roll(lab)
    await roll.start()
    edge = await Edge(lab.directory, roll.ports).start()
    try:
        async with load(lab, lab.door_to(f"127.0.0.1:{edge.port}"), payers=6) as done:
            for tree in trees:
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
    assert revision == newest.revision
    return (await lab.conclude())._replace(runs=2 * len(trees), recovery=recovery)
