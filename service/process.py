"""The serving process: one event loop, one App, one Server."""

from __future__ import annotations

import gc
from collections.abc import Callable

import uvloop

from service import exposition, tracing
from service.app import App, open_database, wall_clock_ms
from service.retention import Retention
from service.server import Server
from service.settings import DatabaseSettings, Settings
from service.store import Store
from service.workers import Line


def serve_forever(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
        NotReady: It cannot start; the text names the setting.
    """
    tracing.start()
    try:
        uvloop.run(_serve(settings))
    finally:
        tracing.stop()


async def _serve(settings: Settings) -> None:
    line = Line.of_this_process()
    app = await App.build(settings)
    server = Server(app, settings, shares_port=line is not None)
    if settings.metrics_listen and not exposition.is_worker():
        exposition.serve(settings.metrics_listen)
    gc.freeze()  # what is loaded stays: no need to look at it again
    await server.run(started=line.say_ready if line else None)


async def purge(settings: DatabaseSettings, progress: Callable[[str, int], None]) -> None:
    """Forgets what has had its time; see `retention.Retention`.

    Raises:
        NotReady: The database cannot be used. A running service holds SQLite, and purges it itself.
    """
    database = await open_database(settings, wall_clock_ms)
    try:
        await Retention(Store(database), settings.retention_days).purge(progress)
    finally:
        await database.close()
