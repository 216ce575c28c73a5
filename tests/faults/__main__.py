"""Runs every row at full count and prints a line for each: `python -m tests.faults [row …]`.

FAULTS_SEED chooses what is chosen at random, FAULTS_SCALE multiplies the counts.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import machine
from tests.faults.oracle import Figures
from tests.faults.table import BOTH, CITUS, ROWS
from tests.faults.world import SEED, World

_SCALE = float(os.environ.get("FAULTS_SCALE", "1"))
_HISTORIES = 500


def main(wanted: list[str]) -> int:
    print(f"FAULTS_SEED={SEED}\n")
    print(f"{'row':>3}  {'what':66}  {'database':10}  {'runs':>6}  lost  unexpected  duplicated  "
          "worst recovery s")  # fmt: skip
    failures = 0
    with tempfile.TemporaryDirectory(prefix="faults-") as directory:
        world = World(Path(directory))
        try:
            for row in sorted(ROWS, key=lambda row: row.number):
                for kind in row.kinds:
                    times = max(1, round(row.full * _SCALE))
                    if not wanted or str(row.number) in wanted:
                        failures += _line(
                            row.number, row.what, kind,
                            lambda row=row, kind=kind, times=times: asyncio.run(
                                world.run(row, kind, times, SEED)
                            ),
                        )  # fmt: skip
            for kind in BOTH + CITUS:
                if not wanted or "22" in wanted:
                    failures += _line(
                        22, "histories against a plain model", kind,
                        lambda kind=kind: _explore(world, kind),
                    )  # fmt: skip
        finally:
            world.close()
    return failures


def _explore(world: World, kind: str) -> Figures:
    with world.database(kind) as url:
        return Figures(runs=machine.explore(kind, url, round(_HISTORIES * _SCALE), SEED))


def _line(number: int, what: str, kind: str, run: Callable[[], Figures]) -> int:
    began = time.monotonic()
    print(f"{number:>3}  {what:66}  {kind:10}  ", end="", flush=True)
    try:
        figures = run()
    except pytest.skip.Exception as reason:
        print(f"left out: {reason}")
        return 0
    except Exception:
        print("FAILED")
        traceback.print_exc()
        return 1
    runs, lost, unexpected, duplicated, recovery = figures
    took = time.monotonic() - began
    print(f"{runs:>6}  {lost:>4}  {unexpected:>10}  {duplicated:>10}  {recovery:>16.1f}"
          f"   ({took:.0f} s)", flush=True)  # fmt: skip
    return int(lost + unexpected > 0)


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1:])))
