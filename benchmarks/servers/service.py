"""The service as `challenge serve` runs it.

Without CHALLENGE_SMS_CHANNELS its provider is in the process, and accepts at once.
"""

from __future__ import annotations

import gc

import uvloop

from service.api.jwks import KeySet
from service.app import App, open_database, wall_clock_ms
from service.channels import Message, Outcome, Verdict, connect
from service.serving import tuning
from service.serving.server import Server
from service.settings import Settings
from service.telemetry import logs

_ACCEPTED = Outcome(Verdict.ACCEPTED, "msg_1")


class Accepting:
    """A channel without a provider."""

    name = "null://"

    async def deliver(self, message: Message) -> Outcome:
        """Accepts."""
        return _ACCEPTED

    async def close(self) -> None:
        """Holds nothing."""


async def _serve() -> None:
    settings = Settings(_env_file=None)
    logs.configure(settings)
    keys = KeySet(settings.jwks)
    await keys.load()
    database = await open_database(settings, wall_clock_ms)
    channels = connect(settings.sms_channels.get_secret_value()) or (Accepting(),)
    server = Server(App(settings, database, keys, {"sms": channels}), settings)
    gc.freeze()
    print(server.port, flush=True)
    await server.run()


if __name__ == "__main__":
    tuning.tune()
    uvloop.run(_serve())
