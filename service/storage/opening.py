"""Opens the database that the settings name."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from service.errors import BadSetting, CannotProceed, StoreUnavailable
from service.settings import DatabaseSettings
from service.storage.database import Database


def wall_clock_ms() -> int:
    """Returns milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


async def open_database(
    settings: DatabaseSettings, now_ms: Callable[[], int] = wall_clock_ms
) -> Database:
    """Opens the database, checks its schema and that it can be written to.

    Args:
        settings: Where it is.
        now_ms: SQLite's clock; PostgreSQL has its own.

    Raises:
        CannotProceed: It cannot be reached or written to, or its schema is not this version's.
    """
    url = settings.database_url.get_secret_value()
    database: Database
    path = sqlite_path(url)
    # Each driver is loaded only where it is used.
    if path is not None:
        from service.storage.sqlite.database import SQLite

        database = await SQLite.open(path, now_ms)
    else:
        from service.storage.postgres import engines

        database = await engines.connect(url, settings.database_pool_size)
    try:
        await database.check_schema()
        await database.check_writable()
    except StoreUnavailable as error:
        await database.close()
        raise CannotProceed("CHALLENGE_DATABASE_URL", f"does not answer: {error}") from None
    except CannotProceed:
        await database.close()
        raise
    return database


def sqlite_path(url: str) -> Path | None:
    """Returns the file of an SQLite URL; None for PostgreSQL.

    Raises:
        BadSetting: The URL is for neither.
    """
    if url.startswith("sqlite:///"):
        return Path(url.removeprefix("sqlite:///"))
    if url.startswith(("postgresql://", "postgres://")):
        return None
    raise BadSetting("CHALLENGE_DATABASE_URL", "must start with sqlite:/// or postgresql://")
