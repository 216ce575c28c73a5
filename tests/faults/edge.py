"""The proxy in front of the replicas, as deploy/replicas.yaml has it: started, killed, started."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path

import yaml

from deploy.merge import merged
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
        overlay = yaml.safe_load((ROOT / "deploy/replicas.yaml").read_text("utf-8"))
        [cluster] = overlay["static_resources"]["clusters"]
        addresses = [{"address": "127.0.0.1", "port_value": port} for port in ports]
        cluster["load_assignment"]["endpoints"][0]["lb_endpoints"] = [
            {"endpoint": {"address": {"socket_address": address}}} for address in addresses
        ]
        tree = merged(yaml.safe_load(text), overlay)
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
