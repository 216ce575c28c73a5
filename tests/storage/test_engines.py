"""What the URL may lead to; the rest is refused by name, at start and by `challenge migrate`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncpg
import pytest

from service.errors import CannotProceed
from service.settings import Settings
from service.storage.migrating import migrate
from service.storage.opening import open_database
from tests.harness.marks import on_postgres

NEEDED = "; needed is PostgreSQL 15 or later, or the coordinator of Citus 13.2 or later"
_FAKED = """
CREATE SCHEMA faked;
CREATE FUNCTION faked.version() RETURNS text LANGUAGE sql AS $$ SELECT '{version}' $$;
CREATE FUNCTION faked.current_setting(text) RETURNS text LANGUAGE sql AS $$ SELECT '{number}' $$;
CREATE FUNCTION faked.citus_is_coordinator() RETURNS boolean LANGUAGE sql AS $$ SELECT FALSE $$;
CREATE TABLE faked.pg_extension AS SELECT 'citus' AS extname, '{citus}' AS extversion
    WHERE '{citus}' <> '';
"""


@pytest.mark.parametrize(
    ("version", "number", "citus", "said"),
    [
        ("CockroachDB CCL v25.2.1 (x86_64-pc-linux-gnu)", 130000, "", "leads to CockroachDB"),
        ("PostgreSQL 15.12-YB-2025.1.0.0-b0 on x86_64", 150012, "", "leads to YugabyteDB"),
        ("PostgreSQL 12.22 (Greenplum Database 7.5.2)", 120022, "", "leads to Greenplum"),
        ("PostgreSQL 14.20 on x86_64-pc-linux-gnu", 140020, "", "leads to PostgreSQL 14"),
        ("PostgreSQL 16.9 on x86_64-pc-linux-gnu", 160009, "12.1-1", "leads to Citus 12.1-1"),
        ("PostgreSQL 17.5 on x86_64-pc-linux-gnu", 170005, "13.2-1",
         "leads to no coordinator of a Citus cluster"),
    ],
)  # fmt: skip
@on_postgres
async def test_what_will_not_do_is_refused_by_name(
    make_settings: Callable[..., Settings],
    database_url: str,
    version: str,
    number: int,
    citus: str,
    said: str,
) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(_FAKED.format(version=version, number=number, citus=citus))
    separator = "&" if "?" in database_url else "?"
    url = f"{database_url}{separator}search_path=faked,pg_catalog,public"
    refused = f"CHALLENGE_DATABASE_URL: {said}{NEEDED}"
    try:
        with pytest.raises(CannotProceed) as raised:
            await open_database(make_settings(database_url=url), lambda: 0)
        assert str(raised.value) == refused
        with pytest.raises(CannotProceed) as raised:
            await asyncio.to_thread(migrate, url)
        assert str(raised.value) == refused
    finally:
        await connection.execute("DROP SCHEMA faked CASCADE")
        await connection.close()
