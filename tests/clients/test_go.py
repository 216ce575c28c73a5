"""The client for Go: its own tests and its README's example, with the service behind Envoy."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.clients.readme import ROOT, block, commands, here, run, verified
from tests.harness.marks import one_database
from tests.harness.ports import free_port
from tests.harness.programs import find
from tests.harness.service import running
from tests.rest import edge

GO = ROOT / "clients/go"
README = (GO / "README.md").read_text("utf-8")
QUOTA = 20
"""More sessions an hour than the tests open for one account."""


@one_database
async def test_the_tests_of_the_client(
    make_settings: Any, provider: Any, clock: Any, issuer: Any, tmp_path: Path
) -> None:
    with_service, without = tmp_path / "with", tmp_path / "without"
    with_service.mkdir()
    without.mkdir()
    async with (
        running(make_settings(account_sessions_per_hour=QUOTA), provider, clock, issuer) as service,
        edge.running(with_service, service.server.port) as proxy,
        edge.running(without, free_port()) as nobody,
    ):
        environment = {
            "CHALLENGE_TARGET": f"127.0.0.1:{proxy.internal_port}",
            "CHALLENGE_NOBODY": f"127.0.0.1:{nobody.internal_port}",
            "CHALLENGE_TOKEN": issuer.token(),
            "CHALLENGE_EXPIRED_TOKEN": issuer.token(exp=int(time.time()) - 60),
        }
        process = await asyncio.create_subprocess_exec(
            find("go"), "test", "-count=1", "-vet=all", "./...",
            cwd=GO, env={**os.environ, **environment},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


@pytest.mark.parametrize(
    ("right", "said"),
    [(True, "satisfied"), (False, "challenge_failed true That code is not right.")],
)
def test_the_example_of_the_readme(tmp_path: Path, right: bool, said: str) -> None:
    (tmp_path / "main.go").write_text(block(README, "go"), "utf-8")
    *preparing, command = commands(README)
    for line in preparing:
        run(here(line).split(), tmp_path)
    assert verified(command, tmp_path, right=right).startswith(said)
