"""`challenge edge`: Envoy, drained before it ends."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from service.aio.signals import stop_event, until
from service.commands import envoy

_DRAIN_SECONDS = 12.0
"""Longer than `request_timeout` and the timeouts of all routes in envoy.yaml."""
_ADMIN_SECONDS = 2.0
_REQUESTS = r"^http\.(public|internal)\.downstream_rq_active$"


async def run(config: Path, notice_seconds: float) -> int:
    """Runs the proxy until SIGTERM or SIGINT, then drains it.

    Envoy itself ends at once when it is told to, and breaks off what is under way.

    Args:
        config: Its configuration.
        notice_seconds: How long it still takes new connections, until whoever opens them knows.

    Returns:
        Envoy's exit status.

    Raises:
        NotReady: Envoy is not installed.
    """
    stop = stop_event()
    # Out of the terminal's process group: Ctrl-C comes to us alone.
    process = await asyncio.create_subprocess_exec(*envoy.command(config), start_new_session=True)
    ended = asyncio.create_task(process.wait())
    await until(stop, asyncio.shield(ended))
    draining = asyncio.create_task(drain(config, notice_seconds))
    await asyncio.wait((ended, draining), return_when=asyncio.FIRST_COMPLETED)
    draining.cancel()
    if not ended.done():
        process.terminate()
    return await ended


async def drain(config: Path, notice_seconds: float = 0.0) -> None:
    """Closes the listeners of a running proxy and waits until no request is under way.

    Each answer from now on closes its connection (HTTP/2: GOAWAY). Requests that last longer than
    any may are given up; so is a proxy that does not answer.

    Args:
        config: Its configuration, which says where its admin interface is.
        notice_seconds: How long it still takes new connections.
    """
    socket = envoy.read(config)["admin"]["address"]["pipe"]["path"]
    transport = httpx.AsyncHTTPTransport(uds=socket)
    try:
        async with (
            httpx.AsyncClient(transport=transport, timeout=_ADMIN_SECONDS) as admin,
            asyncio.timeout(notice_seconds + _DRAIN_SECONDS),
        ):
            await admin.post("http://envoy/healthcheck/fail")
            await asyncio.sleep(notice_seconds)
            await admin.post("http://envoy/drain_listeners")
            while await _requests(admin):  # noqa: ASYNC110  (Envoy signals nothing)
                await asyncio.sleep(0.05)
    except (httpx.TransportError, TimeoutError):
        return


async def _requests(admin: httpx.AsyncClient) -> int:
    """Counts the requests that are under way."""
    query = {"filter": _REQUESTS, "format": "json"}
    answer = await admin.get("http://envoy/stats", params=query)
    return sum(int(stat["value"]) for stat in answer.json()["stats"])
