"""The commands of proto/README.md, as they stand, call a service by its descriptors."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from tests.harness.marks import one_database
from tests.harness.programs import find
from tests.harness.service import Service

ROOT = Path(__file__).parents[2]
README = (ROOT / "proto/README.md").read_text("utf-8")
BIN = Path(sys.executable).parent
TOOLS = {"buf curl": f"{BIN}/buf curl", "grpcurl": find("grpcurl"), "ghz": find("ghz")}
SAID = {"buf curl": '"--0123"', "grpcurl": '"--0123"', "ghz": "[OK]   1000 responses"}


def command(tool: str) -> str:
    """Finds the command of a tool, with its lines that go on."""
    found = re.search(rf"^\$ ({tool} .*?[^\\])$", README, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


@one_database
@pytest.mark.parametrize("tool", TOOLS)
async def test_a_tool_calls_by_the_descriptors(service: Service, tool: str) -> None:
    session = await service.challenged()
    typed = (
        command(tool)
        .replace(tool, TOOLS[tool], 1)
        .replace("$(challenge token)", service.issuer.token())
        .replace("cs_…", session.session_id)
        .replace("127.0.0.1:50052", service.target)
    )
    process = await asyncio.create_subprocess_shell(
        typed, cwd=ROOT, env=os.environ, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    assert SAID[tool] in printed.decode()
