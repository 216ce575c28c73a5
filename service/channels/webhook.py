"""Any message to an endpoint of one's own, signed as Standard Webhooks lays down."""

from __future__ import annotations

import binascii
import json
import time
from base64 import b64decode
from datetime import UTC, datetime

from service.channels import TIMEOUT_SECONDS, BadDSN, Blame, Message, Outcome, Result
from service.channels.dsn import DSN, library
from service.channels.http import Client, result_of
from service.telemetry import tracing

_SECRET_PREFIX = "whsec_"  # noqa: S105
_SECRET_BYTES = range(24, 65)
_UNPROCESSABLE = 422


class Webhook:
    """One endpoint, for SMS and email alike."""

    def __init__(self, dsn: str, timeout: float = TIMEOUT_SECONDS) -> None:
        """Takes `webhook://host/path?secret=whsec_BASE64`.

        The endpoint answers 2xx for what it has taken, 422 with `{"undeliverable": true}` for a
        destination that nobody can reach (frameworks answer 422 alone for much else), and as any
        HTTP server otherwise. A repeated `webhook-id` is the same message.

        Args:
            dsn: As above.
            timeout: Seconds for one delivery.

        Raises:
            BadDSN: See `DSN`; or the secret is not one, or the extra `webhook` is not installed.
        """
        parsed = DSN(dsn, needs=("secret",), takes=("path", "scheme"))
        self.name = parsed.name
        secret = parsed.values["secret"]
        if not _is_secret(secret):
            raise BadDSN(f"{self.name} takes a secret of whsec_ and 24 to 64 bytes in base64")
        self._signer = library("standardwebhooks", "webhook").Webhook(secret)
        path = "/" + parsed.values.get("path", "")
        self._client = Client(parsed, path, timeout)

    async def deliver(self, message: Message) -> Result:
        """Posts the message once; see `Channel`."""
        now = datetime.fromtimestamp(int(time.time()), UTC)
        event = {
            "type": "challenge.message",
            "timestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "data": message._asdict(),
        }
        body = json.dumps(event, separators=(",", ":"))
        headers = {
            "content-type": "application/json",
            "webhook-id": message.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signer.sign(message.id, now, body),
            **tracing.headers(),  # to an endpoint of one's own; other providers get none
        }
        reply = await self._client.post(body.encode(), headers)
        if isinstance(reply, Result):
            return reply
        result = result_of(reply)
        if reply.status == _UNPROCESSABLE and reply.json().get("undeliverable") is True:
            return result._replace(outcome=Outcome.UNDELIVERABLE, blames=Blame.RECIPIENT)
        return result

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()


def _is_secret(text: str) -> bool:
    try:
        key = b64decode(text.removeprefix(_SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return False
    return text.startswith(_SECRET_PREFIX) and len(key) in _SECRET_BYTES
