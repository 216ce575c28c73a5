"""Fixtures of the fault suite."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.world import World


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """What all rows share."""
    # Not below pytest's own directory: another pytest that starts closes that to PostgreSQL's user.
    with tempfile.TemporaryDirectory(prefix="faults-") as directory:
        world = World(Path(directory))
        yield world
        world.close()
