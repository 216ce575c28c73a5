"""`challenge purge`: deletes what is past its retention."""

from __future__ import annotations

from collections.abc import Callable

from service.challenges.rules import LONGEST_LIFE_MS
from service.settings import DatabaseSettings
from service.storage.archive import Archive
from service.storage.opening import open_database
from service.storage.retention import Retention


async def run(settings: DatabaseSettings, progress: Callable[[str, int], None]) -> None:
    """Purges once; see `retention.Retention`.

    Args:
        settings: Where, and what is kept for how long.
        progress: See `Retention.purge`.

    Raises:
        CannotProceed: The database cannot be used. A running service holds SQLite, and purges it
            itself.
    """
    database = await open_database(settings)
    try:
        days = settings.retention_days, settings.evidence_days
        await Retention(Archive(database), *days, LONGEST_LIFE_MS).purge(progress)
    finally:
        await database.close()
