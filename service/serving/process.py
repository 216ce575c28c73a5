"""The serving process: one event loop, one App, one Server."""

from __future__ import annotations

import gc

import uvloop

from service.app import App
from service.serving.lifeline import Lifeline
from service.serving.server import Server
from service.settings import Settings
from service.telemetry import exposition, tracing


def serve_forever(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
        CannotProceed: It cannot start; the text names the setting.
    """
    tracing.start()
    try:
        uvloop.run(_serve(settings))
    finally:
        tracing.stop()


async def _serve(settings: Settings) -> None:
    lifeline = Lifeline.of_this_process()
    app = await App.build(settings)
    server = Server(app, settings, shares_port=lifeline is not None)
    if settings.metrics_listen and lifeline is None:  # a supervisor serves those of its workers
        exposition.serve(settings.metrics_listen)
    gc.freeze()  # what is loaded stays: no need to look at it again
    await server.run(started=lifeline.say_ready if lifeline else None)
