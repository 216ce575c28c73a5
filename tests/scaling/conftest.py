"""Fixtures of the tests of scaling: a lab on PostgreSQL."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest

from tests.faults.conftest import world  # noqa: F401  (the cluster that labs share)
from tests.faults.lab import Lab
from tests.faults.world import SEED, World
from tests.scaling import pgbouncer


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says in one line what a missing PgBouncer has left untested."""
    skipped = terminalreporter.stats.get("skipped", [])
    count = sum(pgbouncer.MISSING in str(report.longrepr) for report in skipped)
    if count:
        terminalreporter.write_line(f"{count} tests in tests/scaling skipped: {pgbouncer.MISSING}")


@pytest.fixture
async def lab(world: World, request: pytest.FixtureRequest) -> AsyncIterator[Lab]:  # noqa: F811
    """A database, providers and payers of this test's own."""
    async with world.lab("postgresql", random.Random(f"{SEED} {request.node.name}")) as lab:
        yield lab
