"""What is left out where a program is missing exists, and is named at the end."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import programs
from tests.harness.marks import one_database
from tests.harness.service import Service

TESTS = Path(__file__).parent


@pytest.mark.parametrize("module", programs.NEEDS)
def test_a_module_that_is_left_out_is_named(
    module: str, record_property: Callable[[str, object], None]
) -> None:
    assert (TESTS / module).is_file()
    if lacking := programs.missing(module):
        record_property(f"tests/{module} left out", f"no {', '.join(lacking)}")


def test_a_program_that_is_demanded_is_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    module = "deploy/test_chart_rendered.py"
    monkeypatch.setenv("HELM", "no-such-helm")
    monkeypatch.delenv("CHALLENGE_DEMAND_HELM", raising=False)
    assert "test_chart_rendered.py" in programs.left_out("deploy")
    monkeypatch.setenv("CHALLENGE_DEMAND_HELM", "1")
    assert programs.missing(module) == []


@pytest.mark.slow
@one_database
async def test_a_forked_program_has_none_of_grpcs_threads(service: Service) -> None:
    """They would end it, now and then, before it begins."""

    def alone() -> None:
        assert len(os.listdir("/proc/self/task")) == 1

    await service.open()
    for _ in range(20):
        program = (sys.executable, "-ISc", "")
        process = await asyncio.create_subprocess_exec(*program, preexec_fn=alone)
        assert await process.wait() == 0
