"""Row 22, in small."""

from __future__ import annotations

import pytest

from tests.faults import machine
from tests.faults.table import BOTH, CITUS
from tests.faults.world import SEED, World


@pytest.mark.parametrize("kind", BOTH + CITUS)
def test_the_use_cases_do_as_the_model_says(world: World, kind: str) -> None:
    print(f"FAULTS_SEED={SEED}")
    with world.database(kind) as url:
        machine.explore(kind, url, 20, SEED)
