"""The service as `challenge serve` runs it, with one channel more: `null://`."""

from __future__ import annotations

import gc

import uvloop

from service.app import App
from service.channels import SCHEMES, Scheme
from service.serving import tuning
from service.serving.server import Server
from service.settings import Settings
from service.telemetry import logs


async def _serve() -> None:
    SCHEMES["null"] = Scheme("benchmarks.servers.null:Accepting", ("sms",))
    settings = Settings(_env_file=None)
    logs.configure(settings)
    server = Server(await App.build(settings), settings)
    gc.freeze()
    print(server.port, flush=True)
    await server.run()


if __name__ == "__main__":
    tuning.tune()
    uvloop.run(_serve())
