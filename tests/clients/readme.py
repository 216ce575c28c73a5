"""The example of a client's README: it opens a session, prints its credential, and reads a code."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from tests.commands import stack
from tests.rest.edge import path_of

ROOT = Path(__file__).parents[2]


def block(readme: str, language: str) -> str:
    """Finds the one block of a language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", readme, re.DOTALL)
    return str(found)


def commands(readme: str) -> list[str]:
    """Lists the commands of the console block."""
    return [line.removeprefix("$ ") for line in block(readme, "console").splitlines()]


def run(command: Sequence[str], cwd: Path) -> None:
    """Runs a command, which must succeed."""
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def here(command: str) -> str:
    """Puts the paths of this machine into a command that is typed beside the repository."""
    command = command.replace(".venv/bin/challenge", stack.CHALLENGE)
    return command.replace("../challenge-service", str(ROOT))


def verified(
    command: str, cwd: Path, *, right: bool, environment: Mapping[str, str] | None = None
) -> str:
    """Types the command of an example beside `challenge dev`, then the right code or a wrong one.

    Returns:
        What it says of that.
    """
    data = cwd / "data"
    with stack.running(data) as running:
        target = f"127.0.0.1:{running.grpc_port + 1}"
        process = subprocess.Popen(
            here(command).replace("127.0.0.1:50052", target), shell=True, cwd=cwd,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={
                **os.environ, **(environment or {}), "CHALLENGE_TARGET": target,
                "CHALLENGE_DATA_DIR": str(data),
            },
        )  # fmt: skip
        assert process.stdout is not None
        credential = process.stdout.readline().strip()
        answer = httpx.post(
            f"http://127.0.0.1:{running.rest_port}{path_of(credential.partition('_secret_')[0])}",
            headers={"authorization": f"Bearer {credential}"}, trust_env=False,
        )  # fmt: skip
        assert answer.json()["code_sent"], answer.text
        code = _code(data)
        typed = code if right else f"{(int(code) + 1) % 1_000_000:06}"
        output, _ = process.communicate(f"{typed}\n", timeout=30)
        return output


def _code(data: Path) -> str:
    newest = max((data / "inbox").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    found = re.search(r"\b\d{6}\b", json.loads(newest.read_text("utf-8"))["text"])
    assert found
    return found[0]
