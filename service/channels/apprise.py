"""Bridge to Apprise, for the services that it knows and we do not."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

from service.channels import TIMEOUT_SECONDS, BadDSN, Blame, Message, Outcome, Result
from service.channels.dsn import library

_PREFIX = "apprise+"
_PLACE = "{recipient}"
_SAMPLES = ("+15005550006", "payer@example.com")
_THREADS = 64
# Every plugin takes lists of destinations apart in a way of its own.
_UNMISTAKABLE = re.compile(r"[\w.+@-]+")


class Apprise:
    """One service by way of Apprise, which says no more of a message than whether it failed.

    A failure may have delivered, and may be the provider's, the recipient's or ours: it is retried
    once, and the breaker learns nothing of it.
    """

    def __init__(self, dsn: str, timeout: float = TIMEOUT_SECONDS) -> None:
        """Takes `apprise+` and an Apprise URL with `{recipient}` for the destination.

        For example `apprise+mailtos://user:password@example.com?to={recipient}`.

        Args:
            dsn: As above.
            timeout: Seconds for one delivery.

        Raises:
            BadDSN: There is no `{recipient}`, Apprise cannot read the URL, or the extra `apprise`
                is not installed.
        """
        # Where other URLs have a host, many of Apprise's have a token.
        self.name = dsn.partition("://")[0] + "://"
        self._url = dsn.removeprefix(_PREFIX)
        self._timeout = timeout
        if _PLACE not in self._url:
            raise BadDSN(f"{self.name} lacks {_PLACE}, the place of the destination")
        self._library = library("apprise", "apprise")
        self._asset = self._library.AppriseAsset(http_redirects=False)
        if not any(self._service(sample) for sample in _SAMPLES):
            raise BadDSN(f"{self.name} is not a URL that Apprise can read")
        # Threads of its own: one that hangs keeps nothing else waiting.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="apprise")

    async def deliver(self, message: Message) -> Result:
        """Notifies once; see `Channel`."""
        if not _UNMISTAKABLE.fullmatch(message.recipient):
            return Result(Outcome.REFUSED, reason="Apprise might misread the destination")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                return await loop.run_in_executor(self._threads, self._notify, message)
        except TimeoutError:
            return Result(Outcome.UNKNOWN, reason="timed out", blames=Blame.PROVIDER)
        except Exception as error:  # whatever a plugin does not catch
            return Result(Outcome.UNKNOWN, reason=f"Apprise failed: {type(error).__name__}")

    async def close(self) -> None:
        """Lets go of idle threads; those under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _service(self, recipient: str) -> object:
        url = self._url.replace(_PLACE, quote(recipient, safe=""))
        return self._library.Apprise.instantiate(url, asset=self._asset, suppress_exceptions=True)

    def _notify(self, message: Message) -> Result:
        service = self._service(message.recipient)
        if not service:
            return Result(Outcome.REFUSED, reason="Apprise cannot read the URL")
        notifier = self._library.Apprise(service, asset=self._asset)
        # As it is, an encoded word (RFC 2047) would be decoded by whoever reads the email.
        title = (message.subject or "").replace("=?", "= ?")
        if notifier.notify(message.text, title, body_format="text"):
            return Result(Outcome.ACCEPTED)
        # It may have lost patience with a service that had the message, and does not say.
        return Result(Outcome.UNKNOWN, reason="Apprise failed")
