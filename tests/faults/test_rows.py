"""Every row of the table, in small. FAULTS_SEED chooses what is chosen at random.

The rows mostly wait, so several run at once, each in a lab of its own; a test waits for its row.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.faults.oracle import Figures
from tests.faults.table import ROWS
from tests.faults.world import AT_ONCE, SEED, World

_CASES = {
    f"{row.number}-{row.run.__name__}-{kind}": (row, kind)
    for row in sorted(ROWS, key=lambda row: not row.slow)
    for kind in row.quick_kinds
    if row.fast
}

Runs = dict[str, asyncio.Task[Figures]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runs(world: World, request: pytest.FixtureRequest) -> AsyncIterator[Runs]:
    """Begins the rows that were asked for."""
    room = asyncio.Semaphore(AT_ONCE)

    async def run(name: str) -> Figures:
        row, kind = _CASES[name]
        async with room:
            return await world.run(row, kind, row.fast, SEED)

    items = [item for item in request.session.items if item.path == request.path]
    begun = {name: asyncio.create_task(run(name)) for name in map(_name, items)}
    yield begun
    for task in begun.values():
        task.cancel()
    await asyncio.gather(*begun.values(), return_exceptions=True)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", _CASES)
async def test_row(runs: Runs, name: str) -> None:
    print(f"FAULTS_SEED={SEED}")
    figures = await runs[name]
    print(figures)
    assert figures.lost == figures.unexpected == 0


def _name(item: pytest.Item) -> str:
    name: str = item.callspec.params["name"]
    return name
