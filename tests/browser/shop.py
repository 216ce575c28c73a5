"""The example checkout, with all that stands behind it, in this process and its children."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from examples.checkout import captchas
from examples.checkout.demonstration import Demonstration
from examples.checkout.merchant import Merchant
from examples.checkout.web import Shop
from service.channels.inbox import Inbox
from service.keyring import random_key
from service.storage.migrating import migrate
from tests.harness import service
from tests.harness.clock import SQLiteClock
from tests.harness.providers import Provider
from tests.harness.settings import GivenSettings
from tests.harness.tokens import AUDIENCE, ISSUER, Issuer
from tests.rest import edge

WINDOW_SECONDS = 30


class Stack(NamedTuple):
    """What a test needs of it.

    Attributes:
        shop: The shop's web server.
        demonstration: Opens its sessions.
        service: The service, whose clock can be moved.
    """

    shop: Shop
    demonstration: Demonstration
    service: service.Service

    async def send(self, credential: str) -> None:
        """Has a session's code sent, as another tab of its payer would."""
        session = service.Session(credential.partition("_secret_")[0], credential)
        await self.service.send(session, origin=self.shop.url)


@asynccontextmanager
async def running(directory: Path, inbox: Path | None = None) -> AsyncIterator[Stack]:
    """Runs the service with its inbox, Envoy in front of it, and the shop."""
    url = f"sqlite:///{directory}/challenge.db"
    await asyncio.to_thread(migrate, url)
    issuer, inbox = Issuer(directory), inbox or directory / "inbox"
    channel = Inbox(f"inbox://{inbox}")
    channels = {"sms": [channel], "email": [channel]}
    with captchas.running() as widgets:
        settings = GivenSettings(
            database_url=url,
            grpc_listen="127.0.0.1:0",
            keys=f"k1:{random_key()}",
            fingerprint_key=random_key(),
            jwks=str(issuer.jwks),
            jwt_issuer=ISSUER,
            jwt_audience=AUDIENCE,
            send_window_seconds=WINDOW_SECONDS,
            drain_seconds=0,
            **_fields(widgets.settings),
        )
        running_service = service.running(
            settings, Provider(), SQLiteClock(), issuer, by_type=channels
        )
        async with (
            running_service as answering,
            edge.running(directory, answering.server.port) as proxy,
        ):
            merchant = Merchant(answering.target, issuer.token)
            demonstration = Demonstration(merchant, widgets, inbox)
            rest_url = f"http://127.0.0.1:{proxy.port}"
            shop = Shop(0, merchant, demonstration, rest_url, WINDOW_SECONDS)
            serving = asyncio.create_task(asyncio.to_thread(shop.serve_forever, 0.02))
            try:
                yield Stack(shop, demonstration, answering)
            finally:
                await asyncio.to_thread(shop.shutdown)
                await serving
                shop.server_close()
                merchant.close()


def _fields(environment: Mapping[str, str]) -> dict[str, Any]:
    return {name.removeprefix("CHALLENGE_").lower(): text for name, text in environment.items()}
