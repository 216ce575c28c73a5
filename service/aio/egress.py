"""The way to another host: by which proxy, and whether it leaves this machine."""

from __future__ import annotations

import ipaddress
from urllib.request import getproxies, proxy_bypass

import aiohttp

NEVER_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
)
"""Errors of aiohttp after which nothing of a request has left; a broken proxy's too."""


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
