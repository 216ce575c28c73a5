"""The proxy in front of the replicas, as configured for production: started, killed, started."""

from __future__ import annotations

import copy
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import yaml

from service.commands import edge
from tests.faults.processes import PATIENCE_SECONDS, ROOT, until
from tests.harness.ports import free_port


class Edge:
    """One Envoy before several replicas."""

    def __init__(self, directory: Path, ports: list[int]) -> None:
        self._log = directory / "envoy.log"
        self.config = directory / "envoy.yaml"
        self.port = free_port()
        """Of the listener for native gRPC."""
        text = edge.render(
            free_port(), self.port, ports[0], directory / "envoy-admin.sock", ROOT / "envoy.yaml"
        )
        tree = yaml.safe_load(text)
        _raise_rate(tree, len(ports))
        for cluster in tree["static_resources"]["clusters"]:
            [endpoint] = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
            several = [copy.deepcopy(endpoint) for _ in ports]
            for one, port in zip(several, ports, strict=True):
                one["endpoint"]["address"]["socket_address"]["port_value"] = port
            cluster["load_assignment"]["endpoints"][0]["lb_endpoints"] = several
        self.config.write_text(yaml.safe_dump(tree, sort_keys=False))

    async def start(self) -> Edge:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220  (it does not wait)
                edge.command(self.config), stdout=log, stderr=log, start_new_session=True
            )
        await until(self._listens, PATIENCE_SECONDS, "Envoy listens")
        return self

    async def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        await until(lambda: self._process.poll() is not None, PATIENCE_SECONDS, "Envoy ends")

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def _listens(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()[-2000:]
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


def _raise_rate(tree: Any, replicas: int) -> None:
    """Lets internal callers make as many calls as all take, as deploy/replicas.yaml does."""
    listeners = {one["name"]: one for one in tree["static_resources"]["listeners"]}
    filters = {one["name"]: one for one in listeners["internal"]["filter_chains"][0]["filters"]}
    parts = {one["name"]: one for one in filters["http"]["typed_config"]["http_filters"]}
    bucket = parts["rate-limit"]["typed_config"]["token_bucket"]
    bucket["max_tokens"] *= replicas
    bucket["tokens_per_fill"] *= replicas
