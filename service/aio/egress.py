"""HTTP to other hosts: a bounded client, by which proxy, and whether it leaves this machine."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Mapping
from urllib.request import getproxies, proxy_bypass

import aiohttp

NEVER_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
)
"""Errors of aiohttp after which nothing of a request has left; a broken proxy's too."""

_CONNECTIONS = 64
_IDLE_SECONDS = 15.0
_HEADERS = {"user-agent": "challenge-service", "accept-encoding": "identity"}
"""No compression: a compressed body may unfold to a thousand times its bound."""


def open_client(
    *, connect_seconds: float, seconds: float | None = None, headers: Mapping[str, str] = {}
) -> aiohttp.ClientSession:
    """Opens a client that keeps no cookie and reads nothing from the environment.

    Certificates are checked against the system's authorities, or those in `SSL_CERT_FILE`. It
    belongs to the running loop.

    Args:
        connect_seconds: Time for a connection, from the look-up on.
        seconds: Time of a whole exchange; None where the caller bounds it.
        headers: Of every request, beside those that all have.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=_CONNECTIONS, keepalive_timeout=_IDLE_SECONDS, ssl=ssl.create_default_context()
        ),
        timeout=aiohttp.ClientTimeout(total=seconds, connect=connect_seconds),
        headers={**_HEADERS, **headers},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,  # see `proxy_to`
    )


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its address or as `localhost`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def proxy_to(authority: str) -> str | None:
    """Finds the proxy that the environment names for a host: HTTPS_PROXY, ALL_PROXY, NO_PROXY.

    aiohttp's own `trust_env` would read ~/.netrc as well, at every request.

    Args:
        authority: `host` or `host:port`, of another machine.

    Raises:
        ValueError: The proxy is none that aiohttp can use.
    """
    proxies = getproxies()
    proxy = proxies.get("https") or proxies.get("all")
    if not proxy or proxy_bypass(authority):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if not proxy.startswith(("http://", "https://")):
        raise ValueError("HTTPS_PROXY and ALL_PROXY name proxies over http or https")
    return proxy
