"""The commands as real processes, and `challenge dev` among them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.harness.ports import free_pair, free_port

ROOT = Path(__file__).parents[2]
CHALLENGE = str(Path(sys.executable).parent / "challenge")
BARE = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}


def challenge(
    *args: str | bytes, cwd: Path = ROOT, stdin: str = "", **environment: str | bytes
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    return subprocess.run(
        (CHALLENGE, *args), cwd=cwd, env={**BARE, **environment},
        input=stdin, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


class Stack(NamedTuple):
    """A running `challenge dev`."""

    process: subprocess.Popen[str]
    data: Path
    rest_port: int
    grpc_port: int
    starting: list[str]

    def interrupt(self) -> tuple[str, str]:
        """Sends it Ctrl-C, and returns what it said from then on."""
        self.process.send_signal(signal.SIGINT)
        return self.process.communicate(timeout=60)


def start(
    data: Path, rest_port: int, grpc_port: int, *, program: str = CHALLENGE, cwd: Path = ROOT
) -> subprocess.Popen[str]:
    """Starts `challenge dev`, as from a terminal: what a shell puts aside ignores SIGQUIT."""
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)  # inherited
    ports = ("--rest-port", str(rest_port), "--grpc-port", str(grpc_port))
    return subprocess.Popen(
        (program, "dev", "--data-dir", str(data), *ports), cwd=cwd, env=BARE,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def until_ready(process: subprocess.Popen[str]) -> list[str]:
    """Waits until it says that it is ready, and returns what it said before."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        if line.startswith("Ready."):
            return lines
        lines.append(line)
    pytest.fail("".join(lines))


@contextmanager
def running(data: Path, **how: object) -> Iterator[Stack]:
    """Runs `challenge dev`, and ends it with SIGTERM."""
    rest_port, grpc_port = free_port(), free_pair()
    process = start(data, rest_port, grpc_port, **how)  # type: ignore[arg-type]
    try:
        starting = until_ready(process)
        yield Stack(process, data, rest_port, grpc_port, starting)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        assert process.stdout is not None
        process.stdout.close()
