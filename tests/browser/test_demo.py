"""`make demo`, as a user runs it: real processes, real signals. Needs no browser."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from tests.harness.ports import free_pair, free_port

ROOT = Path(__file__).parents[2]
BARE = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}


def start(data: Path, port: int, rest_port: int) -> subprocess.Popen[str]:
    ports = {"CHECKOUT_PORT": port, "REST_PORT": rest_port, "GRPC_PORT": free_pair()}
    environment = {name: str(value) for name, value in ports.items()}
    return subprocess.Popen(
        (sys.executable, "-m", "examples.checkout", "--data-dir", str(data)),
        cwd=ROOT, env={**BARE, **environment},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_where_it_is_and_stops_everything_at_once(
    tmp_path: Path, number: signal.Signals
) -> None:
    port, rest_port = free_port(), free_port()
    demo = start(tmp_path, port, rest_port)
    assert demo.stdout is not None
    url = next(
        (line.split()[5] for line in demo.stdout if line.startswith("The example checkout is at ")),
        None,
    )
    assert url == f"http://127.0.0.1:{port}"
    children = psutil.Process(demo.pid).children(recursive=True)
    assert len(children) >= 3
    config = httpx.get(f"{url}/config", trust_env=False).json()
    assert config["rest_url"] == f"http://127.0.0.1:{rest_port}"
    demo.send_signal(number)
    demo.communicate(timeout=60)
    assert demo.returncode == 0
    assert not [child for child in children if child.is_running()]


def test_it_goes_from_a_session_to_its_evidence(tmp_path: Path) -> None:
    demo = start(tmp_path, port := free_port(), free_port())
    assert demo.stdout is not None
    assert any(line.startswith("The example checkout is at ") for line in demo.stdout)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as shop:
        opened = shop.post("/sessions", json={"scenario": "turnstile"}).json()
        shop.headers["authorization"] = f"Bearer {opened['credential']}"
        token = shop.post("/widget", json={"solved": "human"}).json()["token"]
        paid = shop.post("/pay", json={"token": token, "type": "turnstile"}).json()
        assert paid == {"outcome": "OUTCOME_SATISFIED"}
        evidence = shop.get(shop.get("/sale").json()["evidence"]).text
    assert "The payment is complete" in evidence
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=60)


@pytest.mark.parametrize("taken", ["CHECKOUT_PORT", "REST_PORT"])
def test_a_taken_port_gives_one_clear_line(tmp_path: Path, taken: str) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        ports = (port, free_port()) if taken == "CHECKOUT_PORT" else (free_port(), port)
        demo = start(tmp_path, *ports)
        output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert output.endswith(f": port {port} ({taken}) is taken; choose another\n")
    assert output.count("\n") == 1
