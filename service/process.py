"""The serving process: one event loop, one App, one Server."""

from __future__ import annotations

import contextlib
import gc
import os

import uvloop

from service import exposition, tracing
from service.app import App
from service.lifeline import Lifeline
from service.server import Server
from service.settings import Settings


def serve_forever(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
        NotReady: It cannot start; the text names the setting.
    """
    yield_to_others()
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


def yield_to_others() -> None:
    """Lets no thread of ours interrupt another when it wakes: each call wakes gRPC's a dozen times.

    It takes a tenth of the CPU off a call; see docs/scaling.md. Threads inherit it, so it comes
    before they start.
    """
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(PermissionError):  # a sandbox may forbid it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
