"""Runs every row at full count and prints a line for each: `python -m tests.faults [row …]`.

As many rows run at once as there are cores: their figures are times. Each has its line when it
ends.

FAULTS_SEED chooses what is chosen at random, FAULTS_SCALE multiplies the counts.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable
from pathlib import Path

import pytest

from tests.faults import machine
from tests.faults.oracle import Figures
from tests.faults.table import BOTH, CITUS, ROWS, Row
from tests.faults.world import SEED, World

_SCALE = float(os.environ.get("FAULTS_SCALE", "1"))
_HISTORIES = 500


def main(wanted: list[str]) -> int:
    print(f"FAULTS_SEED={SEED}\n")
    print(f"{'row':>3}  {'what':66}  {'database':10}  {'runs':>6}  lost  unexpected  duplicated  "
          "worst recovery s")  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="faults-") as directory:
        world = World(Path(directory))
        try:
            failures = asyncio.run(_run(world, wanted))
            for kind in BOTH + CITUS:
                if not wanted or "22" in wanted:
                    explored = asyncio.to_thread(_explore, world, kind)
                    what = "histories against a plain model"
                    failures += asyncio.run(_line(22, what, kind, explored))
        finally:
            world.close()
    return failures


async def _run(world: World, wanted: list[str]) -> int:
    """Runs the rows; gives how many have failed."""
    room = asyncio.Semaphore(os.cpu_count() or 1)

    async def one(row: Row, kind: str) -> int:
        times = max(1, round(row.full * _SCALE))
        async with room:
            return await _line(row.number, row.what, kind, world.run(row, kind, times, SEED))

    chosen = [(row, kind) for row in sorted(ROWS, key=lambda row: row.number) for kind in row.kinds
              if not wanted or str(row.number) in wanted]  # fmt: skip
    return sum(await asyncio.gather(*(one(*each) for each in chosen)))


def _explore(world: World, kind: str) -> Figures:
    with world.database(kind) as url:
        return Figures(runs=machine.explore(kind, url, round(_HISTORIES * _SCALE), SEED))


async def _line(number: int, what: str, kind: str, run: Awaitable[Figures]) -> int:
    """Prints the line of a row once it has run; gives 1 if it has failed."""
    head = f"{number:>3}  {what:66}  {kind:10}  "
    began = time.monotonic()
    try:
        figures = await run
    except pytest.skip.Exception as reason:
        print(f"{head}left out: {reason}", flush=True)
        return 0
    except Exception:
        print(f"{head}FAILED\n{traceback.format_exc()}", flush=True)
        return 1
    runs, lost, unexpected, duplicated, recovery = figures
    took = time.monotonic() - began
    print(f"{head}{runs:>6}  {lost:>4}  {unexpected:>10}  {duplicated:>10}  {recovery:>16.1f}"
          f"   ({took:.0f} s)", flush=True)  # fmt: skip
    return int(lost + unexpected > 0)


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1:])))
