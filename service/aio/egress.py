"""HTTP to other hosts: a bounded client, the proxy to use, and whether a host is this machine."""

from __future__ import annotations

import functools
import ipaddress
import ssl
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

NEVER_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
)
"""aiohttp's errors that mean that nothing of the request was sent, those of a proxy included."""

FORM = {"content-type": "application/x-www-form-urlencoded"}
"""The header of a body that `encode_form` makes."""

_CONNECTIONS = 64
_IDLE_SECONDS = 15.0
_HEADERS = {"user-agent": "challenge-service", "accept-encoding": "identity"}
"""No compression: a compressed body may unfold to a thousand times its bound."""


@functools.cache
def certificates() -> ssl.SSLContext:
    """Returns what checks hosts' certificates, once for the process: it takes 20 ms to make.

    By the system's authorities, or those in `SSL_CERT_FILE`.
    """
    return ssl.create_default_context()


def open_client(
    *, connect_seconds: float, seconds: float | None = None, headers: Mapping[str, str] = {}
) -> aiohttp.ClientSession:
    """Opens a client that keeps no cookie and reads nothing from the environment.

    The client belongs to the running loop.

    Args:
        connect_seconds: Seconds to connect, the DNS look-up included.
        seconds: Seconds of a whole exchange; None where the caller bounds it.
        headers: Of every request, beside those that all have.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=_CONNECTIONS, keepalive_timeout=_IDLE_SECONDS, ssl=certificates()
        ),
        timeout=aiohttp.ClientTimeout(total=seconds, connect=connect_seconds),
        headers={**_HEADERS, **headers},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,  # see `proxy_for`
    )


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its address or as `localhost`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def proxy_for(url: str) -> str | None:
    """Checks a URL, and finds the proxy on the way to it: HTTPS_PROXY, ALL_PROXY, NO_PROXY.

    aiohttp's own `trust_env` would read ~/.netrc as well, at every request.

    Raises:
        ValueError: It is not https (http is for this machine only), holds a password, a query or a
            fragment, or its proxy is none that aiohttp can use; the text repeats none of it.
    """
    parts = _parts(url)
    loopback = is_loopback(parts.hostname or "")
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback):
        raise ValueError("is reached by https; http is for loopback hosts only")
    proxies = getproxies()
    proxy = proxies.get("https") or proxies.get("all")
    if loopback or not proxy or proxy_bypass(parts.netloc):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if not proxy.startswith(("http://", "https://")):
        raise ValueError("HTTPS_PROXY and ALL_PROXY name proxies over http or https")
    return proxy


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        whole = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        whole = False
    if not whole or parts.username is not None or parts.query or parts.fragment:
        raise ValueError("is not a URL of scheme, host and path")
    return parts


def encode_form(form: Mapping[str, str]) -> bytes:
    """Encodes a form. urllib's urlencode takes four times as long, a tenth of an SMS's way out."""
    return URL().with_query(form).raw_query_string.encode("ascii")


async def read_at_most(content: aiohttp.StreamReader, most: int) -> bytes | None:
    """Reads a body; None when it is larger."""
    received = bytearray()
    while chunk := await content.read(most + 1 - len(received)):
        received += chunk
    return None if len(received) > most else bytes(received)
