"""What sweep and retention ask for is found by an index, whatever else the tables hold."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import asyncpg
import pytest

from service.storage import archive_statements as archive
from service.storage.postgres import database as postgres
from tests.harness.service import Service
from tests.harness.timing import eventually
from tests.test_structure import _fill, _nodes

DAY_MS = 24 * 3_600_000
SWEEPS = {
    "RECLAIM_DUE": (postgres.RECLAIM_DUE, (10_000, 100, ",,"), "hosted_session_due"),
    "WIPE": (archive.WIPE, (500,), "hosted_session_to_wipe"),
    "PURGE_SESSIONS": (
        archive.PURGE_SESSIONS,
        (500, 30 * DAY_MS),
        "hosted_session_to_purge",
    ),
    "PURGE_QUOTAS": (postgres.PURGE_QUOTAS, (500,), "quota_ends_at"),
    "KEEP_CHAINS": (archive.KEEP_CHAINS, (500, 30 * DAY_MS), "hosted_session_to_purge"),
    "PURGE_EVIDENCE": (archive.PURGE_EVIDENCE, (500, 540 * DAY_MS), "evidence_opened"),
    "ERASE_EVIDENCE": (archive.ERASE_EVIDENCE, ("", None, 500), "evidence_personal"),
    "HOLDERS": (archive.HOLDERS, ("", None, 500), "evidence_personal"),
}


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


@pytest.fixture
async def full(service: Service, database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Tables in which nothing is due, and nothing has had its time."""
    for kind in ("closed", "open"):
        session = await service.challenged()
        await service.send(session)
        if kind == "closed":
            await service.close(session, "COMPLETED")
    await eventually(service.settled)
    connection = await asyncpg.connect(database_url)
    await _fill(connection)
    yield connection
    await connection.close()


@pytest.mark.parametrize("name", SWEEPS)
async def test_a_sweep_uses_its_index(full: asyncpg.Connection, name: str) -> None:
    sql, values, index = SWEEPS[name]
    # Planned for the values, as the server does: for any it would cost far more.
    explained = await full.fetchval(f"EXPLAIN (FORMAT JSON) {sql}", *values)
    nodes = list(_nodes(json.loads(explained)[0]["Plan"]))
    assert index in {node.get("Index Name") for node in nodes}
    assert not [node for node in nodes if node["Node Type"] == "Seq Scan"]
