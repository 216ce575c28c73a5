"""Fixtures of the tests of scaling: a lab on PostgreSQL."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest

from tests.faults.conftest import world  # noqa: F401  (the cluster that labs share)
from tests.faults.lab import Lab
from tests.faults.world import SEED, World


@pytest.fixture
async def lab(world: World, request: pytest.FixtureRequest) -> AsyncIterator[Lab]:  # noqa: F811
    """A database, providers and payers of this test's own."""
    async with world.lab("postgresql", random.Random(f"{SEED} {request.node.name}")) as lab:
        yield lab
