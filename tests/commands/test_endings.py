"""`challenge dev` leaves nothing behind, however it ends."""

from __future__ import annotations

import contextlib
import resource
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.commands.stack import BARE, ROOT, Stack, until_ready
from tests.harness.ports import free_pair, free_port


def children_of(pid: int) -> list[psutil.Process]:
    found = psutil.Process(pid).children(recursive=True)
    assert len(found) >= 2
    return found


def all_end(processes: list[psutil.Process], seconds: float = 60) -> bool:
    return not psutil.wait_procs(processes, seconds)[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything(stack: Stack, number: signal.Signals) -> None:
    children = children_of(stack.process.pid)
    stack.process.send_signal(number)
    assert stack.process.wait(timeout=60) == 0
    assert not [child for child in children if child.is_running()]
    assert not (stack.data / "running.json").exists()


def test_it_ends_without_a_warning(stack: Stack) -> None:
    output, _ = stack.interrupt()
    said = output.rpartition("SESSION_ID CODE\n")[2].split("\n")  # after what it said when ready
    ours = [line.partition("[info     ] ")[2] or line for line in said if line]
    assert ours == ["draining", "stopped", "stopped"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGQUIT])
def test_what_it_started_ends_when_it_is_killed(stack: Stack, number: signal.Signals) -> None:
    children = children_of(stack.process.pid)
    resource.prlimit(stack.process.pid, resource.RLIMIT_CORE, (0, 0))  # SIGQUIT would dump it
    stack.process.send_signal(number)
    assert stack.process.wait(timeout=60) == -number
    assert all_end(children)


def test_everything_ends_although_its_directory_is_gone(stack: Stack) -> None:
    children = children_of(stack.process.pid)
    shutil.rmtree(stack.data)
    output, _ = stack.interrupt()
    assert stack.process.returncode == 0
    assert "Traceback" not in output
    assert not [child for child in children if child.is_running()]


def test_it_ends_with_make_when_make_is_killed(tmp_path: Path) -> None:
    ports = (f"REST_PORT={free_port()}", f"GRPC_PORT={free_pair()}")
    environment = {**BARE, "CHALLENGE_DATA_DIR": str(tmp_path)}
    make = subprocess.Popen(
        ("make", "run", *ports), cwd=ROOT, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    until_ready(make)
    processes = children_of(make.pid)
    make.kill()
    make.communicate(timeout=60)
    assert all_end(processes)


def test_ctrl_c_lets_a_request_under_way_end(stack: Stack) -> None:
    edge = ("127.0.0.1", stack.rest_port)
    with socket.create_connection(edge, timeout=60) as connection:
        connection.sendall(
            b"POST /v1/hosted-sessions/cs_1/challenge/send HTTP/1.1\r\nhost: edge\r\n"
            b"content-type: application/json\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n"
        )
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 Continue")
        stack.process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + 60
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < deadline:
                socket.create_connection(edge, timeout=60).close()
        connection.sendall(b"{}")
        assert connection.recv(1000).startswith(b"HTTP/1.1 401 ")
    assert stack.process.wait(timeout=60) == 0


def test_a_dead_child_ends_the_rest_with_a_clear_line(stack: Stack) -> None:
    children = psutil.Process(stack.process.pid).children()
    service = next(child for child in children if "serve" in child.cmdline())
    service.kill()
    output, _ = stack.process.communicate(timeout=60)
    assert stack.process.returncode == 1
    assert "challenge: the service ended with status -9" in output
    assert not [child for child in children if child.is_running()]
