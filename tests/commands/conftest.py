"""Fixtures of the commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands.stack import Stack, running
from tests.harness import programs

collect_ignore = programs.left_out("commands")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """`challenge dev`, once it says that it is ready."""
    with running(tmp_path / "data") as stack:
        yield stack
