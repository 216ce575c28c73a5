"""Runs the migrations, and makes the ledger's first partitions."""

from __future__ import annotations

import asyncio

import asyncpg
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, NullPool, create_engine
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from service.errors import NotReady, reason
from service.storage.database import sqlite_path
from service.storage.postgres import partitions
from service.storage.postgres.hosts import Hosts


def migrate(url: str) -> None:
    """Runs the migrations that are missing.

    Raises:
        NotReady: The database cannot be reached or refuses.
    """
    try:
        if path := sqlite_path(url):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Kept by no pool: while this process has the file open, the service may not have it.
            with create_engine(url, poolclass=NullPool).begin() as connection:
                _upgrade(connection)
        else:
            asyncio.run(_migrate_postgres(url))
    except ValueError:  # whose text may hold a part of the password
        raise NotReady("CHALLENGE_DATABASE_URL: is malformed") from None
    except (OSError, SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        cause = error.orig if isinstance(error, OperationalError) and error.orig else error
        raise NotReady(f"CHALLENGE_DATABASE_URL: cannot migrate: {reason(cause)}") from None


async def _migrate_postgres(url: str) -> None:
    hosts = Hosts(url)

    async def connect() -> asyncpg.Connection:  # where the service would write
        return await hosts.open(cache=0)  # leaves a pooler nothing behind

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()
    ledger = await connect()
    try:
        await partitions.make_ahead(ledger)
    finally:
        await ledger.close()


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", "service.storage:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
