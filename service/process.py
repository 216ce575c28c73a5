"""The serving process: one event loop, one App, one Server."""

from __future__ import annotations

import gc

import uvloop

from service.app import App
from service.server import Server
from service.settings import Settings


def serve_forever(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
        NotReady: It cannot start; the text names the setting.
    """
    uvloop.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    app = await App.build(settings)
    server = Server(app, settings)
    gc.freeze()  # what is loaded stays: no need to look at it again
    await server.run()
