"""Runs the migrations, distributes the tables on Citus, and makes the ledger's first partitions."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import URL, Connection, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from service.errors import BadSetting, CannotProceed, text_of
from service.storage.opening import sqlite_path
from service.storage.postgres import citus, engines, partitions
from service.storage.postgres.hosts import Hosts
from service.storage.schema import is_newer, require_schema


def migrate(url: str) -> None:
    """Runs the migrations that are missing, each in a transaction of its own.

    Raises:
        CannotProceed: The database cannot be reached or refuses, or is of a release too new.
    """
    try:
        if path := sqlite_path(url):
            _migrate_sqlite(path)
        else:
            asyncio.run(_migrate_postgres(url))
    except ValueError:  # whose text may hold a part of the password
        raise BadSetting("CHALLENGE_DATABASE_URL", "is malformed") from None
    except (OSError, SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise CannotProceed("CHALLENGE_DATABASE_URL", f"cannot migrate: {_cause(error)}") from None


def _cause(error: Exception) -> str:
    """Returns what the database itself says, in one line, without the statement."""
    said: BaseException = error
    if isinstance(error, DBAPIError) and error.orig is not None:
        said = error.orig.__cause__ or error.orig  # the driver's own, where SQLAlchemy wraps that
    if isinstance(said, sqlite3.OperationalError) and "locked" in str(said):
        return "another process has it open; end that first"
    return text_of(said).partition("\n")[0]


def _migrate_sqlite(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # For its owner alone, whatever the umask; SQLite gives the files beside it the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    # No pool: a connection that it kept would shut the service out of the file.
    engine = create_engine(URL.create("sqlite", database=str(path)), poolclass=NullPool)
    with engine.connect() as connection:
        _upgrade(connection)


async def _migrate_postgres(url: str) -> None:
    hosts = Hosts(url)

    async def connect() -> asyncpg.Connection:  # to the host that the service would write to
        return await hosts.open(cache=0)  # prepares nothing that would stay in a pooler

    connection = await connect()
    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect)
    try:
        on_citus = await engines.is_citus(connection)
        async with engine.connect() as migrating:
            event.listen(migrating.sync_connection, "begin", _wait_briefly)
            if on_citus:
                event.listen(migrating.sync_connection, "begin", _one_after_the_other)
            await migrating.run_sync(_upgrade)
        if on_citus:
            await citus.distribute(connection)
        await partitions.make_ahead(connection)
    finally:
        await engine.dispose()
        await connection.close()


def _wait_briefly(connection: Connection) -> None:
    """Bounds the wait for a lock: whoever asks for that table meanwhile waits behind it."""
    connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")


def _one_after_the_other(connection: Connection) -> None:
    """Has Citus run each command at one shard after the other; see `citus.MIGRATING`."""
    connection.exec_driver_sql(citus.MIGRATING)


_upgrading = threading.Lock()
"""Alembic keeps what it works on in a module: two migrations at once would share it."""


def _upgrade(connection: Connection) -> None:
    found = MigrationContext.configure(connection).get_current_revision()
    connection.rollback()  # each migration has a transaction of its own
    if is_newer(found):
        require_schema(found)
        return
    config = Config()
    config.set_main_option("script_location", "service.storage:migrations")
    config.attributes["connection"] = connection
    with _upgrading:
        command.upgrade(config, "head")
